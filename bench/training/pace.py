"""How long a step takes in units of something else that the same machine does, timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

ROUNDS = 25
TURN = 0.01  # seconds, or one call if that takes longer


def in_units_of(call: Callable[[], object], unit: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call over seconds of the unit: the median over rounds, in each of which both have a turn.

    A machine that slows down slows both, so the ratio holds where seconds do not. Seconds are of the processor, of the
    wall clock on a GPU.
    """
    for each in (call, unit):
        _turn(each, device)
    return median(_turn(call, device) / _turn(unit, device) for _ in range(ROUNDS))


def _turn(call: Callable[[], object], device: torch.device) -> float:
    """The mean seconds of as many calls as have room in a turn."""
    on_gpu = device.type == "cuda"
    now = time.perf_counter if on_gpu else time.process_time
    calls, began = 0, now()
    while calls == 0 or now() - began < TURN:
        call()
        if on_gpu:
            torch.cuda.synchronize()
        calls += 1
    return (now() - began) / calls
