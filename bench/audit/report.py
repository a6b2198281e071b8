"""What an audit says: one line and one sentence an objective, made from its declaration and checked by the figures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.results import tables

STANDARD_ERRORS = 4.0
EXACT = 0.01  # a promise of no bias is broken by more than this: chains, boxes and fits are finite
ORDER = 1.5  # a factor by which an error may miss its declared power
FALLING = 0.95  # of itself is what a bias must fall to, at the least, to be said to fall
SHARE = 0.5  # of the gradient a tenth of the way off: what may be left of it at the declared minimiser
MIDWAY, NEARBY, TRUTH = 0.5, 0.9, 1.0
LAWS = {"data": "the data distribution", "smoothed": "the data distribution convolved with its noise"}
POWERS = str.maketrans("234", "²³⁴")
SHOWN = (
    "objective", "divergence", "declared bias order", "bias", "bias se", "angle to the ML gradient (°)", "degrees se",
    "residual gradient at the minimiser", "left by its proof", "noise to signal", "MFLOPs an example",
    "MFLOPs to SNR 1", "declaration",
)  # fmt: skip
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What was found of one objective; `broken` names each part of its declaration that the figures contradict."""

    objective: str
    line: Mapping[str, float | str]
    sentence: str
    broken: tuple[str, ...]


def findings(lines: pd.DataFrame) -> list[Finding]:
    """One finding an objective, in the order of families."""
    ordered = lines.sort_values(["family", "objective"], kind="stable")
    return [_finding(group.to_dict("records")) for _, group in ordered.groupby("objective", sort=False)]


def _number(line: Line, key: str) -> float:
    value = line.get(key)
    return math.nan if value is None else float(value)


def _at(lines: list[Any], setting: str, path: float) -> Line:
    return next((x for x in lines if x["setting"] == setting and x["path"] == path), {})


def _finding(lines: list[Any]) -> Finding:
    about = {**lines[0], "settings": {line["setting"] for line in lines}}
    midway = _at(lines, "as run", MIDWAY)
    share, share_error = remains(lines, "as run")
    proven, proven_error = remains(lines, _proof(lines))
    cosine = max(-1.0, min(1.0, _number(midway, "cosine_likelihood")))
    angle, slope = math.degrees(math.acos(cosine)), math.sqrt(max(1 - cosine**2, 1e-6))
    samples = _number(midway, "noise_to_signal")
    broken = () if about["control"] else tuple(filter(None, (_finite(lines), _bias(lines), _stationary(lines))))
    unseen = about["minimiser"] != "none" and not proven_error < SHARE / STANDARD_ERRORS
    verdict = "control" if about["control"] else "contradicted" if broken else "undecided" if unseen else "holds"
    line = {
        "objective": about["objective"],
        "family": about["family"],
        "divergence": about["divergence"] or "none by quadrature",
        "declared bias order": about["promise"] or "none stated",
        "bias": _number(midway, "bias_own"),
        "bias se": _number(midway, "bias_se_own"),
        "cosine": _number(midway, "cosine_own"),
        "angle to the ML gradient (°)": angle,
        "degrees se": math.degrees(_number(midway, "cosine_se_likelihood") / slope),
        "cosine likelihood": _number(midway, "cosine_likelihood"),
        "cosine likelihood se": _number(midway, "cosine_se_likelihood"),
        "bias likelihood": _number(midway, "bias_likelihood"),
        "bias likelihood se": _number(midway, "bias_se_likelihood"),
        "residual gradient at the minimiser": share,
        "left se": share_error,
        "left by its proof": proven,
        "left by its proof se": proven_error,
        "noise to signal": samples,
        "noise to signal se": _number(midway, "noise_to_signal_se"),
        "MFLOPs an example": about["mflops"],
        "MFLOPs to SNR 1": samples * about["mflops"],
        "declaration": verdict,
    }
    return Finding(about["objective"], line, _sentence(about, midway, line, broken), broken)


