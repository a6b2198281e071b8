"""What a lesser precision of training is worth: seconds in the same interleaved rounds as float32, beside its errors.

An error is ‖a - b‖ / ‖b‖ of a in the precision asked for and b in float32, at the same weights, on the same data, by
the same random numbers. The weights have been trained in float32 for `STEPS` steps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bench.common import run_spec
from bench.common.quiet_process import quieten
from bench.common.statistics import median_interval
from bench.core.derivatives import score
from bench.core.precision import autocast_energy, check_precision, matmul_precision
from bench.core.rng import Rng
from bench.costs.step_time import LOCAL_SCALE, Setting, Subject, columns, interleave, learner_of, spread, training_data
from bench.training.trainer import Learner

STEPS = 20


def measure_precision(
    settings: Sequence[Setting], objectives: Sequence[str], precision: str, *, rounds: int, device: torch.device
) -> pd.DataFrame:
    """Every objective in every setting, in float32 and in `precision`; one line each.

    `speed_up` is float32's seconds over the other's, `score_error` that of the energy's score on a batch, and
    `gradient_error` that of the objective's gradient by the weights, its chains included. A noise-conditional energy's
    score is that at σ = `LOCAL_SCALE`.

    Raises:
        UsageError: if an objective, a setting or the precision is not as it must be.
    """
    check_precision(precision, device.type)
    quieten()
    lines: list[dict[str, Any]] = []
    pairs: list[tuple[Subject, Subject]] = []
    for setting in settings:
        data = training_data(setting, device)
        x = data[: setting.batch]
        for ref in objectives:
            plain = learner_of(ref, setting.network, data, device)
            for k in range(STEPS):
                plain.update(plain.energy, x, Rng(k, "warm-up", device))
            pairs.append((_subject(plain, x, run_spec.FULL_PRECISION), _subject(plain, x, precision)))
            errors = {f"{name}_error": relative_error(of, plain, x, precision) for name, of in MEASURED.items()}
            lines.append(columns(ref, setting, device) | {"precision": precision} | errors)
    interleave([subject for pair in pairs for subject in pair], rounds)
    for line, (plainly, otherwise) in zip(lines, pairs, strict=True):
        ratios = [a / b for a, b in zip(plainly.seconds, otherwise.seconds, strict=True)]
        for name, subject in (("float32_ms", plainly), ("step_ms", otherwise)):
            line[name] = median_interval([1000 * s for s in subject.seconds]).mean
        line |= spread("speed_up", median_interval(ratios))
    last = [f"{name}_error" for name in MEASURED]
    return pd.DataFrame(lines)[[c for c in lines[0] if c not in last] + last]


def scores(learner: Learner, x: Tensor, precision: str) -> Tensor:
    """The energy's score at x, shaped as x."""
    energy = learner.energy
    sigma = [x.new_full(x.shape[:1], LOCAL_SCALE)] * bool(learner.objective.info.conditional)
    with matmul_precision(precision):
        return score(autocast_energy(lambda z: energy(z, *sigma), precision), x)


def gradients(learner: Learner, x: Tensor, precision: str) -> Tensor:
    """The gradient of an update by the energy's weights, (n,)."""
    copied = _copy(learner, precision)
    copied.update(copied.energy, x, Rng(0, "objective", x.device))
    return torch.cat([w.grad.flatten() for w in copied.energy.parameters() if w.grad is not None])


MEASURED = {"score": scores, "gradient": gradients}


def relative_error(of: Any, learner: Learner, x: Tensor, precision: str) -> float:
    """‖a - b‖ / ‖b‖ of what `of` gives in the precision and in float32."""
    plain = of(learner, x, run_spec.FULL_PRECISION)
    return float((of(learner, x, precision) - plain).norm() / plain.norm())


def _copy(learner: Learner, precision: str) -> Learner:
    return Learner(*copy.deepcopy((learner.energy, learner.objective)), learner.settings, precision)


def _subject(learner: Learner, x: Tensor, precision: str) -> Subject:
    copied = _copy(learner, precision)
    return Subject(partial(copied.update, copied.energy, x, Rng(0, "objective", x.device)), x.device)
