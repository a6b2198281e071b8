"""Progress: a line per run on a pipe, a live bar on a terminal."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.common.duration import duration
from bench.results.integrity import files_beside
from bench.results.store import Planned, Store
from bench.runner.progress import LineProgress, Running, live_progress, show_progress
from bench.training import heartbeat
from bench.training.heartbeat import NAME, Heartbeat
from tests.helpers.toy_workers import toy_spec

OK: dict[str, Any] = {"status": "ok", "time": {"train_wall": 1.5}, "metrics": {"kl": {"best": {"value": 0.25}}}}
FAILED: dict[str, Any] = {"status": "diverged", "reason": "the loss is [not] finite", "time": {}, "metrics": {}}


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)


def printed(console: Console) -> str:
    """All that was written, without the codes that move the cursor."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", console.file.getvalue())


def last_bar(text: str) -> str:
    return [line for line in text.splitlines() if "left: " in line][-1]


def test_a_pipe_gets_a_line_for_each_finished_run(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(2) as on_event:
        on_event("start", toy_spec(0), None, 0, 2)
        assert capsys.readouterr().err == ""
        on_event("done", toy_spec(0), OK, 1, 2)
        on_event("done", toy_spec(1), FAILED, 2, 2)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("[1/2] descent · line · seed 0: KL 0.25, 1.5 s   (left: ")
    assert last == "[2/2] descent · line · seed 1: diverged: the loss is [not] finite   (left: done)"


def test_kept_runs_are_mentioned_only_if_there_are_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    progress = LineProgress()
    progress("kept", toy_spec(0), OK, 1, 2)
    assert capsys.readouterr().err == ""
    progress("kept", toy_spec(1), OK, 2, 2)
    assert capsys.readouterr().err == "[2/2] all runs are completed already\n"


def test_a_terminal_gets_done_running_and_time_left() -> None:
    console = terminal()
    with live_progress(3, console) as on_event:
        on_event("kept", toy_spec(0), OK, 1, 3)
        on_event("start", toy_spec(1, dataset="circle"), None, 1, 3)
        on_event("start", toy_spec(2, dataset="circle"), None, 1, 3)
        on_event("start", toy_spec(2, "ascent[k=1]"), None, 1, 3)
        on_event("done", toy_spec(1, dataset="circle"), OK, 2, 3)
    last = printed(console).rpartition("2/3")[2]
    assert "left: 0 s" in last
    assert last.count("descent · circle · seed 2: setting up, or evaluating") == 1
    assert last.count("ascent[k=1] · line · seed 2: setting up, or evaluating") == 1
    assert "seed 1" not in last


def test_a_terminal_keeps_a_line_for_a_failed_run_only() -> None:
    console = terminal()
    with live_progress(2, console) as on_event:
        for seed, row in enumerate((OK, FAILED)):
            on_event("start", toy_spec(seed), None, seed, 2)
            on_event("done", toy_spec(seed), row, seed + 1, 2)
    text = printed(console)
    assert "descent · line · seed 1: diverged: the loss is [not] finite" in text
    assert "seed 0: ok" not in text
    assert "2/2" in last_bar(text)
    assert "descent" not in text.rpartition("2/2")[2]


def in_training(store: Store, seed: int) -> Path:
    """A run that has begun, with a checkpoint behind it, and 30 of 100 steps."""
    attempt = store.begin(Planned.of(toy_spec(seed)))
    attempt.append({"step": 20, "loss": 0.5, "kl_ema": 0.125})
    Heartbeat([attempt.folder])(30, 0.3, [torch.tensor([7.0, 0.25])])
    return attempt.folder


def test_a_run_in_training_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    folder = in_training(store, 0)
    console = terminal()
    with live_progress(1, console, store) as on_event:
        on_event("start", toy_spec(0), None, 0, 1)
    assert "descent · line · seed 0: 30% trained, step 30, loss 0.25, KL 0.125, " in printed(console)
    with show_progress(1, store, every=0.05) as on_event:
        on_event("start", toy_spec(0), None, 0, 1)
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 7
    assert all(line.startswith("descent · line · seed 0: 30% trained, step 30") for line in lines)
    (folder / NAME).write_text('{"step": 3', encoding="utf-8")
    assert Running(store).lines() == []
    assert heartbeat.read(folder) is None
    assert NAME not in files_beside(folder)


def test_seeds_of_one_stack_are_one_line(tmp_path: Path) -> None:
    store, running = Store(tmp_path), Running(Store(tmp_path))
    in_training(store, 0)
    for seed in range(3):
        running.note("start", toy_spec(seed))
    assert [line.partition(",")[0] for line in running.lines()] == ["descent · line · 3 seeds: 30% trained"]
    running.note("done", toy_spec(0))
    assert running.lines() == ["descent · line · 2 seeds: setting up, or evaluating"]


@pytest.mark.parametrize(("seconds", "words"), [(41, "41 s"), (89, "89 s"), (720, "12 min"), (6000, "1 h 40 min")])
def test_a_duration_has_one_or_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
