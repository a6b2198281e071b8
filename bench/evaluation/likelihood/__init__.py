"""Likelihood where there is no grid: annealed importance sampling with its doubt, and the probability flow."""
