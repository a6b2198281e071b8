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
{call}
x = torch.zeros(1 << 20)
def steps(n):
    for _ in range(n):
        y = x + 1
        z = y * 2
        del y, z
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    steps({steps})
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
steps(10)
# the least of several, since a kernel that reclaims pages takes some back now and then
print(min(faults() for _ in range(4)), torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_big_tensors_are_not_mapped_again_in_every_operation() -> None:
    script = FAULTS.format(call="quieten()", steps=STEPS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    faults, threads = (int(word) for word in done.stdout.split())
    assert faults < 0.02 * PAGES
    assert threads == 1
