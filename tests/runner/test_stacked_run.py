"""Seeds that train as a stack get the rows that they would get alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.common import run_spec
from bench.runner import stacked_run
from bench.runner.single_run import run_single
from bench.suites import expand, schema
from bench.training import stopwatch
from bench.training.trainer import Trainer

ROUNDING = 2e-3  # relative, after 60 steps: batched products round differently, and chains spread what they round
# a function, chains, an own parameter, noise levels, an adversary
OBJECTIVES = (
    "denoising_score_matching",
    "persistent_contrastive_divergence",
    "noise_contrastive_estimation",
    "multiscale_denoising_score_matching",
    "learned_stein_discrepancy",
)
PLUGIN = '''
from typing import Annotated
import torch
from torch import Tensor, nn
from bench.api import Energy, Integer, Rng, objective, score, sum_event

@objective(family="test", source="this test")
class Bad(nn.Module):
    """½‖s(x)‖², but seed 1 goes wrong at its seventh step."""

    def __init__(self, x_train: Tensor, rng: Rng) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        self.calls += 1
        loss = sum_event(score(energy, x, create_graph=True).square(), rng)
        factors = torch.tensor([BAD if s == 1 and self.calls >= 7 else 1.0 for s in rng.seeds])
        return loss * (factors[0] if rng.batch_ndim == 1 else factors[:, None])
'''
NAN, RAISE = "float('nan')", "int('no number')"


@pytest.fixture(autouse=True)
def _a_stack_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is faster depends on the machine and its load; these tests are about the numbers."""
    monkeypatch.setattr(Trainer, "step_seconds", lambda self, steps: 1.0)


def planned(objective: str, seeds: Sequence[int] = (0, 1, 2), **budget: Any) -> list[run_spec.RunSpec]:
    found = expand.plan_runs(schema.read_suite("smoke"), expand.Selection((objective,), seeds=tuple(seeds)), "cpu")
    cheap = {"checkpoints": 3, "metrics": {name: "" for name in ("kl", "sliced_wasserstein")}}
    return [
        replace(s, budget=replace(s.budget, **{"steps": 60, **budget}), evaluation=replace(s.evaluation, **cheap))
        for s in found
    ]


def folders(tmp_path: Path, name: str) -> list[Path]:
    made = [tmp_path / f"{name}{k}" for k in range(3)]
    for folder in made:
        folder.mkdir()
    return made


def both_ways(
    specs: list[run_spec.RunSpec], tmp_path: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[list[dict[str, Any]]], list[list[dict[str, Any]]]]:
    """The rows and the curves of solo runs, then those of a stack."""
    alone: list[list[dict[str, Any]]] = [[], [], []]
    together: list[list[dict[str, Any]]] = [[], [], []]
    solo = [run_single(*part) for part in zip(specs, folders(tmp_path, "solo"), [c.append for c in alone], strict=True)]
    stacked = stacked_run.run_stack(specs, folders(tmp_path, "stack"), [c.append for c in together])
    return solo, stacked, alone, together


def close(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING))


@pytest.mark.parametrize(
    "objective", [*OBJECTIVES[:2], *(pytest.param(name, marks=pytest.mark.long) for name in OBJECTIVES[2:])]
)
def test_a_stacks_rows_are_those_of_its_solo_runs(objective: str, tmp_path: Path) -> None:
    solo, stacked, alone, together = both_ways(planned(objective), tmp_path)
    values = []
    for a, b in zip(solo, stacked, strict=True):
        assert a["status"] == b["status"] == "ok"
        assert (a["last_step"], a["work"], a["model"]) == (b["last_step"], b["work"], b["model"])
        assert {k: a["best_at"][k] for k in ("step", "weights")} == {k: b["best_at"][k] for k in ("step", "weights")}
        for name, variants in a["metrics"].items():
            for variant, found in variants.items():
                assert close(found["value"], b["metrics"][name][variant]["value"]), (name, variant)
        values.append(a["metrics"]["kl"]["last"]["value"])
    assert len({round(v, 3) for v in values}) == 3, "seeds that agree would hide a mix-up"
    for one, other in zip(alone, together, strict=True):
        assert [line["step"] for line in one] == [line["step"] for line in other] == [20, 40, 60]
        for a, b in zip(one, other, strict=True):
            assert a.keys() == b.keys()
            assert all(close(a[k], b[k]) for k in a if k not in ("train_seconds", "certified_last", "certified_ema"))


