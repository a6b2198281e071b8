"""Two versions compared in one job: statistics with known error rates, and a worker that times a real tree."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from bench import against, spec
from bench.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent


def clock(rng: np.random.Generator, factor: float, drift: itertools.count[int]) -> float:
    """A noisy duration on a machine that slows down all the time."""
    return factor * math.exp(0.02 * rng.normal()) * (1 + 0.002 * next(drift))


@pytest.mark.parametrize(("factor", "rate"), [(1.0, 0.0), (1.1, 1.0)])
def test_equal_code_is_not_dearer_and_a_tenth_more_is(factor: float, rate: float) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        drift: itertools.count[int] = itertools.count()
        measured = against.ratios(lambda d=drift: clock(rng, 1.0, d), lambda d=drift: clock(rng, factor, d))
        found.append(against.dearer(measured))
    # 60 rounds: a rate off by .1 would show at least one with probability .998
    assert abs(np.mean(found) - rate) <= 0.05


def test_abba_cancels_a_steady_drift() -> None:
    drift: itertools.count[int] = itertools.count()

    def slower() -> float:
        return 1 + 0.01 * next(drift)

    assert np.mean(against.ratios(slower, slower)) == pytest.approx(1.0, abs=1e-12)


def pairs(rng: np.random.Generator, ratio: float, n: int, spread: float = 0.03) -> list[tuple[float, float]]:
    before = np.exp(0.5 * rng.normal(size=n))
    return [(float(b), float(b * ratio * np.exp(spread * rng.normal()))) for b in before]


def test_quality_that_is_kept_passes_what_is_lost_does_not_and_what_is_noisy_stays_open() -> None:
    rng = np.random.default_rng(1)
    cells = {
        "equal": [(0.2, 0.2), (0.3, 0.3)],
        "kept": pairs(rng, 1.0, 12),
        "worse": pairs(rng, 1.3, 12),
        "noisy": pairs(rng, 1.0, 3, spread=1.0),
        "failed": [(0.2, math.inf), (0.3, 0.3), (0.2, 0.2)],
    }
    found = {name: outcome for name, (outcome, _) in against.judge(cells, 1.1).items()}
    assert found == {
        "equal": "pass",
        "kept": "pass",
        "worse": "regression",
        "noisy": "undecided",
        "failed": "regression",
    }


def test_a_loss_at_the_margin_is_seldom_called_harmless() -> None:
    rng = np.random.default_rng(2)
    passed = sum(against.judge({"cell": pairs(rng, 1.1, 6, 0.05)}, 1.1)["cell"][0] == "pass" for _ in range(400))
    assert passed / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_an_undecided_cell_names_the_effect_it_could_have_seen() -> None:
    _, seen = against.judge({"cell": [(0.2, 0.3), (0.3, 0.2), (0.2, 0.26)]}, 1.1)["cell"]
    assert "least that could be seen" in seen


def test_a_worker_times_the_steps_of_a_tree() -> None:
    worker = against.Worker(ROOT, spec.SUITES / "gate.toml")
    try:
        steps = worker.prepare("denoising_score_matching")
        assert steps >= 1
        assert worker.seconds("denoising_score_matching", 20 * steps) > worker.seconds(
            "denoising_score_matching", steps
        )
    finally:
        worker.close()


def test_an_unknown_commit_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-commit"), against.checked_out("no-such-commit"):
        pass
