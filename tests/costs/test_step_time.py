"""The cost harness: what it times, what it divides by, what it calls a floor. No test here depends on a clock."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli import main
from bench.common.errors import UsageError
from bench.core.dense_energy import DenseEnergy
from bench.costs import step_time
from bench.plugins import registry
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training.trainer import Learner, Trainer

CPU = torch.device("cpu")
SMALL = step_time.Setting("mlp[width=8,depth=1]", batch=16)


def test_rounds_interleave_every_subject_in_changing_order() -> None:
    order: list[str] = []
    subjects = [step_time.Subject(lambda name=name: order.append(name), CPU) for name in "abc"]  # type: ignore[misc]
    for subject in subjects:
        subject.prepare = lambda: None  # type: ignore[method-assign]
    step_time.interleave(subjects, rounds=20)
    rounds = [order[i : i + 3] for i in range(0, 60, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert any(a != b for a, b in pairwise(rounds))
    assert all(len(s.seconds) == 20 for s in subjects)


@pytest.mark.parametrize(
    ("objective", "passes"),
    [
        ("denoising_score_matching", [("double", 16)]),
        ("contrastive_divergence[steps=3]", [("score", 16)] * 3 + [("fb", 16)] * 2),
    ],
)
def test_the_floor_is_made_of_the_passes_that_the_step_needs(objective: str, passes: list[tuple[str, int]]) -> None:
    bench = step_time.Bench.build(SMALL, [objective], CPU)
    (floor,) = bench.floors.values()
    assert floor == passes
    assert set(floor) | {("fb", 16)} == set(bench.passes)


def test_the_unit_is_one_forward_and_backward_of_the_same_rounds() -> None:
    bench = step_time.Bench.build(SMALL, ["denoising_score_matching"], CPU)
    for subject, seconds in zip(bench.subjects, (1.0, 2.0, 3.0, 4.5), strict=True):
        subject.seconds = [seconds, 10 * seconds, 100 * seconds] * 3
    (line,) = bench.lines()
    assert line["fwd_bwd_ratio"] == 3.0
    assert line["floor_fwd_bwd_ratio"] == 2.0
    assert line["step_ms"] == 30_000.0
    assert line["autograd_ratio"] == 1.5
    assert (line["fwd_bwd_ratio_low"], line["fwd_bwd_ratio_high"]) == (3.0, 3.0)


@pytest.mark.parametrize("objective", ["contrastive_divergence", "implicit_score_matching", "sliced_score_matching"])
def test_a_step_by_autograd_is_the_same_step_without_closed_forms(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = step_time.Bench.build(SMALL, [objective], CPU)
    closed_forms: list[str] = []
    place = DenseEnergy._score
    monkeypatch.setattr(DenseEnergy, "_score", lambda *args: closed_forms.append(objective) or place(*args))
    bench.autograd[objective].call()
    assert not closed_forms
    bench.steps[objective].call()
    assert closed_forms


def test_what_takes_no_derivative_or_has_no_closed_form_is_not_timed_twice() -> None:
    assert not step_time.Bench.build(SMALL, ["noise_contrastive_estimation"], CPU).autograd
    images = step_time.Setting("convolutional", batch=4)
    assert not step_time.Bench.build(images, ["denoising_score_matching"], CPU).autograd


def test_every_objective_can_be_costed() -> None:
    bench = step_time.Bench.build(SMALL, registry.names("objectives"), CPU)
    for subject in bench.subjects:
        subject.call()
    assert set(bench.work) == set(registry.names("objectives"))
    assert all(work.flops > 0 for work in bench.work.values())


def test_settings_without_their_objective_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 2 dimensions"):
        step_time.Bench.build(step_time.Setting(dim=8), ["maximum_likelihood"], CPU)


def test_the_command_prints_and_keeps_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--objective", "denoising_score_matching", "--batch", "8", "--rounds", "6", "--out", str(tmp_path)]
    assert main.main(["cost", *options]) == 0
    assert "fwd_bwd_ratio" in capsys.readouterr().out
    assert (tmp_path / "cost.csv").read_text(encoding="utf-8").count("\n") == 2
    assert main.main(["cost", "--rounds", "2"]) == 2


def test_overhead_is_the_loop_without_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(step_time.time, "process_time", lambda: now[0])
    (planned, *_) = plan_runs(read_suite("smoke"), Selection(("denoising_score_matching",)), "cpu")
    batch, update = Trainer.batch, Learner.update

    def slow_batch(self: Trainer) -> torch.Tensor:
        now[0] += 1.0
        return batch(self)

    def slower_update(self: Learner, *arguments: Any) -> torch.Tensor:
        now[0] += 3.0
        return update(self, *arguments)

    monkeypatch.setattr(Trainer, "batch", slow_batch)
    monkeypatch.setattr(Learner, "update", slower_update)
    share = step_time.overhead(planned, rounds=6, device=CPU)
    assert (share.low, share.mean, share.high) == (0.25, 0.25, 0.25)


def test_what_lies_outside_training_and_evaluation_is_the_rest_of_a_run() -> None:
    began, ended = "2026-01-01T00:00:00.000000+00:00", "2026-01-01T00:00:10.500000+00:00"
    row = {"provenance": {"began": began, "ended": ended}, "time": {"train_wall": 6.0, "eval_wall": 4.0}}
    assert step_time.outside(row) == (10.5, 0.5)
