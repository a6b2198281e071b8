"""Whatever a suite's file says, it is a suite or one clear line: no traceback, and nothing absurd is accepted."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

import pytest

from bench.common.errors import UsageError
from bench.common.references import parse_seeds
from bench.common.run_spec import BudgetSpec, EvaluationSpec, OptimiserSpec
from bench.suites.schema import Suite, parse_suite

SOUND: dict[str, Any] = {"name": "tiny", "objectives": ["denoising_score_matching"], "datasets": ["two_moons"]}
ODD: list[Any] = [
    *(0, -1, 1, 2.5, 1e30, -1e-9, 10**30, True, False, float("inf"), float("nan"), "", "x", "²", "0-4", "../x", "\0"),
    *([], {}, [[]], [1], ["x"], [None], {"x": 1}, {"": []}, ["*"], "*", [0.9, 0.999], [0.9, 2], [1, 2, 3]),
]
PARTS = {"optimiser": OptimiserSpec, "budget": BudgetSpec, "evaluation": EvaluationSpec}
PLACES = [(None, f.name) for f in fields(Suite)] + [
    (part, f.name) for part, kind in PARTS.items() for f in fields(kind)
]
NUMBERS = {"warm_up": 0, "steps": 1, "batch": 1, "checkpoints": 1, "samples": 1, "sampler_steps": 1, "version": 1}


def odd_suite(chance: random.Random) -> dict[str, Any]:
    found = dict(SOUND)
    for _ in range(chance.randrange(1, 4)):
        part, name = chance.choice([*PLACES, (None, "nonsense"), ("budget", "nonsense"), (None, "include")])
        value = chance.choice(ODD)
        if part is None:
            found[name] = value
        elif isinstance(found.get(part, {}), dict):
            found[part] = {**found.get(part, {}), name: value}
    return found


def absurd(suite: Suite) -> list[str]:
    """What no suite may say and yet be accepted."""
    wrong = []
    for part in (suite.optimiser, suite.budget, suite.evaluation):
        for name, least in NUMBERS.items():
            value = getattr(part, name, least)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**12:
                wrong.append(name)
    optimiser = suite.optimiser
    shares = (*optimiser.betas, optimiser.ema)
    wrong += ["share"] * (not all(0 <= share < 1 for share in shares))
    positive = (optimiser.lr, optimiser.clip, suite.budget.flops, suite.budget.seconds, suite.timeout_seconds)
    wrong += ["positive"] * (not all(value is None or 0 < value < float("inf") for value in positive))
    wrong += ["name"] * (suite.name in ("", "env", "plans", "derived") or "/" in suite.name)
    return wrong


def said(raw: dict[str, Any]) -> str | Suite:
    """The suite, or the error's text; anything else that is raised fails the test."""
    try:
        return parse_suite(raw, "odd.toml")
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(k, marks=pytest.mark.long) for k in range(10, 60))])
def test_an_odd_suite_is_a_suite_or_one_clear_line(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        raw = odd_suite(chance)
        found = said(raw)
        if isinstance(found, Suite):
            assert absurd(found) == [], raw
        else:
            assert found.startswith("suite odd.toml: "), raw
            assert "\n" not in found, raw


@pytest.mark.parametrize("text", ["²", "0-", "-1", "4-0", "1e3", "0x1", "", "0,,1", " ", "٣", "0-1-2", "0--1"])
def test_seeds_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="seeds are written like 0-4 or 0,2,5"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["0-999999999", "0-10000", "9999999999", "0-5000,0-5000"])
def test_too_many_or_too_large_seeds_are_refused_at_once(text: str) -> None:
    with pytest.raises(UsageError, match="at most 10000 seeds, each at most 2147483647"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (SOUND | {"optimiser": {"clip": -1}}, r"optimiser\.clip: expected `float` > 0\.0; got -1"),
        (SOUND | {"primary": 5}, r"primary: expected `str`, got `int`"),
        (SOUND | {"budget": {"steps": float("inf")}}, r"budget\.steps must be a finite number; got inf"),
        (SOUND | {"objectives": "*"}, r"objectives: expected `array`, got `str`; got '\*'"),
        (SOUND | {"evaluation": {"variant": ["ema"]}}, r"unknown key 'evaluation\.variant': did you mean"),
        (SOUND | {"name": "derived"}, r"name must not be one of env, plans, derived"),
        ({"objectives": ["x"]}, r"it lacks name, datasets"),
    ],
)
def test_a_wrong_value_is_said_with_its_key_and_the_way_out(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_suite(raw, "odd.toml")
