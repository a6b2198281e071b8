"""Figures, drawn from rows, curves and saved arrays."""
