"""The history of gated commits: whole lines, one a commit, and hints that noise seldom makes and a step always does."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.common import exit_codes
from bench.common.errors import UsageError
from bench.regression import changepoints, checks, history
from bench.regression.baseline import Baseline, Measured
from bench.regression.checks import Check

GOOD = [Check("work", "a on line", "flops", "pass", "1", "1", "")]
BROKEN = [Check("self-test", "a sign flip", "is a regression", "undecided", "injected", "not so", "")]


def head(cpu_ms: float = 2.0, kl: float | None = 0.4) -> Baseline:
    cell = Measured({"0": "ok", "1": "ok"}, {"flops_per_step": 1e6}, {"kl": {"0": 0.2, "1": kl}}, cpu_ms=cpu_ms)
    return Baseline("gate", "here", {"a on line": cell}, host="a machine")


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commit that the working tree is said to be at; change it in place."""
    at = ["c0"]
    monkeypatch.setattr(history, "current_commit", lambda *_: at[0])
    monkeypatch.setattr(history, "has_changes", lambda *_, **__: False)
    return at


def written(
    path: Path,
    times: Sequence[Sequence[float]],
    work: Sequence[float] = (),
    host: str = "a machine",
    suite: str = "gate",
) -> None:
    """A history of len(times[0]) commits: the times of several cells, and the counted work of the first."""
    with path.open("a", encoding="utf-8") as file:
        for k, values in enumerate(zip(*times, strict=True)):
            cells = {f"cell {c}": {history.TIME: value} for c, value in enumerate(values)}
            if work:
                cells["cell 0"]["flops_per_step"] = work[k]
            line = {
                "kind": history.KIND,
                "schema": history.SCHEMA,
                "commit": f"c{k}",
                "date": "2030-01-01",
                "cells": cells,
            }
            file.write(json.dumps({**line, "host": host, "env_id": "e", "suite": suite}) + "\n")


def test_suites_of_one_history_are_kept_apart(tmp_path: Path) -> None:
    """Two suites that never change, with a cell of the same name."""
    path = tmp_path / "h.jsonl"
    for suite, flops in (("gate", 900.0), ("mine", 100.0)):
        written(path, [[1.0] * 6], work=[flops] * 6, suite=suite)
    lines = history.read_history(path)
    assert len(lines) == 12
    found = history.series(lines)
    assert {cell for _, _, cell in found} == {"gate: cell 0", "mine: cell 0"}
    assert history.hints(found) == []


def test_every_gated_commit_adds_one_line(tmp_path: Path, committed: list[str]) -> None:
    path = tmp_path / "h.jsonl"
    for k in range(3):
        committed[0] = f"c{k}"
        assert "appended" in history.append_history(path, head(cpu_ms=1.0 + k), GOOD)
    found = history.series(history.read_history(path))
    assert [p.value for p in found["a machine", history.TIME, "a on line"]] == [1.0, 2.0, 3.0]
    assert [p.value for p in found["a machine", "kl", "a on line"]] == [pytest.approx(0.3)] * 3
    assert [p.commit for p in found["a machine", "flops_per_step", "a on line"]] == ["c0", "c1", "c2"]


