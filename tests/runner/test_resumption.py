"""A long run goes on from a checkpoint as if it had not been stopped; what cannot be trusted is refused in words."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bench.common.run_spec import RunSpec
from bench.contract.check import check_plugin
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.results.checkpoint_files import CheckpointFolder
from bench.results.store import Planned, Store
from bench.runner import resumption
from bench.runner.executor import execute
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training.denoiser import DenoiserTrainer
from bench.training.state import forgotten
from bench.training.trainer import Trainer
from tests.helpers.executor_helpers import run
from tests.helpers.toy_workers import toy_spec

SUITE = """
name = "mine"
objectives = ["persistent_contrastive_divergence", "noise_contrastive_estimation", "variational_entropy_regularised"]
datasets = ["two_moons"]
seeds = "0-2"
save_weights = true
metrics = ["kl"]
[network]
name = "mlp"
width = 16
depth = 2
[budget]
steps = 330
batch = 32
[evaluation]
checkpoints = 6
samples = 50
sampler_steps = 5
"""
TIMES = ("time", "memory", "env", "provenance", "run_id", "attempt")
WORKER = {
    "worker": "tests.helpers.toy_workers:stop_half_way",
    "stack_worker": "tests.helpers.toy_workers:stop_stack_half_way",
}
# steps of the newest two: the curve's line of step 220 ends the run, at once or at the next look
KEPT = {signal.SIGKILL: [150, 200], signal.SIGTERM: [200, 250]}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(resumption.EVERY, "0.001")


def specs_of(folder: Path, *objectives: str, seeds: Sequence[int] = (0,), text: str = SUITE) -> list[RunSpec]:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return plan_runs(read_suite(str(path)), Selection(objectives or None, None, tuple(seeds), None), "cpu", None)


def left(store: Store, spec: RunSpec) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, str]]:
    """Everything that a run has left but for times: its row, its curve, its weights."""
    attempt = store.newest_attempt(Planned.of(spec))
    assert attempt is not None
    row = {k: v for k, v in (attempt.row() or {}).items() if k not in TIMES}
    curve = [{k: v for k, v in line.items() if k != "train_seconds"} for line in attempt.curve()]
    weights = load_file(attempt.folder / "weights.safetensors")
    return row, curve, {name: hashlib.sha256(w.numpy().tobytes()).hexdigest() for name, w in weights.items()}


def log_of(store: Store, spec: RunSpec) -> str:
    attempt = store.newest_attempt(Planned.of(spec))
    assert attempt is not None
    return (attempt.folder / "log.txt").read_text(encoding="utf-8")


def stopped(store: Store, specs: Sequence[RunSpec], number: int, monkeypatch: pytest.MonkeyPatch, **how: Any) -> None:
    """Runs that were ended at their middle."""
    with monkeypatch.context() as patch:
        patch.setenv("EBM_BENCH_TEST_SIGNAL", str(int(number)))
        rows = execute(specs, store, **WORKER, **how)
    assert {(row["status"], row["signal"]) for row in rows} == {("killed", signal.Signals(number).name)}


def checkpoints(store: Store) -> list[Path]:
    return sorted(store.root.rglob("*.checkpoint"))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.long), signal.SIGTERM])
def test_to_go_on_is_as_if_nothing_had_been(
    tmp_path: Path, number: signal.Signals, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = specs_of(tmp_path)
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    execute(specs, whole, **WORKER)
    assert checkpoints(whole) == [], "they go with the row"
    stopped(broken, specs, number, monkeypatch)
    assert {path.name for path in checkpoints(broken)} == {f"{n:012d}.checkpoint" for n in KEPT[number]}
    rows = execute(specs, broken, **WORKER)
    assert [(row["status"], row["attempt"]) for row in rows] == [("ok", 2)] * 3
    for spec, row in zip(specs, rows, strict=True):
        assert left(broken, spec) == left(whole, spec)
        assert row["time"]["resumed_at"] == KEPT[number][1]
        assert f"goes on from the checkpoint of step {KEPT[number][1]}" in log_of(broken, spec)
    assert not list(broken.root.rglob(".checkpoint-*"))
    assert broken.verify() == []


@pytest.mark.long
def test_a_stack_goes_on_as_a_stack(tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = specs_of(tmp_path, "persistent_contrastive_divergence", seeds=(0, 1, 2))
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    how: dict[str, Any] = {"stack": lambda run: True}
    rows = execute(specs, whole, **WORKER, **how)
    if "stack" not in rows[0]["time"]:
        pytest.skip("a stack is slower here")
    monkeypatch.setattr("bench.runner.executor._was_killed", lambda row: False)  # nobody lived to see it
    stopped(broken, specs, signal.SIGTERM, monkeypatch, **how)
    rows = execute(specs, broken, **WORKER, **how)
    assert {row["time"]["resumed_at"] for row in rows} == {250}
    for spec in specs:
        assert left(broken, spec) == left(whole, spec)
    assert checkpoints(broken) == []


DENOISERS = """
name = "mine"
objectives = []
denoisers = ["score_network"]
datasets = ["digits[n_train=400,n_test=20]"]
seeds = "0"
metrics = ["denoising_psnr", "denoising_ssim"]
[network]
name = "multiscale_convolutional"
width = 4
blocks = 1
[budget]
steps = 170
batch = 8
"""


# steps of the newest two after a signal in step 121
@pytest.mark.parametrize(("number", "kept"), [(signal.SIGKILL, [50, 100]), (signal.SIGTERM, [100, 150])])
def test_a_learned_denoiser_goes_on_as_if_nothing_had_been(
    tmp_path: Path, number: signal.Signals, kept: list[int], often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = specs_of(tmp_path, text=DENOISERS)
    how = {"worker": "tests.helpers.toy_workers:stop_denoiser_half_way"}
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    (first,) = execute([spec], whole, **how)
    assert first["status"] == "ok", first
    with monkeypatch.context() as patch:
        patch.setenv("EBM_BENCH_TEST_SIGNAL", str(int(number)))
        (row,) = execute([spec], broken, **how)
    assert (row["status"], row["signal"]) == ("killed", signal.Signals(number).name)
    assert [int(path.stem) for path in checkpoints(broken)] == kept
    (row,) = execute([spec], broken, **how)
    assert (row["status"], row["attempt"], row["time"]["resumed_at"]) == ("ok", 2, kept[-1])
    assert row["metrics"] == first["metrics"]
    assert row["time"]["setup_wall"] > 0
    assert pictures_of(broken, spec) == pictures_of(whole, spec) != {}
    assert not list(broken.root.rglob(".checkpoint-*"))


def pictures_of(store: Store, spec: RunSpec) -> dict[str, str]:
    attempt = store.newest_attempt(Planned.of(spec))
    assert attempt is not None
    with np.load(attempt.folder / "artefacts.npz") as arrays:
        return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays}


def test_the_weights_of_a_learned_denoiser_go_on_to_the_bit(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = specs_of(tmp_path, text=DENOISERS)
    plugin = registry.find("denoisers", spec.objective.ref)

    def prepared() -> DenoiserTrainer:
        data_rng = Rng(0, "data")
        data = builders.planned_dataset(spec.dataset, data_rng)
        return DenoiserTrainer(spec, plugin, data, data_rng)

    whole = prepared().train()
    step = DenoiserTrainer.step

    def stopping(trainer: DenoiserTrainer, t: int) -> torch.Tensor:
        if t == 120:
            raise InterruptedError
        return step(trainer, t)

    keeper = resumption.Keeper([spec], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(DenoiserTrainer, "step", stopping)
        with pytest.raises(InterruptedError):
            prepared().train(keeper)
    keeper.close()
    keeper = resumption.Keeper([spec], tmp_path)
    broken = prepared().train(keeper)
    assert keeper.said() == {"resumed_at": 100}
    for a, b in zip(whole.network.parameters(), broken.network.parameters(), strict=True):
        assert torch.equal(a, b)


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _foreign(path: Path) -> None:
    header, _, state = path.read_bytes().partition(b"\n")
    about = json.loads(header)
    about["identity"]["runs"][0][1] = 7
    path.write_bytes(json.dumps(about).encode() + b"\n" + state)


def _newer(path: Path) -> None:
    header, _, state = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(header), "format": 99}).encode() + b"\n" + state)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(_torn, "is torn: it has", marks=pytest.mark.long),
        (_changed, "its checksum differs"),
        pytest.param(_foreign, "is of another run: its runs is [[", marks=pytest.mark.long),
        pytest.param(_newer, "is of format 99; this version reads 1", marks=pytest.mark.long),
        pytest.param(_empty, "cannot be read", marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_trusted_is_refused_and_the_one_before_is_used(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch, damage: Any, said: str
) -> None:
    (spec,) = specs_of(tmp_path, "noise_contrastive_estimation")
    store = Store(tmp_path / "store")
    stopped(store, [spec], signal.SIGKILL, monkeypatch)
    damage(checkpoints(store)[-1])
    (row,) = execute([spec], store, **WORKER)
    assert (row["status"], row["time"]["resumed_at"]) == ("ok", 150)
    assert said in log_of(store, spec)


def test_a_checkpoint_that_does_not_fit_leaves_the_run_as_it_was(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = specs_of(tmp_path, "noise_contrastive_estimation")
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    execute([spec], whole, **WORKER)
    stopped(broken, [spec], signal.SIGKILL, monkeypatch)
    folder = resumption.Keeper([spec], checkpoints(broken)[0].parent.parent).folder
    for step, state, _ in list(folder.read()):
        other = resumption._state(state)
        other["average"] = other["average"][:-1]
        folder.write(step, resumption._bytes(other))
    (row,) = execute([spec], broken, **WORKER)
    assert "resumed_at" not in row["time"]
    assert log_of(broken, spec).count("does not fit") == 2
    assert left(broken, spec) == left(whole, spec)


def test_a_run_of_less_than_a_minute_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = specs_of(tmp_path, "noise_contrastive_estimation")
    store = Store(tmp_path / "store")
    stopped(store, [spec], signal.SIGTERM, monkeypatch)
    assert checkpoints(store) == []
    (row,) = execute([spec], store, **WORKER)
    assert "resumed_at" not in row["time"]


def test_a_checkpoint_that_cannot_be_written_does_not_cost_the_run(tmp_path: Path, often: None) -> None:
    (spec,) = specs_of(tmp_path, "noise_contrastive_estimation")
    store = Store(tmp_path / "store")
    cell = store.begin(Planned.of(spec)).folder.parent
    resumption.Keeper([spec], cell).folder.path.write_text("in the way", encoding="utf-8")
    (row,) = execute([spec], store, **WORKER)
    assert row["status"] == "ok"
    assert "no checkpoint was written" in log_of(store, spec)


OBJECTIVE = '''
import torch
from torch import Tensor, nn
from bench.api import Energy, Rng, objective

@objective(label="counting", family="other", minimiser="none", source="this test")
class counting(nn.Module):
    def __init__(self, x_train: Tensor, rng: Rng) -> None:
        super().__init__()
        KEEP

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        """E(x)² (1 + calls)."""
        self.calls += 1
        return energy(x).square() * (1 + 0.01 * self.calls)
'''
BUFFER = 'self.register_buffer("calls", torch.zeros(()))'
OWN_STATE = """self.calls = 0
    def get_extra_state(self) -> int:
        return self.calls
    def set_extra_state(self, state: int) -> None:
        self.calls = state
