"""Entries that others send in: packed from a store, checked without trust, shown as submitted until all is re-run."""
