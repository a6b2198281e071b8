"""The suites of paper scale on a stand-in of the same shape: twenty steps, in parts, in bfloat16; what a plan says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.common.errors import UsageError
from bench.common.run_spec import BudgetSpec, OptimiserSpec, RunSpec
from bench.core.rng import Rng
from bench.costs.estimate import CostEstimate
from bench.costs.plan_table import plan_markdown
from bench.evaluation import sampling
from bench.plugins import builders
from bench.runner.single_run import run_single
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import parse_suite, read_suite
from bench.training.step_memory import saved_bytes
from bench.training.trainer import Learner, Trainer

SUITES = ("cifar10", "celeba32")
STAND_IN = "emoji32[n_train=64,n_valid=16,n_test=64]"  # (3, 32, 32), as theirs


def stand_in(name: str) -> list[RunSpec]:
    """The suite's runs of seed 0 on a small network and small data of the same shape."""
    suite = read_suite(name)[0]
    suite = replace(
        suite,
        datasets=(STAND_IN,),
        metrics=(*suite.metrics, "fid"),
        network={**suite.network, "width": 4, "blocks": 1},
        optimiser=replace(suite.optimiser, accumulate=2, warm_up=5),
        budget=BudgetSpec(steps=20, batch=4),
        evaluation=replace(suite.evaluation, samples=70, sampler_steps=2, checkpoints=1),
    )
    return plan_runs([suite], Selection(seeds=(0,)), "cpu")


@pytest.mark.parametrize(("name", "which"), [("cifar10", 0), ("cifar10", 3), ("cifar10", 4), ("celeba32", 0)])
def test_an_entry_trains_and_is_judged(name: str, which: int, tmp_path: Path) -> None:
    spec = stand_in(name)[which]
    assert spec.precision == "bfloat16"
    row = run_single(spec, tmp_path, lambda line: None)
    assert row["status"] == "ok"
    assert row["work"]["steps"] == 20
    assert row["metrics"]["fid.own"]["ema"]["value"] > 0
    assert row["metrics"]["sliced_wasserstein.own"]["ema"]["value"] > 0


def test_both_are_planned_and_skipped_without_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EBM_BENCH_DATA", str(tmp_path))
    for name in SUITES:
        (suite,) = read_suite(name)
        specs = plan_runs([suite], Selection(seeds=(0,)), "cpu")
        assert len(specs) == 5
        assert all("not found in" in spec.skip for spec in specs)


def test_the_gradient_of_a_batch_is_that_of_its_parts_together() -> None:
    x = Rng(0).normal((32, 2))
    moved = []
    for parts in (1, 4):
        network = builders.network("mlp", (2,), Rng(0, "init"), width=8)
        objective = builders.objective("implicit_score_matching", x, Rng(0))  # which draws nothing
        learner = Learner(network, objective, OptimiserSpec(lr=1e-2, accumulate=parts))
        loss = learner.update(network, x, Rng(0))
        moved.append([loss, *(p.detach() for p in network.parameters())])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*moved, strict=True))


def test_parts_must_divide_a_batch() -> None:
    raw = {"name": "mine", "objectives": ["contrastive_divergence"], "datasets": ["two_moons"]}
    with pytest.raises(UsageError, match=r"accumulate must divide budget.batch, 128; got 3"):
        parse_suite({**raw, "optimiser": {"accumulate": 3}}, "mine.toml")


def test_a_step_s_memory_is_what_backward_reads_at_once_and_less_in_parts() -> None:
    x = torch.ones(1000, requires_grad=True)

    def chained() -> None:
        x.exp().exp().sum().backward()

    def one_by_one() -> None:
        for _ in range(5):
            x.exp().sum().backward()

    assert saved_bytes(chained) == 8000
    assert saved_bytes(one_by_one) == 4000
    (spec, *_) = stand_in("cifar10")
    whole, parts = (
        Trainer(replace(spec, optimiser=replace(spec.optimiser, accumulate=k)), 0, torch.device("cpu")).step_bytes()
        for k in (1, 4)
    )
    assert parts < 0.6 * whole


def test_a_plan_for_a_gpu_says_hours_and_memory() -> None:
    specs = stand_in("cifar10")[:2]
    estimates = {spec.cell_id: CostEstimate(3.6e17, 1.0, tensors=6e9) for spec in specs}
    text = plan_markdown(specs, estimates, 1)
    assert "training takes 20 GPU hours at 10 TFLOP/s (assumed, not measured), the longest run 10;" in text
    assert "a GPU needs 6 GB free at least" in text
    assert "takes 5 GPU hours at 40 TFLOP/s" in plan_markdown(specs, estimates, 1, 40.0)
    small = {spec.cell_id: CostEstimate(1e12, 1.0) for spec in specs}
    assert "GPU" not in plan_markdown(specs, small, 1)


def test_many_samples_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec, *_) = stand_in("cifar10")
    trainer = Trainer(spec, 0, torch.device("cpu"))
    seen: list[int] = []
    objective = trainer.learner.objective
    monkeypatch.setattr(sampling, "AT_ONCE", 30)
    monkeypatch.setattr(type(objective), "sample", lambda self, energy, like, rng: seen.append(len(like)) or like)
    energy = trainer.models[0].energy_with(trainer.models[0].weights)
    found = sampling.all_samples(energy, objective, trainer.data, spec.evaluation, Rng(0, "eval"))
    assert seen == [30, 30, 10]
    assert len(found["own"]) == 70