def test_a_commit_that_is_gated_again_counts_once_with_its_last_line(tmp_path: Path, committed: list[str]) -> None:
    for cpu_ms in (1.0, 7.0):
        history.append_history(tmp_path / "h.jsonl", head(cpu_ms), GOOD)
    assert len((tmp_path / "h.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    found = history.series(history.read_history(tmp_path / "h.jsonl"))
    assert [p.value for p in found["a machine", history.TIME, "a on line"]] == [7.0]


@pytest.mark.parametrize(("attribute", "value"), [("current_commit", None), ("has_changes", True)])
def test_what_is_no_commit_is_not_remembered(
    tmp_path: Path, committed: list[str], monkeypatch: pytest.MonkeyPatch, attribute: str, value: object
) -> None:
    monkeypatch.setattr(history, attribute, lambda *_, **__: value)
    assert "no line" in history.append_history(tmp_path / "h.jsonl", head(), GOOD)
    assert not (tmp_path / "h.jsonl").exists()


def test_a_broken_gate_is_not_remembered_and_a_regression_is(tmp_path: Path, committed: list[str]) -> None:
    assert "no line" in history.append_history(tmp_path / "h.jsonl", head(), BROKEN)
    history.append_history(tmp_path / "h.jsonl", head(), [Check("work", "a", "flops", "regression", "1", "2", "")])
    assert [line["exit_code"] for line in history.read_history(tmp_path / "h.jsonl")] == [exit_codes.REGRESSION]


def test_a_mean_over_the_seeds_that_are_left_is_not_remembered(tmp_path: Path, committed: list[str]) -> None:
    history.append_history(tmp_path / "h.jsonl", head(kl=None), GOOD)
    assert ("a machine", "kl", "a on line") not in history.series(history.read_history(tmp_path / "h.jsonl"))


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    written(path, [[1.0, 2.0]])
    path.write_text(path.read_text(encoding="utf-8") + '{"kind": "ebm-be', encoding="utf-8")
    assert len(history.read_history(path)) == 2


@pytest.mark.parametrize(
    "damage", ['{"kind": "another"}', "[]", "not JSON", '{"kind": "ebm-bench history", "schema": 2}']
)
def test_a_history_that_is_none_is_one_line_and_exit_code_2(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(damage + "\n", encoding="utf-8")
    assert main.main(["history", "--history", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_history_says_how_one_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bench regression"):
        history.read_history(tmp_path / "none.jsonl")


@pytest.mark.parametrize("length", [12, 40])
def test_pure_noise_shows_a_hint_in_at_most_a_twentieth_of_histories(length: int) -> None:
    rng, histories, cells = np.random.default_rng(length), 300, 10
    seen = 0
    for _ in range(histories):
        noise = np.exp(0.2 * rng.standard_t(3, size=(cells, length)))
        key = [("host", history.TIME, str(c)) for c in range(cells)]
        points = [[history.Point(str(k), "", float(v)) for k, v in enumerate(row)] for row in noise]
        seen += bool(history.hints(dict(zip(key, points, strict=True))))
    assert seen / histories <= changepoints.ALPHA + 3 * math.sqrt(
        changepoints.ALPHA * (1 - changepoints.ALPHA) / histories
    )


def test_a_planted_step_is_hinted_at_where_it_is() -> None:
    rng, errors = np.random.default_rng(0), []
    for _ in range(50):
        values = np.exp(0.05 * rng.normal(size=40)) * np.where(np.arange(40) < 25, 1.0, 1.2)
        steps = changepoints.noisy_steps(list(values), changepoints.ALPHA / 31)
        assert len(steps) == 1
        errors.append(abs(steps[0] - 25))
    assert np.mean(errors) < 1


@pytest.mark.parametrize("levels", [(1.0, 2.0, 4.0), (1.0, 2.0, 1.0)])
def test_two_steps_are_two_hints(levels: Sequence[float]) -> None:
    noise = np.exp(0.05 * np.random.default_rng(1).normal(size=90))
    assert changepoints.noisy_steps(list(np.repeat(levels, 30) * noise), 0.01) == [30, 60]


def test_a_step_of_less_than_a_twentieth_is_none() -> None:
    assert not changepoints.noisy_steps([1.0] * 40 + [1.04] * 40, 0.05)
    assert changepoints.noisy_steps([1.0] * 40 + [1.06] * 40, 0.05) == [40]


def test_counted_work_is_hinted_at_from_the_first_commit_that_changes_it() -> None:
    assert changepoints.exact_steps([5.0, 5.0, 5.001, 5.1, 5.1], checks.WORK_TOLERANCE) == [3]
    assert changepoints.exact_steps([0.0, 0.0, 1.0], checks.WORK_TOLERANCE) == [2]


def test_history_shows_tables_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    path = tmp_path / "h.jsonl"
    written(path, np.exp(0.02 * rng.normal(size=(3, 30))).tolist(), work=[100.0] * 10 + [110.0] * 20)
    written(path, [[1.0] * 4], work=[0.0] * 4, host="another machine")
    assert main.main(["history", "--history", str(path)]) == 0
    printed = capsys.readouterr().out
    (hint,) = (line for line in printed.splitlines() if "cell 0" in line)
    assert [word for word in ("flops_per_step", "100", "110", "×1.1", "c10") if word not in hint] == []
    assert "another machine" in printed
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_machines_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    written(path, [[1.0] * 20])
    written(path, [[3.0] * 20], host="a slower machine")
    found = history.series(history.read_history(path))
    assert {host for host, _, _ in found} == {"a machine", "a slower machine"}
    assert not history.hints(found)
