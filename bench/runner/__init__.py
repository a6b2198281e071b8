"""Runs a plan: one supervised process a run, or a stack of seeds."""
