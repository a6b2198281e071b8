"""Seconds in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds as a person says them: "41 s", "12 min", "1 h 40 min"."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
