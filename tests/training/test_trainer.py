"""The trainer: what it must not change, what it must notice, and that a stack of seeds is its solo runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.common import run_spec
from bench.core.derivatives import CLOSED_FORMS
from bench.plugins import registry
from bench.runner.single_run import prepare, run_single
from bench.suites import expand, schema
from bench.training import heartbeat, stopwatch, work_counter
from bench.training import trainer as trainer_module
from bench.training.heartbeat import Heartbeat
from bench.training.loop import Outcome, train
from bench.training.trainer import Trainer, update_ema

CPU = torch.device("cpu")
STACKED = ("denoising_score_matching", "contrastive_divergence", "persistent_contrastive_divergence")
BAD_PLUGIN = '''
from typing import Annotated
from torch import Tensor, nn
from bench.api import Energy, Integer, Rng, objective

@objective(family="test", source="this test")
class Bad(nn.Module):
    """E(x), until it is not."""

    def __init__(self, x_train: Tensor, rng: Rng, *, bad_step: Annotated[int, Integer(1, 1000)] = 7) -> None:
        super().__init__()
        self.calls, self.bad_step = 0, bad_step

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        self.calls += 1
        return energy(x) * (BAD if self.calls == self.bad_step else 1.0)
'''


def smoke(objective: str, **budget: Any) -> run_spec.RunSpec:
    selection = expand.Selection(objectives=(objective,), seeds=(0,))
    (found,) = expand.plan_runs(schema.read_suite("smoke"), selection, "cpu")
    return replace(found, budget=replace(found.budget, **budget))


def test_a_step_is_timed_and_weighed_in_the_runs_precision_and_counted_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        trainer_module, "autocast_energy", lambda energy, precision: (seen.append(precision), energy)[1]
    )
    trained = Trainer(replace(smoke("denoising_score_matching"), precision="bfloat16"), 0, CPU)
    in_precision: dict[str, Callable[[], object]] = {
        "seconds": lambda: trained.step_seconds(2),
        "time": trained.step_time_in_flops,
        "bytes": trained.step_bytes,
        "step": lambda: trained.step(0),
    }
    for name, call in in_precision.items():
        seen.clear()
        call()
        assert set(seen) == {"bfloat16"}, name
    seen.clear()
    trained.count()
    assert set(seen) == {run_spec.FULL_PRECISION}


@pytest.mark.parametrize("objective", STACKED)
def test_a_stack_of_three_seeds_agrees_with_the_solo_runs_after_200_steps(objective: str) -> None:
    planned = smoke(objective)
    stack, solos = Trainer(planned, [0, 1, 2], CPU), [Trainer(planned, seed, CPU) for seed in range(3)]
    for t in range(200):
        stack.step(t)
        for solo in solos:
            solo.step(t)
    x = torch.cartesian_prod(torch.linspace(-2, 2, 5), torch.linspace(-2, 2, 5))
    with torch.no_grad():
        together = stack.energy(x.expand(3, 25, 2))
        for seed, solo in enumerate(solos):
            assert (together[seed] - solo.energy(x)).abs().max() < 1e-4


def test_every_objective_at_a_seed_sees_the_same_batches_and_initial_weights() -> None:
    trainers = [Trainer(smoke(name), 0, CPU) for name in STACKED]
    for trainer in trainers:
        trainer.count()
    first = [torch.cat([trainer.batch() for _ in range(60)]) for trainer in trainers]
    for trainer, batches in zip(trainers[1:], first[1:], strict=True):
        assert torch.equal(batches, first[0])
        assert all(map(torch.equal, trainer.weights, trainers[0].weights))
    assert not torch.equal(Trainer(smoke(STACKED[0]), 1, CPU).batch(), first[0][:64])


def test_counting_leaves_the_trajectory_as_it_was() -> None:
    planned = smoke("persistent_contrastive_divergence")
    counted, plain = Trainer(planned, 0, CPU), Trainer(planned, 0, CPU)
    counted.count()
    for t in range(20):
        assert torch.equal(counted.step(t), plain.step(t))
    assert all(map(torch.equal, counted.weights, plain.weights))


@pytest.mark.parametrize(("value", "word"), [("float('nan')", "not finite"), ("1e9", "the loss is")])
def test_a_loss_that_leaves_the_numbers_is_divergence_at_its_step(tmp_path: Path, value: str, word: str) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(BAD_PLUGIN.replace("BAD", value), encoding="utf-8")
    trainer = Trainer(smoke(str(plugin)), 0, CPU)
    clock, evaluation = stopwatch.Stopwatch(CPU), stopwatch.Stopwatch(CPU)
    (outcome,) = train(trainer, work_counter.Work(), clock, [evaluation], [lambda line: None])
    assert outcome.divergence is not None
    assert (outcome.steps, outcome.divergence.step) == (7, 7)
    assert word in str(outcome.divergence)


def test_a_diverged_run_is_a_row_with_its_step_and_no_metrics(tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(BAD_PLUGIN.replace("BAD", "float('nan')"), encoding="utf-8")
    row = run_single(smoke(f"{plugin}[bad_step=120]"), tmp_path, lambda line: None)
    # the two rehearsed steps that count the work are made on copies
    assert (row["status"], row["last_step"], row["work"]["steps"]) == ("diverged", 120, 120)
    assert "metrics" not in row


def test_a_run_improves_on_its_start_and_reports_all_that_it_spent(tmp_path: Path) -> None:
    curve: list[dict[str, Any]] = []
    row = run_single(smoke("energy_discrepancy", steps=300), tmp_path, curve.append)
    assert row["status"] == "ok"
    kl = {variant: estimate["value"] for variant, estimate in row["metrics"]["kl"].items()}
    assert kl["best"] < 0.8 * curve[0]["kl_last"]
    assert row["work"]["flops_train"] == row["work"]["flops_per_step"] * 300
    assert row["time"]["train_wall"] > 0
    assert [line["step"] for line in curve] == [75, 150, 225, 300]
    assert all(a["train_seconds"] < b["train_seconds"] for a, b in pairwise(curve))


def test_equal_flops_stops_at_its_budget(tmp_path: Path) -> None:
    planned = replace(smoke("denoising_score_matching", flops=2e7), track="equal_flops")
    row = run_single(planned, tmp_path, lambda line: None)
    assert row["work"]["flops_train"] <= 2e7 < row["work"]["flops_train"] + row["work"]["flops_per_step"]


def test_equal_seconds_takes_as_many_steps_as_the_training_clock_has_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "process_time", lambda: now[0])
    step, look = Trainer.step, Outcome.record_checkpoint
    factors: list[float] = []

    def timed_step(self: Trainer, t: int) -> torch.Tensor:
        now[0] += 0.5
        factors.append(self.schedule.lr_factor(t))
        return step(self, t)

    def timed_look(self: Outcome, *arguments: Any) -> dict[str, Any]:
        now[0] += 1000.0  # evaluation is not on the training clock
        return look(self, *arguments)

    monkeypatch.setattr(Trainer, "step", timed_step)
    monkeypatch.setattr(Outcome, "record_checkpoint", timed_look)
    planned = replace(smoke("denoising_score_matching", seconds=40.25), track="equal_seconds")
    curve: list[dict[str, Any]] = []
    row = run_single(planned, tmp_path, curve.append)
    assert row["work"]["steps"] == row["last_step"] == 81, "the step that passes the budget is the last"
    assert row["work"]["flops_train"] == 81 * row["work"]["flops_per_step"]
    assert (row["time"]["train_cpu"], row["time"]["eval_cpu"]) == (40.5, 4000.0)
    assert [line["step"] for line in curve] == [21, 41, 61, 81], "a quarter of the time each"
    assert curve[-1]["flops"] == row["work"]["flops_train"]
    rise, fall = factors[: planned.optimiser.warm_up], factors[planned.optimiser.warm_up :]
    assert all(a < b for a, b in pairwise(rise[:15]))
    assert all(a > b for a, b in pairwise(fall))
    assert fall[-1] < 1e-2


def test_gradient_clipping_is_each_seeds_own() -> None:
    planned = smoke("denoising_score_matching")
    planned = replace(planned, optimiser=replace(planned.optimiser, clip=0.05))
    stack, solos = Trainer(planned, [0, 1], CPU), [Trainer(planned, seed, CPU) for seed in (0, 1)]
    for t in range(5):
        stack.step(t)
        for solo in solos:
            solo.step(t)
    for seed, solo in enumerate(solos):
        for stacked, alone in zip(stack.weights, solo.weights, strict=True):
            assert torch.allclose(stacked[seed], alone, atol=1e-6)


def test_the_average_forgets_where_it_began_and_never_lags_more_than_its_decay_says() -> None:
    average, weights = [torch.tensor([1e6])], [torch.zeros(1)]
    expected = 1e6
    for t in range(400):
        update_ema(average, weights, t, 0.99)
        expected *= min(0.99, (1 + t) / (10 + t))
    assert average[0].item() == pytest.approx(expected, rel=1e-3)
    assert average[0].item() < 1e-3  # at a constant decay of .99 it would be 18,000


def test_a_noise_conditional_energy_of_data_that_shrink_has_every_value(tmp_path: Path) -> None:
    objective = "time_dependent_diffusion_contrastive_divergence[kernel=vp,sigma_max=0.9,levels=2,steps=2]"
    planned = smoke(objective, steps=20)
    row = run_single(planned, tmp_path, lambda line: None)
    values = {name: variants["last"] for name, variants in row["metrics"].items()}
    assert row["status"] == "ok"
    assert values["kl"]["value"] is not None
    assert all(value["value"] is not None or "n/a (needs" in value["reason"] for value in values.values())


TOLD_THE_LEVEL = [n for n in registry.names("objectives") if registry.find("objectives", n).info.energy == "noise"]


@pytest.mark.parametrize("objective", TOLD_THE_LEVEL)
def test_the_levels_that_an_energy_says_it_knows_are_those_at_which_its_loss_calls_it(objective: str) -> None:
    """Whatever is drawn, no level lies outside, and the ends are met."""
    trainer, seen = Trainer(smoke(objective), 0, CPU), list[float]()
    (model,) = trainer.models
    low, high = model.energy_with(model.weights).levels or (0.0, 0.0)

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: torch.Tensor) -> Any:  # the level is the last argument of each of them
            seen.extend(arguments[-1].detach().flatten().tolist())
            return original(*arguments)

        return call

    for name in ("forward", *CLOSED_FORMS):
        if hasattr(trainer.energy, name):
            setattr(trainer.energy, name, watched(getattr(trainer.energy, name)))
    for t in range(3):
        trainer.step(t)
    assert low * 0.999 <= min(seen) <= low * 1.1
    assert high * 0.9 <= max(seen) <= high * 1.001


def test_training_tells_how_far_it_is_and_leaves_nothing(tmp_path: Path) -> None:
    said: list[tuple[int, float]] = []

    class Told(Heartbeat):
        def __call__(self, step: int, share: float, losses: Sequence[torch.Tensor]) -> None:
            self._next = 0.0
            super().__call__(step, share, losses)
            news = heartbeat.read(tmp_path)
            assert news is not None
            said.append((int(news["step"]), news["share"]))

    trainer, work, _ = prepare(smoke("denoising_score_matching", steps=25))
    clock = stopwatch.Stopwatch(trainer.device)
    train(trainer, work, clock, [stopwatch.Stopwatch(trainer.device)], [lambda line: None], heartbeat=Told([tmp_path]))
    assert said[-1] == (25, 1.0)
    assert said == sorted(said)
    assert list(tmp_path.iterdir()) == []