"""


@pytest.mark.parametrize(("keep", "goes_on"), [(BUFFER, True), (OWN_STATE, True), ("self.calls = 0", False)])
def test_memory_outside_of_the_state_means_a_new_start_and_is_said(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch, keep: str, goes_on: bool
) -> None:
    file = tmp_path / "counting.py"
    file.write_text(OBJECTIVE.replace("KEEP", keep), encoding="utf-8")
    (finding,) = check_plugin(str(file), only=["resume"])
    assert finding.passed == goes_on, finding
    (spec,) = specs_of(tmp_path, str(file))
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    execute([spec], whole, **WORKER)
    stopped(broken, [spec], signal.SIGTERM, monkeypatch)
    (row,) = execute([spec], broken, **WORKER)
    assert ("resumed_at" in row["time"]) == goes_on
    assert left(broken, spec) == left(whole, spec)
    if not goes_on:
        assert "calls outside of buffers" in row["time"]["no_checkpoint"]
        assert "a run that is stopped starts again" in log_of(broken, spec)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_no_objective_keeps_anything_that_a_checkpoint_would_lose(name: str, tmp_path: Path) -> None:
    (spec,) = specs_of(tmp_path, name)
    if spec.skip:
        pytest.skip(spec.skip)
    trainer = Trainer(spec, 0, torch.device("cpu"))
    for t in range(3):
        trainer.step(t)
    network, objective = trainer.twin()
    network.load_state_dict(trainer.energy.state_dict())
    objective.load_state_dict(trainer.learner.objective.state_dict())
    assert forgotten(trainer.energy, network, trainer.rng) == []
    assert forgotten(trainer.learner.objective, objective, trainer.rng) == []


def test_a_stream_of_its_own_is_forgotten_and_the_runs_is_not() -> None:
    class Holder(nn.Module):
        def __init__(self, rng: Rng, own: Rng) -> None:
            super().__init__()
            self.rng, self.own = rng, own

    shared = Rng(0)
    live, twin = Holder(shared, Rng(0, "own")), Holder(Rng(0), Rng(0, "own"))
    shared.normal((3,))
    assert forgotten(live, twin, shared) == []
    live.own.normal((3,))
    assert forgotten(live, twin, shared) == ["own"]


def test_the_row_of_any_of_its_seeds_ends_the_checkpoint_of_a_stack(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = store.begin(Planned.of(toy_spec(0))).folder.parent
    CheckpointFolder.of(cell, [(toy_spec(seed).cell_id, seed) for seed in range(2)]).write(50, b"state")
    CheckpointFolder.of(cell, [("another", 0)]).write(50, b"state")
    run(store, "succeed", toy_spec(1))
    assert len(checkpoints(store)) == 1
