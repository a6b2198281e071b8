"""Rows that are run again: equal to the bit where they must be, within the spread of seeds elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.common.errors import UsageError
from bench.results.committed_rows import read_rows, write_rows
from bench.results.records import records_of
from bench.results.store import Planned, Store
from bench.runner import worker_process
from bench.runner.rerun import NOT_JUDGED, compared, rerun
from tests.helpers.executor_helpers import run
from tests.helpers.toy_workers import toy_spec

ENV = {"env_id": "one"}
WORKER = "tests.helpers.toy_workers:succeed"


def test_what_was_measured_comes_out_again(tmp_path: Path) -> None:
    specs = [toy_spec(seed) for seed in range(3)]
    run(Store(tmp_path), "succeed", *specs)
    Store(tmp_path).write_plan(map(Planned.of, specs))
    lines, wrong = rerun(Store(tmp_path), 5, WORKER)
    assert (len(lines), wrong) == (3, 0)
    assert all(line.endswith("the same to the bit") for line in lines)


@pytest.mark.parametrize(("same_environment", "value", "wrong"), [(True, 0.01, 1), (False, 0.01, 0), (False, 99.0, 1)])
def test_another_number_is_a_fault_only_beyond_what_the_environment_allows(
    tmp_path: Path, same_environment: bool, value: float, wrong: int
) -> None:
    store = Store(tmp_path)
    (first, *_) = run(store, "succeed", *(toy_spec(seed) for seed in (1, 2)))
    environment = first["env"] if same_environment else {"env_id": "another"}
    outcome = {"metrics": {"kl": {"last": {"value": value}}}, "env": environment}
    store.begin(Planned.of(toy_spec(0))).finish({"status": "ok", **outcome})
    store.write_plan([Planned.of(toy_spec(seed)) for seed in range(3)])
    lines, found = rerun(store, 3, WORKER)
    assert found == wrong, lines
    if wrong:
        assert any("kl was" in line and "is now 0.0; it must be" in line for line in lines)


def test_nothing_to_run_again_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(Store(tmp_path), "raise_error")
    with pytest.raises(UsageError, match="no completed run"):
        rerun(Store(tmp_path), 1, WORKER)
    assert main.main(["verify", str(tmp_path), "--rerun", "0"]) == 2


@pytest.mark.parametrize(
    ("others", "value", "word"), [(0, 0.01, NOT_JUDGED), (2, 0.01, "within the spread of its seeds"), (2, 9.0, "")]
)
def test_a_stacked_row_is_held_to_the_spread_when_it_comes_from_committed_rows(
    tmp_path: Path, others: int, value: float, word: str
) -> None:
    def made(seed: int, kl: float, **time: int) -> tuple[Planned, dict[str, Any]]:
        metrics = {"kl": {"last": {"value": kl, "unit": "nats"}}}
        return Planned.of(toy_spec(seed)), {"status": "ok", "reason": "", "metrics": metrics, "time": time, "env": ENV}

    rows = [made(0, 1.0, stack=3), *(made(seed, 1.0 + 0.05 * seed, stack=3) for seed in range(1, 1 + others))]
    write_rows(records_of(rows), tmp_path / "rows.csv")
    kept = read_rows(tmp_path / "rows.csv")
    (fresh,) = records_of([made(0, 1.0 + value)])
    fault, how = compared(kept[0], fresh, kept, rounded=1e-6)
    assert how == word
    assert bool(fault) == (not word)


def test_machines_whose_processors_share_a_name_are_two_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual machine may call processors of several kinds alike, and these do not round alike."""

    def environment(model: str) -> str:
        facts = {"model name": "A processor", "model": model}
        monkeypatch.setattr(worker_process, "_of_processor", lambda what: facts.get(what, ""))
        return Store(tmp_path).keep_environment(worker_process.environment())

    assert environment("1") == environment("1")
    assert environment("1") != environment("17")
