"""Memory held by the kernel where it can be: on files that stand for its own, and for real where that is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.common.run_spec import RunSpec
from bench.results.store import Store
from bench.runner import child, control_groups
from bench.runner.control_groups import BASE, MemoryGroup
from tests.helpers.executor_helpers import run
from tests.helpers.toy_workers import toy_spec

FILES = ("memory.max", "memory.swap.max", "memory.oom.group", "memory.events", "cgroup.procs", "cgroup.kill")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which a new group has the files that the kernel would put there, and loses them with the group."""
    base = tmp_path / "cgroup"
    base.mkdir()
    for name in ("cgroup.controllers", "cgroup.subtree_control"):
        (base / name).write_text("memory\n" if name == "cgroup.controllers" else "", encoding="utf-8")
    make, remove = Path.mkdir, Path.rmdir

    def mkdir(path: Path, *arguments: int, **options: bool) -> None:
        make(path, *arguments, **options)
        if path.parent == base:
            for name in FILES:
                (path / name).write_text("", encoding="utf-8")

    def rmdir(path: Path) -> None:
        if path.parent == base:
            kept.append({name: (path / name).read_text(encoding="utf-8") for name in FILES})
            for name in FILES:
                (path / name).unlink()
        remove(path)

    kept.clear()
    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    monkeypatch.setenv(BASE, str(base))
    yield base
    assert [path.name for path in base.iterdir() if path.is_dir()] == [], "no group is left behind"


kept: list[dict[str, str]] = []  # the files of groups that were removed


def limited(seed: int = 0) -> RunSpec:
    return toy_spec(seed, memory_gb=0.5)


def test_a_run_gets_a_group_with_its_limit_and_loses_it(tree: Path, tmp_path: Path) -> None:
    (row,) = run(Store(tmp_path / "store"), "succeed", limited())
    assert row["status"] == "ok"
    (files,) = kept
    assert files["memory.max"] == "500000000"
    assert files["memory.swap.max"] == "0"
    assert files["memory.oom.group"] == "1"
    assert files["cgroup.procs"].isdigit()
    assert files["cgroup.kill"] == "1"
    assert (tree / "cgroup.subtree_control").read_text(encoding="utf-8") == "+memory"


def test_a_run_that_the_kernel_ends_for_its_memory_is_out_of_memory(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = MemoryGroup.around.__func__  # type: ignore[attr-defined]

    def full(cls: type[MemoryGroup], pid: int, name: str, limit: float) -> MemoryGroup | None:
        group: MemoryGroup | None = around(cls, pid, name, limit)
        assert group is not None
        (group.path / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 1\n", encoding="utf-8")
        return group

    monkeypatch.setattr(MemoryGroup, "around", classmethod(full))
    (row,) = run(Store(tmp_path / "store"), "kill_itself", limited())
    assert row["status"] == "oom"
    assert row["reason"] == "the kernel ended it over its memory limit of 0.5 GB ([limits] memory_gb)"


@pytest.mark.parametrize("lacking", ["cgroup.controllers", "memory.max", "cgroup.procs"])
def test_what_the_kernel_does_not_offer_leaves_the_supervisor_to_watch(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setattr(control_groups, "_set", _refusing(lacking))
    if lacking == "cgroup.controllers":
        (tree / lacking).unlink()
    (row,) = run(Store(tmp_path / "store"), "use_more_memory_than_allowed", limited())
    assert row["status"] == "oom"
    assert "over its memory limit of 0.5 GB" in row["reason"]


def _refusing(name: str) -> object:
    set_file = control_groups._set

    def refuse(file: Path, value: str) -> None:
        if file.name == name:
            raise PermissionError(1, "Operation not permitted")
        set_file(file, value)

    return refuse


def test_a_killed_run_that_was_within_its_limit_is_killed(tree: Path, tmp_path: Path) -> None:
    (row,) = run(Store(tmp_path / "store"), "kill_itself", limited())
    assert row["status"] == "killed"


def test_no_limit_is_no_group(tree: Path) -> None:
    assert child.Limits(1.0).memory is None
    assert kept == []


@pytest.fixture
def offered() -> None:
    """Skips where the kernel, or who owns its groups, offers none that hold memory."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    group = MemoryGroup.around(process.pid, f"test-{os.getpid()}", 1e9)
    process.kill()
    process.wait()
    if group is None:
        pytest.skip("no control group of version 2 that holds memory can be made here")
    group.remove()
    assert not group.path.exists()


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("worker", "status"),
    [("use_more_memory_at_once", "oom"), ("use_more_memory_than_allowed", "oom"), ("kill_itself", "killed")],
)
def test_a_run_of_a_real_group_has_the_status_of_what_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: str, status: str
) -> None:
    base = control_groups._base()
    assert base is not None
    if worker == "use_more_memory_at_once":
        monkeypatch.setattr(child, "TICK", 600.0)  # the supervisor does not look
    first, second = run(Store(tmp_path / "store"), worker, limited(0), limited(1))
    assert first["status"] == second["status"] == status
    if worker == "use_more_memory_at_once":
        assert first["reason"] == "the kernel ended it over its memory limit of 0.5 GB ([limits] memory_gb)"
    assert list(base.glob("ebm-bench-*")) == [], "no group is left behind"


@pytest.mark.usefixtures("offered")
def test_the_kernel_ends_what_takes_more_than_its_limit() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input(); b = bytearray(400 << 20); input()"], stdin=subprocess.PIPE
    )
    group = MemoryGroup.around(process.pid, f"test-{os.getpid()}", 150e6)
    assert group is not None
    try:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(timeout=30) == -9
        assert group.has_killed()
    finally:
        process.kill()
        group.remove()
    assert not group.path.exists()
