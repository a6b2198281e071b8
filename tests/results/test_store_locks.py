"""Whose store it is: one holder at a time, and what a supervisor that is gone leaves behind."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.common.errors import UsageError
from bench.results.store import Store
from tests.helpers.store_helpers import another_process, planned


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"must be a folder; .*taken' is a file: give another --out"):
        Store(file)


def test_an_output_path_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with (
        pytest.raises(UsageError, match=r"must be writable; .*give another --out"),
        Store(tmp_path / "taken/in").lock(),
    ):
        pass


def test_a_second_holder_is_told_who_holds_the_store(tmp_path: Path) -> None:
    with another_process("with store.lock(): print('held', flush=True); time.sleep(60)", tmp_path) as process:
        with pytest.raises(UsageError, match=rf"is held by process {process.pid} on .*: wait, or give another --out"):
            Store(tmp_path).lock().__enter__()
        process.kill()
        process.wait()
        with Store(tmp_path).lock():  # no stale lock is left behind
            pass


def test_a_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Store(tmp_path).lock():
        raise RuntimeError
    with Store(tmp_path).lock():
        pass


def test_an_attempt_whose_supervisor_is_gone_becomes_a_killed_row(tmp_path: Path) -> None:
    code = """
attempt = store.begin(Planned.of(toy_spec(seed=1)))
attempt.append({"step": 40})
print("begun", flush=True)
time.sleep(60)
"""
    with another_process(code, tmp_path) as process:
        assert Store(tmp_path).mark_orphans_killed() == []  # its supervisor lives: hands off
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead and not yet collected: a zombie
        (row,) = Store(tmp_path).mark_orphans_killed()
    assert (row["status"], row["seed"], row["last_step"]) == ("killed", 1, 40)
    assert row["reason"] == "the process that supervised it is gone"
    assert Store(tmp_path).rows_of(planned(1)) == [row]
    assert Store(tmp_path).mark_orphans_killed() == []
    assert Store(tmp_path).verify() == []


def test_a_zombie_supervises_nothing(tmp_path: Path) -> None:
    code = "store.begin(Planned.of(toy_spec())); print(1, flush=True); time.sleep(60)"
    with another_process(code, tmp_path) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
        assert len(Store(tmp_path).mark_orphans_killed()) == 1


def test_a_process_id_that_is_used_again_is_not_the_supervisor(tmp_path: Path) -> None:
    with another_process("store.begin(Planned.of(toy_spec())); print(1, flush=True); time.sleep(60)", tmp_path):
        (attempt,) = Store(tmp_path).attempts()
        supervisor = attempt.intent()["supervisor"]
        edit(attempt.folder / "spec.json", supervisor={**supervisor, "started": supervisor["started"] - 100})
        assert len(Store(tmp_path).mark_orphans_killed()) == 1


@pytest.mark.parametrize(("seconds_ago", "settled"), [(100, 0), (60 + 700, 1)])
def test_on_another_host_only_the_deadline_says_that_a_supervisor_is_gone(
    tmp_path: Path, seconds_ago: float, settled: int
) -> None:
    attempt = Store(tmp_path).begin(planned(timeout_seconds=60))
    began = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    supervisor = {**attempt.intent()["supervisor"], "host": "elsewhere"}
    edit(attempt.folder / "spec.json", supervisor=supervisor, provenance={"began": began})
    assert len(Store(tmp_path).mark_orphans_killed()) == settled