def _proof(lines: list[Any]) -> str:
    """The setting in which the declared minimiser is to hold."""
    return "proof" if any(line["setting"] == "proof" for line in lines) else "as run"


def remains(lines: list[Any], setting: str) -> tuple[float, float]:
    """‖gradient‖ at the truth over that a tenth of the path away, and its standard error."""
    there, beside = _at(lines, setting, TRUTH), _at(lines, setting, NEARBY)
    size, error = _number(there, "gradient"), _number(there, "gradient_se")
    reference = _number(beside, "gradient")
    return math.sqrt(max(size**2 - error**2, 0.0)) / reference, error / reference


def _finite(lines: list[Any]) -> str:
    bad = [line for line in lines if line["status"] != "ok"]
    return f"the gradient is {bad[0]['status']} at {bad[0]['path']:g} of the path" if bad else ""


def _bias(lines: list[Any]) -> str:
    """What contradicts the declared bias order; empty if nothing does."""
    promise, midway, nearer = lines[0]["promise"], _at(lines, "as run", MIDWAY), _at(lines, "along its bias", MIDWAY)
    bias, error = _number(midway, "bias_own"), _number(midway, "bias_se_own")
    if promise == "none":
        for line in (line for line in lines if line["setting"] == "as run" and line["path"] < TRUTH):
            off, its_error = _number(line, "bias_own"), _number(line, "bias_se_own")
            if off > max(STANDARD_ERRORS * _number(line, "floor_own"), EXACT):
                found = f"{off:.2g} ± {its_error:.1g} at {line['path']:g} of the path"
                return f"a relative bias of {found}, where none is declared"
        return ""
    if not promise:
        return ""
    less, less_error = _number(nearer, "bias_own"), _number(nearer, "bias_se_own")
    powers = [int(power) for power in re.findall(r"\^(\d+)", promise)]
    if powers and midway.get("method") == nearer.get("method") == "integrated":
        ratio, expected = bias / less, 2.0 ** powers[0]
        if not expected / ORDER < ratio < expected * ORDER:
            return f"halving what its bias vanishes with divides it by {ratio:.2g}, not by {expected:g}"
        return ""
    resolved = bias > STANDARD_ERRORS * error
    if (resolved and less > FALLING * bias) or less - bias > STANDARD_ERRORS * math.hypot(error, less_error):
        return f"its bias goes from {bias:.2g} to {less:.2g} where it is declared to fall"
    return ""


def _stationary(lines: list[Any]) -> str:
    """What contradicts the declared minimiser; empty if nothing does."""
    if lines[0]["minimiser"] == "none":
        return ""
    share, error = remains(lines, _proof(lines))
    if share - STANDARD_ERRORS * error > SHARE:
        return f"at its declared minimiser {share:.0%} ± {error:.0%} is left of the gradient a tenth of the path away"
    beside = _at(lines, _proof(lines), NEARBY)
    if _number(beside, "rise") < -STANDARD_ERRORS * _number(beside, "rise_se"):
        return "beside its declared minimiser the loss falls as one goes away from it"
    return ""


def _sentence(about: Line, midway: Line, line: Line, broken: tuple[str, ...]) -> str:
    law = LAWS.get(about["minimiser"])
    converges = (
        "is a control, known to be wrong" if about["control"] else "declares no distribution that it converges to"
    )
    words = [f"`{about['objective']}` ({about['family']}) " + (f"converges to {law}" if law else converges)]
    if about["divergence"]:
        found = _seen(line["bias"], line["bias se"], _number(midway, "floor_own"))
        words.append(f"it estimates the {about['divergence']} divergence {_how(about['promise'])}: {found} midway")
    if law:
        left = _seen(line["residual gradient at the minimiser"], line["left se"], line["left se"])
        text = f"residual gradient there, relative to that a tenth of the path away: {left}"
        if "proof" in about["settings"]:
            proven = _seen(line["left by its proof"], line["left by its proof se"], line["left by its proof se"])
            text += f"; with its `proof` hyper-parameters: {proven}"
        words.append(text)
    degrees = f"{line['angle to the ML gradient (°)']:.0f}°" + f" ± {line['degrees se']:.0f}°" * (
        line["degrees se"] >= 1
    )
    words.append(f"midway its angle to the maximum likelihood gradient is {degrees}")
    sentence = "; ".join(words) + "." + (f" {about['note']}" if about["note"] else "")
    return sentence + (f" **Measurements contradict the declaration: {'; '.join(broken)}.**" if broken else "")


