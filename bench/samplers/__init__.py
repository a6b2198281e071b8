"""Markov chains on exp(-E)."""
