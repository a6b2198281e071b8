"""A score network is no energy, and otherwise what the energies of its suite are: trunk, loss, work, judges."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.common.run_spec import NOT_AN_ENERGY, BudgetSpec, RunSpec
from bench.core.data_types import Data
from bench.core.derivatives import score
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.results.samples_table import samples_markdown
from bench.runner import classical_run
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training import denoiser, stopwatch
from bench.training.trainer import Trainer
from tests.helpers.store_builder import Shelf

LEVELS = {"sigma_min": 0.1, "sigma_max": 1.0}
ENERGY = "multiscale_denoising_score_matching[sigma_min=0.1,sigma_max=1.0,sigma_units=data]"
FIELD = "score_network[sigma_min=0.1,sigma_max=1.0]"
NETWORK = {"name": "multiscale_convolutional", "width": 8, "blocks": 1, "stages": 2}


def specs(**changes: Any) -> tuple[RunSpec, RunSpec]:
    """The plan of an energy and of a score network on the same trunk."""
    digits = read_suite("digits")[0]
    about = {
        "objectives": (ENERGY,),
        "denoisers": (FIELD,),
        "metrics": ("fid", "kid"),
        "seeds": "0",
        "track": "equal_flops",
    }
    settings: dict[str, Any] = {"network": NETWORK, "budget": BudgetSpec(flops=2e9, batch=16), **about, **changes}
    suite = replace(digits, optimiser=replace(digits.optimiser, ema=0.9), **settings)
    energy, field = plan_runs([suite], Selection(), "cpu")
    return energy, field


def smooth_gaussian(n: int = 4000, side: int = 8) -> tuple[Data, Tensor]:
    """Images A z, and their covariance AAᵀ: a blur that no isotropic Gaussian is near."""
    place = torch.arange(side).float()
    blur = torch.exp(-0.5 * (place[:, None] - place).square())
    matrix = torch.kron(blur, blur) / 2
    x = (Rng(0, "data").normal((n, side**2)) @ matrix.T).reshape(n, 1, side, side)
    return Data("smooth", x, x[:100], x[:100], value_range=(-4.0, 4.0)), matrix @ matrix.T


def exact_estimate(covariance: Tensor) -> nn.Module:
    """σ(Σ + σ²I)⁻¹ y: the noise in y on average, of Gaussian images; σ is one for all."""

    class Exact(nn.Module):
        def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
            level = sigma[0]
            weights = level * torch.linalg.inv(covariance + level.square() * torch.eye(len(covariance)))
            return (y.flatten(1) @ weights).reshape(y.shape)

    return Exact()


def test_its_loss_is_denoising_score_matching_of_the_same_levels() -> None:
    data = builders.dataset("digits", Rng(0, "data"))
    network = builders.network(
        "multiscale_convolutional", (1, 8, 8), Rng(0), conditional=True, x_train=data.train, width=8, stages=2
    )
    for law in ("log-uniform", "log-normal"):
        objective = builders.objective(
            f"multiscale_denoising_score_matching[sigma_units=data,sigma_law={law}]", data.train, Rng(0), **LEVELS
        )
        params = {**LEVELS, "sigma_law": law, "median": 0.4, "spread": 1.3}
        regression = denoiser.Regression(denoiser.noise_law(params, data))

        def estimate(y: Tensor, sigma: Tensor) -> Tensor:
            return -sigma.reshape(-1, 1, 1, 1) * score(lambda at: network(at, sigma), y)

        x = data.train[:16]
        assert torch.allclose(regression(estimate, x, Rng(3)), objective(network, x, Rng(3)), rtol=1e-4)  # type: ignore[arg-type]


def test_on_a_gaussian_it_learns_the_score() -> None:
    data, covariance = smooth_gaussian()
    plugin = registry.find("denoisers", "score_network")
    network = denoiser.untrained(plugin, (1, 8, 8), 0, LEVELS, {**NETWORK, "width": 16}, data.train)
    objective = denoiser.Regression(denoiser.noise_law(LEVELS, data))
    learner = denoiser.Learner(network, objective, replace(read_suite("digits")[0].optimiser, lr=3e-3))  # type: ignore[arg-type]
    batches, rng, exact = Rng(0, "data"), Rng(0, "objective"), exact_estimate(covariance)
    y = data.train[:500] + 0.3 * Rng(9).normal((500, 1, 8, 8))
    sigma = torch.full((500,), 0.3)

    def error() -> float:
        with torch.no_grad():
            return float((network(y, sigma) - exact(y, sigma)).square().mean() / exact(y, sigma).square().mean())

    before = error()
    for _ in range(300):
        learner.update(network, data.train[batches.integers(len(data.train), (64,))], rng)
    assert before > 0.3
    assert error() < 0.05


def test_its_samples_have_the_law_whose_score_it_is() -> None:
    data, covariance = smooth_gaussian()
    learned = denoiser.Learned(exact_estimate(covariance), 0.0, denoiser.NoiseLaw(0.05, 8.0))
    drawn = learned.samples(data, 1500, Rng(1)).flatten(1)
    values, axes = torch.linalg.eigh(covariance)
    first = values > 0.05
    along = (drawn @ axes[:, first]).var(0) / values[first]
    # a variance of n normal draws has the relative standard error √(2/n); levels that lie apart add a few per cent
    assert float((along - 1).abs().max()) < 4 * math.sqrt(2 / len(drawn)) + 0.05
    assert float(drawn.mean(0).abs().max()) < 5 * math.sqrt(float(covariance.diagonal().max()) / len(drawn))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_network_is_not_trained_on_the_cpu_under_the_name_of_a_gpu(tmp_path: Path) -> None:
    _, field = specs()
    with pytest.raises(UsageError, match="CUDA"):
        classical_run.run(replace(field, device="cuda"), tmp_path, lambda line: None)
    with pytest.raises(UsageError, match="CUDA"):
        classical_run.price(replace(field, device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_trains_on_the_gpu_that_its_run_names(tmp_path: Path) -> None:
    _, field = specs()
    row = classical_run.run(replace(field, device="cuda"), tmp_path, lambda line: None)
    assert row["device"] == torch.cuda.get_device_name()
    assert row["memory"]["cuda_allocated_peak"] > 0


def test_its_trunk_is_the_energy_s_and_its_work_what_was_counted(tmp_path: Path) -> None:
    energy, field = specs()
    trainer = Trainer(energy, 0, torch.device("cpu"))
    plugin = registry.find("denoisers", "score_network")
    data_rng = Rng(0, "data")
    data = builders.planned_dataset(field.dataset, data_rng)
    prepared = denoiser.DenoiserTrainer(field, plugin, data, data_rng)
    learner, work, steps = prepared.learner, prepared.work, prepared.steps
    theirs = {name: value for name, value in trainer.energy.state_dict().items() if not name.startswith("readouts")}
    ours = learner.energy.trunk.state_dict()  # type: ignore[union-attr]
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    # a decoder is about the backward pass that gives an energy's score
    assert work.flops == pytest.approx(trainer.count().flops, rel=0.15)
    row = classical_run.run(field, tmp_path, lambda line: None)
    assert row["work"]["steps"] == steps
    assert row["work"]["flops_train"] == pytest.approx(steps * work.flops)
    assert row["work"]["flops_train"] <= 2e9 < (steps + 1) * work.flops


def test_it_sees_the_batches_of_the_energies_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    energy, field = specs()
    data_rng = Rng(0, "data")
    data = builders.planned_dataset(field.dataset, data_rng)
    plugin = registry.find("denoisers", "score_network")
    prepared = denoiser.DenoiserTrainer(field, plugin, data, data_rng)
    seen: list[Tensor] = []
    monkeypatch.setattr(prepared.learner, "update", lambda network, x, rng, lr: (seen.append(x), x.sum())[1])
    trainer = Trainer(energy, 0, torch.device("cpu"))
    for t in range(40):
        prepared.step(t)
        assert torch.equal(seen[-1], trainer.batch()), t


def test_a_denoiser_too_must_see_the_data_that_it_was_planned_with(tmp_path: Path) -> None:
    _, field = specs()
    moved = replace(field, dataset=replace(field.dataset, content="0123"))
    with pytest.raises(UsageError, match="must see the data it was planned with, 0123"):
        classical_run.run(moved, tmp_path, lambda line: None)


def test_on_a_budget_of_seconds_it_trains_until_they_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, field = specs(track="equal_seconds", budget=BudgetSpec(steps=500, batch=32, seconds=10.25))
    now, step = [0.0], denoiser.DenoiserTrainer.step

    def timed_step(self: denoiser.DenoiserTrainer, t: int) -> Tensor:
        now[0] += 0.5
        return step(self, t)

    monkeypatch.setattr(stopwatch.time, "process_time", lambda: now[0])
    monkeypatch.setattr(denoiser.DenoiserTrainer, "step", timed_step)
    row = classical_run.run(field, tmp_path, lambda line: None)
    assert row["work"]["steps"] == row["last_step"] == 21, "the step that passes the budget is the last"
    assert row["time"]["train_cpu"] == 10.5
    flops, training, _ = classical_run.price(field)
    assert training == 10.25
    assert flops == pytest.approx(row["work"]["flops_train"] * 20.5 / 21)


def test_its_row_has_metrics_of_samples_and_nothing_of_an_energy(tmp_path: Path) -> None:
    _, field = specs()
    row = classical_run.run(field, tmp_path, lambda line: None)
    assert row["metrics"].keys() == {"fid.own", "kid.own"}
    assert row["metrics"]["fid.own"]["ema"]["value"] > 0
    assert field.objective.family == NOT_AN_ENERGY
    assert field.network.conditional
    assert field.control
    _, both = specs(metrics=("fid", "denoising_psnr"))
    found = classical_run.run(both, tmp_path, lambda line: None)["metrics"]
    assert found.keys() == {
        "fid.own",
        *(
            f"denoising_{q}.{way}_{n}"
            for q in ("psnr", "ssim")
            for way in ("classical", "unaided")
            for n in (15, 25, 50)
        ),
    }
    with pytest.raises(TypeError, match="has no energy"):
        classical_run.no_energy(torch.zeros(1))


def test_tables_mark_it_and_rank_it_nowhere(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    value = {"value": 5.0, "certified": True, "reason": "", "unit": "", "better": "lower"}
    _, field = specs()
    for name, about in (("descent", {}), ("score_network", {"kind": field.objective.kind, "family": NOT_AN_ENERGY})):
        shelf.ran(name, 0, None, metrics={"fid.own": {"ema": value}}, **about)
    assert "| score_network (not an energy) | own sampler" in samples_markdown(shelf.records(), {})
    ranking = shelf.page().partition("own sampler")[0]
    assert "| descent" in ranking
    assert "| score_network" not in ranking


def test_a_network_without_features_is_refused_in_words() -> None:
    plugin = registry.find("denoisers", "score_network")
    with pytest.raises(UsageError, match="offers features"):
        denoiser.untrained(plugin, (1, 8, 8), 0, {}, {"name": "convolutional"})
    with pytest.raises(UsageError, match="axes = 0"):
        denoiser.untrained(plugin, (1, 8, 8), 0, {}, {**NETWORK, "axes": 4})
    with pytest.raises(UsageError, match="must exceed"):
        denoiser.noise_law({"sigma_min": 2.0, "sigma_max": 1.0}, smooth_gaussian(10)[0])
