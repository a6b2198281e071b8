"""The audit of gradients: exact where it says so, silent on what is right, loud on what is planted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.api import Rng
from bench.audit import divergences, gradient_audit, report, toy_problem
from bench.audit.gradient_audit import Settings, Subject
from bench.audit.toy_problem import NEAR, START, WELLS, mixture, wells
from bench.cli import main
from bench.core import declarations
from bench.plugins import registry

QUICK = Settings(seeds=16, batch=64, passes=2e5, noisy=4)
MIDWAY = 0.5 * START + 0.5 * NEAR.truth
DECLARED = [name for name in registry.names("objectives") if registry.find("objectives", name).info.divergence]
ORACLE = '''
import torch
from torch import Tensor
from bench.api import Energy, Rng, laplacian, objective, score, sum_event, noised

@objective(family="planted", source="none", {declared})
def planted(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    """What the test says."""
    {body}
'''
IMPLICIT = "s, trace = laplacian(energy, x, rng)\n    return {sign}(0.5 * sum_event(s.square(), rng) - trace)"
DENOISING = (
    "z = rng.normal_like(x)\n    return 0.5 * sum_event("
    "(0.4 * score(energy, x + 0.4 * z, create_graph=True) + z).square(), rng)"
)
ONE_STEP = '''
from typing import Annotated
from torch import Tensor
from bench.api import Energy, Log, Rng, objective, score

@objective(family="planted", source="none", divergence="diffusion contrastive", bias={"sigma": 2})
def planted(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.05) -> Tensor:
    """What the test says."""
    y = x + sigma * rng.normal_like(x)
    return energy(x) - energy(y + FACTOR * sigma**2 * score(energy, y) + sigma * rng.normal_like(x))
'''


def planted(folder: Path, text: str) -> str:
    path = folder / "planted.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def finding(ref: str) -> report.Finding:
    (found,) = report.findings(pd.DataFrame(gradient_audit.examine(ref, QUICK)))
    return found


@pytest.mark.parametrize("name", DECLARED)
def test_a_declared_divergence_is_known_and_its_bias_names_parameters(name: str) -> None:
    plugin = registry.find("objectives", name)
    assert plugin.info.divergence in divergences.DIVERGENCES
    assert set(plugin.info.bias or {}) <= set(plugin.parameters)


@pytest.mark.parametrize("name", [n for n in DECLARED if registry.find("objectives", n).info.minimiser != "none"])
def test_a_divergence_is_stationary_at_the_truth_and_only_that_of_unadjusted_chains_is_not(name: str) -> None:
    subject = Subject(
        name, {"levels": 2} if "levels" in registry.find("objectives", name).parameters else {}, NEAR, mixture, QUICK
    )
    away, there = subject.exact(MIDWAY), subject.exact(NEAR.truth)
    assert away is not None
    assert there is not None
    share = float(there.norm() / away.norm())
    assert share < (0.1 if subject.info.divergence == "contrastive" else 1e-10)


def test_every_divergence_that_can_be_declared_has_an_integral() -> None:
    assert set(declarations.DIVERGENCES) == divergences.DIVERGENCES.keys()


@pytest.mark.parametrize("name", sorted(divergences.DIVERGENCES))
def test_a_gradient_is_that_of_finite_differences(name: str) -> None:
    hyper = {"sigma": 0.4, "levels": 2, "sigma_min": 0.3, "sigma_max": 1.0, "penalty": 2.0, "time_weight": 0.7}
    hyper |= {"score_weight": 0.3, "ratio": 3, "steps": 2, "step_size": 0.05, "gamma": 0.7}
    hyper |= {"kind": "jensen_shannon"}
    direction = torch.linspace(-1, 1, len(MIDWAY), dtype=torch.float64)
    ends = [divergences.DIVERGENCES[name](NEAR, mixture, MIDWAY + h * direction, hyper) for h in (1e-4, -1e-4)]
    slope = float(divergences.gradient(name, NEAR, mixture, MIDWAY, hyper) @ direction)
    # the kinks of a Metropolis test leave a little at finite steps
    assert float((ends[0] - ends[1]).detach()) / 2e-4 == pytest.approx(
        slope, rel=1e-4 if name.startswith("metropolis") else 1e-6
    )


def test_the_energy_form_of_the_divergence_is_its_fisher_form() -> None:
    # without tilts the model's noised law has a closed form: D_T = ½ ∫₀ᵀ E_{p_t}‖∇log p_t - ∇log q_t‖² dt
    theta, duration = MIDWAY * torch.tensor([1.0] * 5 + [0.0] * 3, dtype=torch.float64), 0.5
    nodes, weights = np.polynomial.legendre.leggauss(12)
    times = duration * (nodes + 1) / 2
    terms = [
        w * float(divergences.smoothed_fisher(NEAR, mixture, theta, {"sigma": math.sqrt(t)}).detach()) / t
        for t, w in zip(times, weights, strict=True)
    ]
    value = divergences.diffusion_contrastive(NEAR, mixture, theta, {"sigma": math.sqrt(duration)})
    assert 0.5 * duration * sum(terms) == pytest.approx(float(value), rel=1e-6)


def test_the_divergence_joins_score_matching_and_maximum_likelihood() -> None:
    def gap(name: str, variance: float, scale: float) -> float:
        exact = divergences.gradient("diffusion contrastive", NEAR, wells, WELLS, {"sigma": math.sqrt(variance)})
        other = scale * divergences.gradient(name, NEAR, wells, WELLS, {})
        return float((other - exact).norm() / exact.norm())

    assert 8 < gap("Fisher", 0.01, 0.01) / gap("Fisher", 0.001, 0.001) < 12
    gaps = [gap("maximum likelihood", variance, 1.0) for variance in (1.0, 10.0, 100.0)]
    assert 0.6 > gaps[0] > 5 * gaps[1] > 25 * gaps[2]


@pytest.mark.parametrize(
    "name", ["denoising_score_matching", "diffusion_contrastive_divergence", "sliced_score_matching"]
)
def test_an_integral_and_draws_agree_on_the_expected_gradient(name: str) -> None:
    subject = Subject(name, {}, NEAR, mixture, QUICK)
    integrated = subject.integrated(MIDWAY)
    assert integrated is not None
    drawn = subject.drawn(subject.sampler(MIDWAY))
    assert ((drawn.mean - integrated.mean).abs() < 4 * drawn.error).all()
    assert float(drawn.error.norm()) < 0.2 * float(drawn.mean.norm())


def test_even_and_paired_draws_have_the_mean_of_plain_ones_and_less_noise() -> None:
    subject = Subject("energy_discrepancy", {}, NEAR, mixture, QUICK)
    sampler = subject.sampler(MIDWAY)
    plain, even = sampler(60, even=False), sampler(60, even=True)
    seeds = [g.mean(0) for g in (plain, even)]
    error = (seeds[0].var(0) / QUICK.seeds + seeds[1].var(0) / QUICK.seeds).sqrt()
    assert ((seeds[0].mean(0) - seeds[1].mean(0)).abs() < 4 * error).all()
    assert float(even.var((0, 1)).sum()) < 0.5 * float(plain.var((0, 1)).sum())


def test_what_draws_otherwise_is_not_integrated() -> None:
    def dice(energy: object, x: Tensor, rng: Rng) -> Tensor:
        return rng.uniform(x.shape[:1], x.dtype)

    assert toy_problem.axes(dice, toy_problem.as_energy(wells, WELLS)) is None


def test_an_oracle_passes(tmp_path: Path) -> None:
    text = ORACLE.format(declared='divergence="Fisher"', body=IMPLICIT.format(sign=""))
    found = finding(planted(tmp_path, text))
    assert not found.broken
    assert found.line["bias"] < 1e-9
    assert found.line["residual gradient at the minimiser"] < 1e-9
    assert "zero up to rounding" in found.sentence
    assert not finding(planted(tmp_path, ONE_STEP.replace("FACTOR", "1.0"))).broken


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ORACLE.format(declared='divergence="Fisher"', body=IMPLICIT.format(sign="-")), "a relative bias of 2"),
        (ORACLE.format(declared='minimiser="data"', body=IMPLICIT.format(sign="-")), "falls as one goes away"),
        (ORACLE.format(declared='minimiser="data"', body=DENOISING), "is left of the gradient"),
        (ONE_STEP.replace("FACTOR", "0.5"), "halving what its bias vanishes with divides it by"),
        (ORACLE.format(declared='minimiser="none"', body="return energy(x) / 0"), "not finite"),
    ],
    ids=["sign", "sign without a divergence", "smoothed", "drift off by two", "not finite"],
)
def test_a_planted_mistake_is_caught(tmp_path: Path, text: str, words: str) -> None:
    found = finding(planted(tmp_path, text))
    assert any(words in broken for broken in found.broken)
    assert "contradict the declaration" in found.sentence
    assert found.line["declaration"] == "contradicted"


def test_a_control_is_not_held_to_anything(tmp_path: Path) -> None:
    text = ORACLE.format(declared='divergence="Fisher", control=True', body=IMPLICIT.format(sign="-"))
    assert not finding(planted(tmp_path, text)).broken


def test_the_command_writes_tables_and_pictures_and_says_what_is_contradicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = planted(tmp_path, ONE_STEP.replace("FACTOR", "1.0"))
    assert main.main(["audit", "--objective", good, "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    assert "O(sigma²)" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "audit.csv",
        "audit-checkpoints.csv.xz",
        "audit.md",
        "audit-family.png",
        "audit-bias-cost.png",
        "audit-noise-cost.png",
    } <= written
    bad = planted(tmp_path, ORACLE.format(declared='divergence="Fisher"', body=IMPLICIT.format(sign="-")))
    assert main.main(["audit", "--objective", bad, "--out", str(tmp_path / "bad"), "--jobs", "1"]) == 1
    assert main.main(["audit", "--objective", "nothing", "--out", str(tmp_path / "none")]) == 2
