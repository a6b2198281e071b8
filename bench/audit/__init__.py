"""Audits of objectives: the expected gradient against exact ones, its noise and its cost."""
