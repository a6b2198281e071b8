"""A timed process keeps the memory that it frees."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import sys

import pytest

STEPS = 20
PAGES = STEPS * 2 * 4 * (1 << 20) // resource.getpagesize()  # of the tensors that they make
FAULTS = """
import resource, torch
from bench.common.quiet_process import quieten
if {quiet}:
    quieten()
x = torch.zeros(1 << 20)
def steps(n):
    for _ in range(n):
        y = x + 1
        z = y * 2
        del y, z
steps(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps({steps})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_big_tensors_are_not_mapped_again_in_every_operation() -> None:
    def run(quiet: bool) -> list[int]:
        script = FAULTS.format(quiet=quiet, steps=STEPS)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return [int(word) for word in done.stdout.split()]

    noisy, quiet = run(False), run(True)
    assert quiet[0] < 0.05 * PAGES < noisy[0]
    assert quiet[1] == 1
