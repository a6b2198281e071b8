"""Which GPUs there are, by the names that CUDA_VISIBLE_DEVICES has for them, and which of them a run gets."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The names of the GPUs that this process may use: numbers, or the names of GPUs and MIG instances."""
    given = os.environ.get(VISIBLE)
    if given is None:
        import torch

        return [str(k) for k in range(torch.cuda.device_count())]
    names: list[str] = []
    for name in (part.strip() for part in given.split(",")):
        if name in ("", "-1"):  # CUDA sees nothing from there on
            break
        names.append(name)
    return names


class Gpus:
    """Hands out GPUs, to each run the one that fewest others have."""

    def __init__(self, names: Sequence[str]) -> None:
        self._users = dict.fromkeys(names, 0)
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[str]:
        """The name of a GPU for the time of a run; "" where there are none."""
        with self._lock:
            name = min(self._users, key=self._users.__getitem__, default="")
            if name:
                self._users[name] += 1
        try:
            yield name
        finally:
            with self._lock:
                if name:
                    self._users[name] -= 1
