"""A run that takes long writes checkpoints, and the next attempt goes on from the newest that is whole and its own."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
import types
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench.common.json_files import to_plain
from bench.common.run_spec import RunSpec
from bench.results.checkpoint_files import CheckpointFolder
from bench.training.loop import Curve, Outcome, Resumable
from bench.training.state import RestoredClock, forgotten, restore, state_of
from bench.training.trainer import CHECK_EVERY

EVERY = "EBM_BENCH_CHECKPOINT_SECONDS"
SECONDS = 180.0  # between two checkpoints
FIRST = 60.0  # seconds of a run that is worth one


class Keeper:
    """Keeps the checkpoints of one run, or of the seeds of a stack.

    Args:
        specs: the runs that train together.
        cell: the folder of the first one's cell.
    """

    def __init__(self, specs: Sequence[RunSpec], cell: Path) -> None:
        device = specs[0].device.partition(":")[0]
        self.folder = CheckpointFolder.of(
            cell, [(spec.cell_id, spec.seed) for spec in specs], device=device, torch=torch.__version__
        )
        self.every = float(os.environ.get(EVERY) or SECONDS)
        self.resumed_at = 0
        self.impossible = ""  # why no checkpoint can be written
        self._asked = False
        self._proved = False
        self._saved = time.monotonic()
        self._lines: list[list[dict[str, Any]]] = [[] for _ in specs]
        self._before: Any = None

    def exists(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.folder.exists()

    def said(self) -> dict[str, Any]:
        """What a row says of it."""
        about = {"resumed_at": self.resumed_at} if self.resumed_at else {}
        return about | ({"no_checkpoint": self.impossible} if self.impossible else {})

    def resume(
        self, trainer: Resumable, outcomes: Sequence[Outcome], clocks: Sequence[RestoredClock], curves: Sequence[Curve]
    ) -> int:
        """Puts everything where the newest checkpoint was taken; returns its step, 0 if there is none.

        The curves, which are those of `noting`, get their lines again, since they are of another attempt. A checkpoint
        that is torn, changed, foreign or does not fit is named in the log, and the one before it is used.
        """
        self._saved = time.monotonic()
        self._listen()
        before = _bytes(state_of(trainer, 0, outcomes, clocks, self._lines)) if self.exists() else b""
        for step, data, wrong in self.folder.read():
            if wrong:
                print(f"a checkpoint was not used: {wrong}", flush=True)
                continue
            try:
                step, written = restore(_state(data), trainer, outcomes, clocks)
            except Exception as error:
                print(f"a checkpoint was not used: that of step {step} does not fit: {error}", flush=True)
                restore(_state(before), trainer, outcomes, clocks)
                continue
            for curve, lines in zip(curves, written, strict=True):
                for line in lines:
                    curve(line)
            print(f"goes on from the checkpoint of step {step}", flush=True)
            self.resumed_at = step
            break
        return self.resumed_at

    def due(self, t: int) -> bool:
        """Whether a checkpoint is to be written after t steps."""
        if t % CHECK_EVERY or self.impossible:
            if self._asked and self.impossible:
                _end()
            return False
        first = not self._proved and not self.resumed_at
        return self._asked or time.monotonic() - self._saved >= (min(FIRST, self.every) if first else self.every)

    def save(self, trainer: Resumable, t: int, outcomes: Sequence[Outcome], clocks: Sequence[RestoredClock]) -> None:
        """Writes a checkpoint, if to go on from it is as if nothing had been; ends the process if it was asked to."""
        data = _bytes(state_of(trainer, t, outcomes, clocks, self._lines))
        if not self._proved:
            self._prove(trainer, data)
        if not self.impossible:
            try:
                self.folder.write(t, data)
            except OSError as error:  # a full disk costs the checkpoint, not the run
                print(f"no checkpoint was written: {error}", flush=True)
        self._saved = time.monotonic()
        if self._asked:
            _end()

    def noting(self, curves: Sequence[Curve]) -> list[Curve]:
        """The curves, whose lines are noted for the next checkpoint."""

        def noted(k: int, curve: Curve) -> Curve:
            def add(line: dict[str, Any]) -> None:
                curve(line)
                self._lines[k].append(to_plain(line))

            return add

        return [noted(k, curve) for k, curve in enumerate(curves)]

    def close(self) -> None:
        """Training is over: what is asked to end from now on ends at once."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _listen(self) -> None:
        """From now on SIGTERM asks for a checkpoint, once there is something to lose."""

        def ask(number: int, frame: types.FrameType | None) -> None:
            if self.impossible or time.monotonic() - self._saved < min(FIRST, self.every):
                _end()
            self._asked = True

        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, ask)

    def _prove(self, trainer: Resumable, data: bytes) -> None:
        """Holds what would be restored to what is here; what is kept outside of the state would be lost."""
        self._proved = True
        try:
            state = _state(data)
            network, objective = trainer.twin()
            network.load_state_dict(state["energy"])
            objective.load_state_dict(state["objective"])
            lost = forgotten(trainer.energy, network, trainer.rng)
            lost += forgotten(trainer.learner.objective, objective, trainer.rng)
        except Exception as error:
            self.impossible = f"its state cannot be kept and loaded: {type(error).__name__}: {error}"
        else:
            if lost:
                self.impossible = f"it keeps {', '.join(lost)} outside of buffers, parameters and state_dict"
        if self.impossible:
            print(f"no checkpoints, so a run that is stopped starts again: {self.impossible}", flush=True)


def _bytes(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _state(data: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def _end() -> None:
    """Ends this process as SIGTERM does by itself."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError):
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
