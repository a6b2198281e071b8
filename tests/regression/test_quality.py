"""Quality of two versions paired by seed: what is shown, what stays open, and how often it is wrong."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pytest

from bench.common import exit_codes
from bench.regression.checks import Check, exit_code
from bench.regression.quality import ALPHA, SEEDS, Pairs, judge, paired_quality

MARGIN = 1.1
INF = math.inf


def pairs(rng: np.random.Generator, ratio: float, n: int, spread: float = 0.03) -> list[tuple[float, float]]:
    before = np.exp(0.5 * rng.normal(size=n))
    return [(float(b), float(b * ratio * np.exp(spread * rng.normal()))) for b in before]


class World:
    """Cells with a true ratio and a spread; it remembers what it was asked to run."""

    def __init__(self, cells: Mapping[str, tuple[float, float]], seed: int = 0) -> None:
        self.cells, self.rng = cells, np.random.default_rng(seed)
        self.pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in cells}
        self.asked: list[tuple[tuple[str, ...], range]] = []

    def measure(self, cells: Collection[str] | None, seeds: range) -> Mapping[str, Pairs]:
        chosen = sorted(self.cells if cells is None else cells)
        self.asked.append((tuple(chosen), seeds))
        for name in chosen:
            self.pairs[name] += pairs(self.rng, self.cells[name][0], len(seeds), self.cells[name][1])
        return {"kl": self.pairs}


def decided(world: World) -> dict[str, Check]:
    checks = paired_quality(world.measure, {"kl": MARGIN}, lambda cell: f"again {cell}")
    return {check.cell: check for check in checks}


def test_quality_that_is_kept_passes_what_is_lost_does_not_and_what_is_noisy_stays_open() -> None:
    rng = np.random.default_rng(1)
    cells: dict[str, Sequence[tuple[float, float]]] = {
        "equal": [(0.2, 0.2), (0.3, 0.3)],
        "kept": pairs(rng, 1.0, 12),
        "worse": pairs(rng, 1.3, 12),
        "noisy": pairs(rng, 1.0, 3, spread=1.0),
        "failed": [(0.2, INF), (0.3, 0.3), (0.2, 0.2)],
        "mended": [(INF, 0.3), (INF, 0.2)],
        "never there": [(INF, INF), (INF, INF)],
        "not measured": [],
        "negative": [(0.2, 0.2), (0.3, -0.01)],
    }
    assert {name: outcome for name, (outcome, _) in judge(cells, MARGIN).items()} == {
        "equal": "pass",
        "kept": "pass",
        "worse": "regression",
        "noisy": "undecided",
        "failed": "regression",
        "mended": "pass",
        "never there": "pass",
        "not measured": "undecided",
        "negative": "undecided",
    }


def test_pairs_that_differ_by_rounding_alone_are_kept_quality() -> None:
    rounded = [(0.1 * k, 0.1 * k * (1 + 1e-12 * (-1) ** k)) for k in range(1, 13)]
    assert judge({"cell": rounded}, MARGIN)["cell"][0] == "pass"


def test_a_metric_that_nothing_has_is_undecided() -> None:
    assert judge({"cell": [(INF, INF)]}, MARGIN)["cell"][0] == "undecided"
    for ratio in (0.5, 1.01, 2.0):
        same_at_every_seed = [(0.1 * k, 0.1 * k * ratio) for k in range(1, 6)]
        assert judge({"cell": same_at_every_seed}, MARGIN)["cell"][0] == "undecided", "no spread, no p-value"
    (check,) = paired_quality(lambda cells, seeds: {}, {"kl": MARGIN}, lambda cell: "again")
    assert check.outcome == "undecided"
    assert exit_code([check]) == exit_codes.UNDECIDED


def test_a_loss_at_the_margin_is_seldom_called_harmless() -> None:
    rng, rounds = np.random.default_rng(2), 400
    passed = sum(judge({"cell": pairs(rng, MARGIN, 6, 0.05)}, MARGIN)["cell"][0] == "pass" for _ in range(rounds))
    assert passed / rounds <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / rounds)


@pytest.mark.parametrize(("ratio", "wrong"), [(MARGIN, "pass"), (1.0, "regression")])
def test_looking_several_times_at_many_cells_errs_in_at_most_one_comparison_in_twenty(ratio: float, wrong: str) -> None:
    rounds, level = 150, 0.05
    seen = 0
    for k in range(rounds):
        world = World({f"cell {c}": (ratio, 0.2) for c in range(8)}, seed=k)
        seen += any(check.outcome == wrong for check in decided(world).values())
    assert seen / rounds <= level + 3 * math.sqrt(level * (1 - level) / rounds)


def test_what_is_undecided_gets_more_seeds_up_to_a_cap_and_then_says_what_it_could_have_seen() -> None:
    world = World({"equal": (1.0, 0.0), "worse": (1.5, 0.01), "noisy": (1.0, 1.0)})
    found = decided(world)
    assert [cells for cells, _ in world.asked] == [("equal", "noisy", "worse"), ("noisy",), ("noisy",)]
    assert [seeds[-1] + 1 for _, seeds in world.asked] == list(SEEDS)
    assert {name: check.outcome for name, check in found.items()} == {
        "equal": "pass",
        "worse": "regression",
        "noisy": "undecided",
    }
    assert "at 12 seeds; ×" in found["noisy"].after
    assert "is the least that could be seen" in found["noisy"].after
    assert exit_code([found["noisy"]]) == exit_codes.UNDECIDED


def test_the_smallest_effect_is_one_that_would_have_been_seen() -> None:
    spread = 0.3
    _, seen = judge({"cell": pairs(np.random.default_rng(3), 1.0, 12, spread)}, MARGIN)["cell"]
    least = float(seen.partition("; ×")[2].split()[0])
    # at a true ratio of that size half of all comparisons are significant; at its square nearly all
    rng = np.random.default_rng(4)
    larger = [judge({"cell": pairs(rng, least**2, 12, spread)}, MARGIN)["cell"][0] for _ in range(40)]
    assert larger.count("regression") >= 30


def test_every_verdict_names_cell_metric_before_after_interval_and_command() -> None:
    check = decided(World({"worse": (1.5, 0.01)}))["worse"]
    assert (check.part, check.metric, check.before, check.command) == ("paired quality", "kl", "×1", "again worse")
    middle, low, high = (float(word.strip("×(),")) for word in check.after.replace(" to ", " ").split()[:3])
    assert low < middle < high
    assert low > 1
