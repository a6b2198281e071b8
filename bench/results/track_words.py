"""A run's track and budget as a sentence names them."""

from __future__ import annotations

from bench.common.run_spec import RunSpec

_GIVEN = {
    "equal_steps": (1.0, "{:,.0f} steps"),
    "equal_flops": (1e9, "{:.3g} GFLOPs"),
    "equal_seconds": (1.0, "{:.3g} s of the processor"),
    "equal_time": (1e9, "the time in which passes of the network make {:.3g} GFLOPs"),
}


def track_in_words(spec: RunSpec) -> str:
    """ "equal FLOPs"."""
    return spec.track.replace("_", " ").replace("flops", "FLOPs")


def budget_in_words(spec: RunSpec) -> str:
    """What its track gives the run: "108 GFLOPs"."""
    scale, given = _GIVEN[spec.track]
    return given.format(spec.limit / scale)
