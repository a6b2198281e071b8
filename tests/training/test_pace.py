"""A ratio of times holds on a machine whose pace changes, which seconds do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.runner import stacked_run
from bench.runner.single_run import run_single
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training import pace
from bench.training.trainer import Trainer

CPU = torch.device("cpu")


def test_a_ratio_does_not_see_that_the_machine_slows_down(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], [0]
    monkeypatch.setattr(pace.time, "process_time", lambda: now[0])

    def takes(seconds: float) -> Callable[[], None]:
        def call() -> None:
            now[0] += seconds * (1 if calls[0] < 300 else 3)
            calls[0] += 1

        return call

    assert pace.in_units_of(takes(0.006), takes(0.0005), CPU) == pytest.approx(12)
    assert calls[0] > 350, "a part of it was three times as slow"


def test_the_time_of_a_step_grows_with_what_it_does() -> None:
    one, ten = (
        Trainer(
            plan_runs(read_suite("smoke"), Selection((f"contrastive_divergence[steps={steps}]",)), "cpu")[0], 0, CPU
        )
        for steps in (1, 10)
    )
    few, many = one.step_time_in_flops(), ten.step_time_in_flops()
    assert 0 < 1.5 * few < many
    assert many > ten.count().flops / 10, "a step that does only products takes about the time of its FLOPs"


def test_equal_time_is_turned_into_steps_alone_and_in_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "step_time_in_flops", lambda self: 2.5e5)
    monkeypatch.setattr(Trainer, "step_seconds", lambda self, steps: 1.0)  # so that the stack is the faster
    (spec,) = plan_runs(read_suite("smoke"), Selection(("denoising_score_matching",), seeds=(0,)), "cpu")
    cheap = replace(spec.evaluation, checkpoints=1, metrics={"kl": ""})
    spec = replace(spec, track="equal_time", budget=replace(spec.budget, flops=2e7), evaluation=cheap)
    folders = [tmp_path / name for name in ("alone", "first", "second")]
    for folder in folders:
        folder.mkdir()
    alone = run_single(spec, folders[0], lambda line: None)
    together = stacked_run.run_stack([spec, replace(spec, seed=1)], folders[1:], [lambda line: None] * 2)
    assert [row["work"]["steps"] for row in (alone, *together)] == [80] * 3
