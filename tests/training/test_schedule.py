"""Warm-up and average as shares of a run: the same part of each, however many steps it takes."""

from __future__ import annotations

import pytest

from bench.common.run_spec import OptimiserSpec
from bench.training.schedule import StepSchedule, TimeSchedule

SHARES = OptimiserSpec(warm_up_share=0.1, ema_share=0.05)


@pytest.mark.parametrize("steps", [50, 591, 4577])
def test_shares_are_the_same_part_of_every_run(steps: int) -> None:
    schedule = StepSchedule(steps, SHARES, 10)
    peak = max(range(steps), key=schedule.lr_factor)
    assert (peak + 1) / steps == pytest.approx(0.1, abs=1 / steps)
    assert 1 / (1 - schedule.ema_decay(0)) == pytest.approx(0.05 * steps)
    assert sum(schedule.checkpoint_due(t) for t in range(1, steps + 1)) == 10


def test_without_shares_steps_and_decay_are_those_that_are_given() -> None:
    schedule = StepSchedule(1000, OptimiserSpec(warm_up=100, ema=0.99), 10)
    assert schedule.lr_factor(49) == 0.5
    assert schedule.lr_factor(99) == 1
    assert schedule.ema_decay(7) == 0.99


def test_a_share_below_a_step_averages_nothing() -> None:
    assert StepSchedule(3, SHARES, 1).ema_decay(0) == 0


@pytest.mark.parametrize("step_seconds", [0.01, 0.05])
def test_under_a_clock_shares_are_of_the_time(step_seconds: float) -> None:
    now = [0.0]
    schedule = TimeSchedule(10.0, SHARES, 5, lambda: now[0])
    factors, decays, t = [], [], 0
    while not schedule.finished(t):
        factors.append(schedule.lr_factor(t))
        decays.append(schedule.ema_decay(t))
        t += 1
        now[0] = t * step_seconds
        schedule.checkpoint_due(t)
    peak = max(range(len(factors)), key=factors.__getitem__)
    assert peak / len(factors) == pytest.approx(0.1, abs=0.03)
    assert 1 / (1 - decays[-1]) == pytest.approx(0.05 * t, rel=0.05)
    assert factors[-1] < 0.01
