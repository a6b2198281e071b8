"""Faults that every run of the gate injects, and the margins it compares with."""