def _how(promise: str) -> str:
    if not promise:
        return "with a bias of undeclared order"
    if promise == "none":
        return "without bias"
    if "^" in promise:
        return f"with a bias O({promise.replace('^1', '').replace('^', '').translate(POWERS)})"
    return f"with a bias that {promise}"


def _seen(value: float, error: float, floor: float) -> str:
    """A relative size in words: a number, or that it lies below what noise or rounding leaves to see."""
    if math.isnan(value):
        return "n/a"
    if error > 0:
        least = 2 * max(floor, error)
        return f"less than {least:.2g}" if value < least else f"{value:.2g} ± {error:.1g}"
    return "zero up to rounding" if value < 1e-9 else f"{value:.2g}"


def summary(found: list[Finding]) -> pd.DataFrame:
    """One line an objective: the table of the audit."""
    return pd.DataFrame([{**finding.line, "in words": finding.sentence} for finding in found])


def audit_markdown(found: list[Finding], pictures: list[Path]) -> str:
    """The audit as a page: how to read it, the table, a sentence an objective, the pictures."""
    shown = summary(found)[list(SHOWN)]
    contradicted = [finding for finding in found if finding.broken]
    verdict = "No declaration is contradicted."
    if contradicted:
        verdict = f"Contradicted: {', '.join(f'`{finding.objective}`' for finding in contradicted)}."
    return (
        "\n\n".join(
            [
                "# Audit of the gradients",
                READING,
                verdict,
                tables.markdown_table(tables.format_cells(shown)),
                "## What each converges to",
                "\n".join(f"- {finding.sentence}" for finding in found),
                *(f"![{path.stem.replace('-', ' ')}]({path.name})" for path in pictures),
            ]
        )
        + "\n"
    )


READING = """One dimension, two overlapping Gaussians, energies of eight non-linear parameters in float64, midway
between a bad energy and the truth. *bias*: ‖E[gradient] − exact‖ / ‖exact‖ against the objective's own divergence by
quadrature, with its standard error (0 where the expectation was integrated rather than drawn). *angle to the ML
gradient*: the angle to the gradient of maximum likelihood (of the least noise level, for an energy that is told it).
*residual gradient at the minimiser*: the gradient at the law that is declared, over that a tenth of the path away, as
run and at the settings that the declaration gives for a proof. *noise to signal*: the variance of one example's
gradient over the square of its mean, that is, the examples over which to average until noise equals signal. *MFLOPs
to SNR 1*: that many examples at the counted cost of one in a network of two hidden layers of 64. A declaration is
undecided where the noise hides half of the gradient a tenth away."""


def write_audit(lines: pd.DataFrame, relatives: pd.DataFrame, out: Path) -> list[Finding]:
    """Writes audit.csv, audit.md, audit-checkpoints.csv.xz, audit-family.csv and the pictures; returns the findings."""
    from bench.audit import plots

    out.mkdir(parents=True, exist_ok=True)
    found = findings(lines)
    tables.write_table(summary(found), out / "audit.csv")
    tables.write_table(lines, out / "audit-checkpoints.csv.xz")
    pictures = plots.draw_audit(summary(found), out)
    if not relatives.empty:
        tables.write_table(relatives, out / "audit-family.csv")
        pictures.insert(0, plots.draw_family(relatives, out / "audit-family.png"))
    (out / "audit.md").write_text(audit_markdown(found, pictures), encoding="utf-8")
    return found
