"""A process that is timed: one thread, and memory that is freed stays with it."""

from __future__ import annotations

import ctypes

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's mallopt
KEPT = 1 << 30  # bytes of freed memory that are not given back
LARGEST = 32 << 20  # bytes of a block that is taken from them; glibc allows no more


def quieten() -> None:
    """One thread for torch; blocks up to `LARGEST` are used again instead of being given back to the system.

    A tensor of some megabytes may otherwise be mapped, filled page by page with zeros and unmapped in every operation,
    which takes as long as the operation; whether it is depends on what the process freed before, so two processes
    would not be timed alike. Does nothing to memory where the C library is not glibc.
    """
    import torch

    torch.set_num_threads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # both: setting one stops glibc from adapting the other
        mallopt(_MAP, LARGEST)
        mallopt(_TRIM, KEPT)
