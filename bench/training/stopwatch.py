"""Clocks of training, and the peak of CUDA memory."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Seconds of training so far: on the wall, of the processor, and between CUDA events, None on a CPU."""

    wall: float
    cpu: float

    @property
    def cuda(self) -> float | None: ...

    @property
    def seconds(self) -> float:
        """Of what computes, also while it runs: of the processor, or of a GPU."""

    def start(self) -> None: ...

    def lap(self) -> None:
        """Ends a step."""

    def stop(self) -> None: ...


class Stopwatch:
    """Accumulates wall-clock and CPU seconds of the stretches between `start` and `stop`, CUDA events on a GPU.

    Attributes:
        laps: wall-clock seconds between two calls of `lap`, or from `start` to the first.
    """

    def __init__(self, device: torch.device) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self.laps: list[float] = []
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._cuda = device.type == "cuda"
        self._cuda_before = 0.0  # seconds of an earlier process
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        if self._cuda:
            self._events.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._events[-1][0].record()
        self._began = (time.perf_counter(), time.process_time())
        self._tick = self._began[0]

    def lap(self) -> None:
        now = time.perf_counter()
        self.laps.append(now - self._tick)
        self._tick = now

    def stop(self) -> None:
        if self._began is None:
            return
        if self._cuda:
            self._events[-1][1].record()
            # outside a step: without it the wall clock would measure launches
            torch.cuda.synchronize()
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]
        self._began = None

    @property
    def seconds(self) -> float:
        """Seconds of what computes, also while it runs: of the processor, or between CUDA events, which waits for them.

        A busy machine lengthens the wall clock's seconds, but hardly these.
        """
        if self.cuda is None:
            return self.cpu + (0.0 if self._began is None else time.process_time() - self._began[1])
        if self._began is not None:
            self.stop()
            self.start()
        return self.cuda

    @property
    def cuda(self) -> float | None:
        """Seconds between CUDA events, or None on a CPU."""
        if not self._cuda:
            return None
        return float(self._cuda_before + sum(a.elapsed_time(b) for a, b in self._events) / 1000)

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far, of a clock that stands still."""
        return {"wall": self.wall, "cpu": self.cpu, "cuda": self.cuda, "laps": self.laps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the seconds of an earlier process."""
        self.wall, self.cpu, self.laps = state["wall"], state["cpu"], list(state["laps"])
        self._cuda_before = state["cuda"] or 0.0


def step_milliseconds(steps: list[float], warm_up: int = 10) -> dict[str, float | int | None]:
    """Median and interquartile range of step times in ms, the first `warm_up` of them left out."""
    kept = torch.tensor(steps[warm_up:], dtype=torch.float64) * 1000
    if not len(kept):
        return {"median": None, "iqr": None, "n": 0, "warm_up": warm_up}
    low, median, high = kept.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return {"median": median, "iqr": high - low, "n": len(kept), "warm_up": warm_up}


def device_name(device: torch.device) -> str:
    """What a row calls a device: a GPU's name, or "cpu"."""
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def cuda_memory(device: torch.device) -> dict[str, int]:
    """The CUDA allocator's peaks in bytes, since the process began; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "cuda_allocated_peak": torch.cuda.max_memory_allocated(),
        "cuda_reserved_peak": torch.cuda.max_memory_reserved(),
    }