def test_cost_is_that_of_one_seed_alone_and_says_so(tmp_path: Path) -> None:
    specs = planned("contrastive_divergence")
    solo, stacked, _, curves = both_ways(specs, tmp_path)
    for a, b, curve in zip(solo, stacked, curves, strict=True):
        assert (b["time"]["method"], b["time"]["stack"]) == (stacked_run.METHOD, 3)
        assert a["time"].keys() < b["time"].keys()
        assert a["memory"].keys() <= b["memory"].keys()
        assert 0 < curve[0]["train_seconds"] < curve[1]["train_seconds"] < curve[2]["train_seconds"]
        assert curve[2]["train_seconds"] == b["time"]["train_wall"]
    assert len({row["time"]["train_wall"] for row in stacked}) == 1


def test_a_solo_clock_charges_steps_at_the_pace_of_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(stopwatch.time, "process_time", lambda: now[0] / 2)

    class Steady:
        device = torch.device("cpu")
        seconds = 1.0

        def step(self, t: int) -> None:
            now[0] += self.seconds

    solo = Steady()
    clock = stacked_run.SingleSeedTimer(solo, steps=100, checkpoints=2)  # type: ignore[arg-type]
    assert (clock.wall, clock.cpu) == (0, 0), "what warms up is not charged"
    for pace, before, charged in ((2.0, 20.0, 40.0), (3.0, 80.0, 100.0)):
        solo.seconds = pace
        clock.start()
        for _ in range(20):
            now[0] += 1000.0  # the stack's own step
            clock.lap()
        assert clock.seconds == before / 2, "at the pace of the last stop"
        clock.stop()
        assert (clock.wall, clock.cpu) == (charged, charged / 2)
        assert clock.seconds == clock.cpu
    clock.stop()
    assert clock.wall == 100.0
    assert len(clock.watch.laps) == stacked_run.WARM_UP + 3 * 50


