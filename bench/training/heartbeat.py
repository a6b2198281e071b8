"""What a run in training says of how far it is, for a person who waits; no number of a row depends on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NAME = ".progress.json"  # hidden, so that it is none of a run's files
EVERY = 1.0  # seconds


class Heartbeat:
    """Keeps `step`, `share` (of the run, 0 to 1) and `loss` in a file of each folder, renewed once a second at most.

    A file that cannot be written is left out: a run is worth more than the news of it.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.paths = [folder / NAME for folder in folders]
        self._next = 0.0

    def __call__(self, step: int, share: float, losses: Sequence[Tensor]) -> None:
        """Says that `step` steps are taken; `losses` are those of each folder's run, (n,), the newest last."""
        if time.monotonic() < self._next:
            return
        for path, values in zip(self.paths, losses, strict=True):
            news = {"step": step, "share": share, "loss": float(values[-1])}
            waiting = path.with_suffix(".new")
            with suppress(OSError):
                waiting.write_text(json.dumps(news), encoding="utf-8")
                os.replace(waiting, path)
        self._next = time.monotonic() + EVERY

    def stop(self) -> None:
        """Training is over: takes the files away."""
        for path in self.paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def read(folder: Path) -> dict[str, float] | None:
    """The newest that a run in this folder has said; None if it is not training."""
    try:
        news = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return news if isinstance(news, dict) and {"step", "share", "loss"} <= news.keys() else None
