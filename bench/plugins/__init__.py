"""Plug-ins: found by name or by path, checked, and built."""