def test_a_seed_that_diverges_takes_no_other_with_it(tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(PLUGIN.replace("BAD", NAN), encoding="utf-8")
    solo, stacked, _, curves = both_ways(planned(str(plugin)), tmp_path)
    assert [row["status"] for row in stacked] == ["ok", "diverged", "ok"]
    assert stacked[1]["reason"] == solo[1]["reason"] == "the loss is not finite at step 7"
    assert (stacked[1]["last_step"], stacked[1]["work"]) == (7, solo[1]["work"])
    assert "metrics" not in stacked[1]
    assert [len(curve) for curve in curves] == [3, 0, 3]
    for k in (0, 2):
        assert close(stacked[k]["metrics"]["kl"]["last"]["value"], solo[k]["metrics"]["kl"]["last"]["value"])


def test_a_stack_ends_when_every_seed_has_diverged(tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(PLUGIN.replace("BAD", NAN).replace("s == 1 and ", ""), encoding="utf-8")
    specs = planned(str(plugin), steps=100_000)
    rows = stacked_run.run_stack(specs, folders(tmp_path, "stack"), [lambda line: None] * 3)
    assert [(row["status"], row["last_step"]) for row in rows] == [("diverged", 7)] * 3


def test_an_error_is_the_row_of_its_own_seed(tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(PLUGIN.replace("BAD", RAISE), encoding="utf-8")
    specs = [s.to_dict() for s in planned(str(plugin))]
    curves: list[list[dict[str, Any]]] = [[], [], []]
    rows = stacked_run.work(specs, folders(tmp_path, "stack"), [c.append for c in curves])
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert rows[1]["error"]["type"] == "ValueError"
    assert "stack" not in rows[0]["time"]


def test_an_error_in_one_seeds_evaluation_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluated(model: Any, *rest: Any) -> dict[str, Any]:
        if model.seed == 2:
            raise ArithmeticError("negative")
        return {"status": "ok"}

    monkeypatch.setattr(stacked_run, "evaluate_run", evaluated)
    specs = planned("denoising_score_matching")
    rows = stacked_run.run_stack(specs, folders(tmp_path, "stack"), [lambda line: None] * 3)
    assert [row["status"] for row in rows] == ["ok", "ok", "error"]
    assert rows[2]["error"]["message"] == "negative"
    assert rows[2]["time"]["train_wall"] > 0


def test_seeds_whose_step_sizes_differ_are_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Trainer.__init__

    def undeclared(self: Trainer, *arguments: Any) -> None:
        built(self, *arguments)
        self.data = replace(self.data, local_scale=None)

    monkeypatch.setattr(Trainer, "__init__", undeclared)
    with pytest.raises(stacked_run.NotStackableError, match="a step size of its own"):
        stacked_run.run_stack(planned("contrastive_divergence"), folders(tmp_path, "stack"), [lambda line: None] * 3)


def test_seeds_that_would_be_slower_together_are_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "step_seconds", lambda self, steps: 0.001 if isinstance(self.seed, int) else 0.004)
    specs = planned("maximum_likelihood", steps=3)
    with pytest.raises(stacked_run.NotStackableError, match="a step of 3 seeds takes 4 ms stacked, 3 alone"):
        stacked_run.run_stack(specs, folders(tmp_path, "stack"), [lambda line: None] * 3)
    rows = stacked_run.work([s.to_dict() for s in specs], folders(tmp_path, "alone"), [lambda line: None] * 3)
    assert [(row["status"], "stack" in row["time"]) for row in rows] == [("ok", False)] * 3


@pytest.mark.long
def test_a_stack_stops_at_equal_flops_where_its_seeds_would(tmp_path: Path) -> None:
    specs = [replace(s, track="equal_flops") for s in planned("denoising_score_matching", flops=2e7)]
    rows = stacked_run.run_stack(specs, folders(tmp_path, "stack"), [lambda line: None] * 3)
    alone = run_single(specs[0], tmp_path, lambda line: None)
    assert {row["work"]["steps"] for row in rows} == {alone["work"]["steps"]}
    assert rows[0]["work"]["flops_train"] <= 2e7


@pytest.mark.long
def test_a_stack_of_learning_rates_has_the_numbers_of_each_alone(tmp_path: Path) -> None:
    spec, other = planned("denoising_score_matching", (0, 1))
    specs = [spec, *(replace(s, optimiser=replace(s.optimiser, lr=s.optimiser.lr / 3)) for s in (spec, other))]
    assert len({s.stack_id for s in specs}) == 1
    assert len({s.cell_id for s in specs}) == 2
    rows = stacked_run.run_stack(specs, folders(tmp_path, "stack"), [lambda line: None] * 3)
    for k, (row, each) in enumerate(zip(rows, specs, strict=True)):
        alone = run_single(each, folders(tmp_path, f"alone{k}")[0], lambda line: None)
        found, expected = (r["metrics"]["kl"]["last"]["value"] for r in (row, alone))
        assert found == pytest.approx(expected, rel=ROUNDING)
    values = [row["metrics"]["kl"]["last"]["value"] for row in rows]
    assert abs(values[0] - values[1]) > 10 * ROUNDING * values[0]


def test_a_run_that_settings_are_chosen_by_sees_no_test_data(tmp_path: Path) -> None:
    (spec,) = planned("denoising_score_matching", (0,))
    spec = replace(spec, evaluation=replace(spec.evaluation, metrics={"nll": ""}))
    on_valid = replace(spec, evaluation=replace(spec.evaluation, split="valid"))
    lines: list[dict[str, Any]] = []
    test = run_single(spec, folders(tmp_path, "test")[0], lambda line: None)
    valid = run_single(on_valid, folders(tmp_path, "valid")[0], lines.append)
    found = valid["metrics"]["nll"]["ema"]["value"]
    assert found == pytest.approx(lines[-1]["valid_nll_ema"], rel=1e-6)
    assert found != test["metrics"]["nll"]["ema"]["value"]


def test_a_stack_ends_when_one_seed_alone_would_have_used_up_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, step = [0.0], Trainer.step
    price = {0: 0.01, 400: 0.02}  # of a step of one seed, from so many of them on: the machine gets slower
    taken = []

    def timed_step(self: Trainer, t: int) -> torch.Tensor:
        if isinstance(self.seed, int):
            taken.append(t)
            now[0] += price[max(k for k in price if k < len(taken))]
        else:
            now[0] += 0.03  # a step of the stack is on nobody's clock
        return step(self, t)

    monkeypatch.setattr(stopwatch.time, "process_time", lambda: now[0])
    monkeypatch.setattr(Trainer, "step_seconds", lambda self, steps: 0.01)
    monkeypatch.setattr(Trainer, "step", timed_step)
    specs = [replace(s, track="equal_seconds") for s in planned("denoising_score_matching", seconds=3.0)]
    rows = stacked_run.run_stack(specs, folders(tmp_path, "stack"), [lambda line: None] * 3)
    (steps,) = {row["work"]["steps"] for row in rows}
    # it gets slower in the second third, which is charged at that pace, so that less is left for the last
    assert 210 <= steps <= 230
    for row in rows:
        assert row["time"]["train_cpu"] == pytest.approx(3.0, rel=0.1)
