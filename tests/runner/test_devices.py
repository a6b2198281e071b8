"""Runs on several GPUs, by a list of names that is made up: who gets which, and who is tried again alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli import environment
from bench.common.errors import UsageError
from bench.common.gpus import VISIBLE, Gpus, visible_gpus
from bench.plugins import builders
from bench.results.store import Planned, Store
from bench.runner import progress
from bench.runner.executor import execute
from bench.runner.worker_process import failure
from tests.helpers.toy_workers import toy_spec


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,1", ["0", "1"]),
        ("MIG-a1, MIG-b2", ["MIG-a1", "MIG-b2"]),
        ("GPU-8f,MIG-GPU-8f/1/0", ["GPU-8f", "MIG-GPU-8f/1/0"]),
        ("1,-1,0", ["1"]),
        ("", []),
    ],
)
def test_names_are_those_that_cuda_takes(given: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, given)
    assert visible_gpus() == names


def test_without_names_they_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


def test_each_run_gets_the_gpu_that_fewest_have() -> None:
    gpus = Gpus(["a", "b"])
    with gpus.one() as first, gpus.one() as second:
        assert [first, second] == ["a", "b"]
        with gpus.one() as third:
            assert third == "a"
    with gpus.one() as again:
        assert again == "a"
    with Gpus([]).one() as none:
        assert none == ""


def test_one_of_several_is_chosen_and_too_high_a_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "MIG-a,MIG-b")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="cuda:2 is not available: there are 2, from cuda:0 on"):
        builders.pick_device("cuda:2")
    assert str(builders.pick_device("cuda:1")) == "cuda"
    assert os.environ[VISIBLE] == "MIG-b"
    for name in ("cuda:", "cuda:x", "gpu", "cuda:-1"):
        with pytest.raises(UsageError, match="device must be auto, cpu, cuda or cuda:N"):
            builders.pick_device(name)


def test_there_is_a_run_for_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "MIG-a,MIG-b")
    specs = [toy_spec(seed, device="cuda", seconds=1.0) for seed in range(4)]
    assert progress.workers(specs) == 2
    rows = execute(specs, Store(tmp_path), jobs=2, worker="tests.helpers.toy_workers:say_gpu")
    assert {row["model"]["gpu"] for row in rows} == {"MIG-a", "MIG-b"}


def statuses(store: Store, spec: Any) -> list[str]:
    return [row["status"] for row in store.rows_of(Planned.of(spec))]


def test_what_is_out_of_memory_beside_others_is_tried_alone_once(tmp_path: Path) -> None:
    specs, store = [toy_spec(seed) for seed in range(2)], Store(tmp_path)
    rows = execute(specs, store, jobs=2, worker="tests.helpers.toy_workers:run_out_of_memory_at_first")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert [statuses(store, spec) for spec in specs] == [["oom", "ok"]] * 2
    store = Store(tmp_path / "always")
    for _ in range(2):
        rows = execute(specs[:1], store, jobs=2, worker="tests.helpers.toy_workers:run_out_of_memory")
    assert statuses(store, specs[0]) == ["oom", "oom"]


def test_alone_there_is_no_second_try(tmp_path: Path) -> None:
    execute([toy_spec()], Store(tmp_path), jobs=1, worker="tests.helpers.toy_workers:run_out_of_memory")
    assert statuses(Store(tmp_path), toy_spec()) == ["oom"]


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "cuda runtime: CUBLAS_STATUS_ALLOC_FAILED when"])
def test_a_gpu_that_has_no_memory_left_is_out_of_memory(said: str) -> None:
    assert failure(RuntimeError(said))["status"] == "oom"
    assert failure(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))["status"] == "oom"


def test_doctor_names_what_changes_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    said = " ".join(environment.nondeterminism())
    for word in ("4 threads", "BLAS", "TF32", "cuDNN"):
        assert word in said
