"""How far an objective's own estimate of log Z is from that of annealed importance sampling."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, annealed_partition, metric


@metric(needs={"log_z"}, unit="nats", better="lower", version=1, scale="difference", dear=True)
def log_z_error_ais(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """|ζ - log Ẑ|, ζ the objective's own estimate, log Ẑ by annealed importance sampling, in nats, in any dimension.

    log Ẑ is below log Z in expectation and certified as in `nll_ais`; the standard error is its own. ζ is for the last
    weights: other weights and other objectives have no value. The signed error and the nominal 99 % interval of log Z
    stand in the detail. On the plane `log_z_error` is exact.
    """
    estimate: float = energy.log_z_estimate  # type: ignore[attr-defined]
    found = annealed_partition(energy, data.train, rng, held_out=data.test)
    error = estimate - found.log_z
    if not math.isfinite(error):
        return Estimate(None, certified=False, reason=f"not finite: log Z is {found.log_z}, its estimate {estimate}")
    low, high = found.interval
    detail = {**found.detail, "error": error, "log_z": found.log_z, "log_z_low": low, "log_z_high": high}
    return Estimate(abs(error), found.stderr, None, found.certified, found.reason, detail)
