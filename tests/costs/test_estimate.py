"""What a plan predicts: the arithmetic here, on times that are given; FLOPs against those of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec
from bench.costs import estimate
from bench.costs.estimate import estimate_costs
from bench.runner.single_run import run_single
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training.trainer import Model, Trainer

STEP, EVALUATION = 0.01, 2.0


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Steps and evaluations that take a known time; counts how often each is timed."""
    calls: Counter[str] = Counter()

    def fake(name: str, seconds: float) -> Any:
        def time(trainer: object) -> float:
            calls[name] += 1
            return seconds

        return time

    monkeypatch.setattr(estimate, "_time_step", fake("step", STEP))
    monkeypatch.setattr(estimate, "_time_evaluation", fake("evaluation", EVALUATION))
    monkeypatch.setattr(estimate.time, "process_time", lambda: 0.0)  # so that set-up takes none
    return calls


def planned(objectives: Sequence[str], datasets: Sequence[str] = ("two_moons",), **budget: Any) -> list[RunSpec]:
    specs = plan_runs(read_suite("smoke"), Selection(tuple(objectives), tuple(datasets), (0, 1)), "cpu")
    return [replace(s, budget=replace(s.budget, **budget)) for s in specs]


def test_flops_are_predicted_exactly(timed: Counter[str], tmp_path: Path) -> None:
    for track in ("equal_steps", "equal_flops"):
        (spec, _) = (replace(s, track=track) for s in planned(["energy_discrepancy"], steps=4, flops=1e8))
        row = run_single(spec, tmp_path, lambda line: None)
        assert estimate_costs([spec])[spec.cell_id].flops == row["work"]["flops_train"]


@pytest.mark.parametrize(
    ("track", "training"), [("equal_steps", 200 * STEP), ("equal_seconds", 7.0), ("equal_time", 400 * STEP)]
)
def test_seconds_are_those_of_the_steps_and_of_an_evaluation(
    timed: Counter[str], track: str, training: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "step_time_in_flops", lambda self: 2e5)
    (spec, _) = (replace(s, track=track) for s in planned(["denoising_score_matching"], seconds=7.0, flops=8e7))
    assert estimate_costs([spec])[spec.cell_id].seconds == pytest.approx(training + EVALUATION)


def test_nothing_is_timed_twice(timed: Counter[str]) -> None:
    specs = planned(["denoising_score_matching", "contrastive_divergence"], ["two_moons", "eight_gaussians"])
    assert len(estimate_costs(specs)) == 4
    assert timed == {"step": 2, "evaluation": 2}


def test_what_is_skipped_costs_nothing(timed: Counter[str]) -> None:
    specs = [replace(s, skip="no slope") for s in planned(["denoising_score_matching"])]
    assert [(p.flops, p.seconds) for p in estimate_costs(specs).values()] == [(0, 0)]
    assert not timed


SUITE = """
name = "ruler"
objectives = []
datasets = ["digits"]
denoisers = ["{denoiser}"]
metrics = ["denoising_psnr"]
"""
BROKEN = '''
from torch import Tensor
from bench.api import denoiser

@denoiser(source="this test")
def broken(y: Tensor, sigma: float) -> Tensor:
    """Nothing."""
    raise ValueError("no such thing")
'''


def ruler(denoiser: str, folder: Path) -> RunSpec:
    path = folder / "ruler.toml"
    path.write_text(SUITE.format(denoiser=denoiser), encoding="utf-8")
    (spec,) = plan_runs(read_suite(str(path)), Selection(seeds=(0,)), "cpu")
    return spec


def test_a_classical_denoiser_has_no_training_and_is_priced_with_all_that_it_loads(tmp_path: Path) -> None:
    spec = ruler("gaussian_filter", tmp_path)
    predicted = estimate_costs([spec])[spec.cell_id]
    row = run_single(spec, tmp_path, lambda line: None)
    assert (predicted.flops, predicted.training) == (0, 0)
    # the data are drawn and the parameter chosen in both; here what they import is there already
    assert predicted.seconds > 0.2 * (row["time"]["setup_cpu"] + row["time"]["eval_cpu"]) > 0


def test_what_cannot_be_priced_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN, encoding="utf-8")
    with pytest.raises(UsageError, match="broken has no cost estimate: ValueError: no such thing"):
        estimate_costs([ruler(str(path), tmp_path)])


def test_an_evaluation_by_chains_is_priced_from_a_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = plan_runs(read_suite("digits"), Selection(("denoising_score_matching",), None, (0,)), "cpu")
    asked: list[int] = []
    clock = [0.0]

    def evaluated(model: Model, *_: object) -> None:
        asked.append(model.spec.evaluation.samples)
        clock[0] += (5.0 if len(asked) == 1 else 1.0) + 0.01 * asked[-1]

    trainer = Trainer(spec, 0, torch.device("cpu"))
    monkeypatch.setattr(estimate, "evaluate_run", evaluated)
    monkeypatch.setattr(estimate.time, "process_time", lambda: clock[0])
    assert estimate._time_evaluation(trainer) == pytest.approx(5.0 + 0.01 * 500)
    assert max(asked) < 100


def test_an_objectives_own_sampler_is_priced_with_that_objective(timed: Counter[str]) -> None:
    specs = planned(["denoising_score_matching", "contrastive_divergence"])
    estimate_costs(specs)
    assert timed["evaluation"] == 1
    estimate_costs([replace(s, evaluation=replace(s.evaluation, samplers=["own"])) for s in specs])
    assert timed["evaluation"] == 3
