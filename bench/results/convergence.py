"""The convergence check: may a data set be ranked at all, under this network and budget?

Beside a suite's objectives stands a reference fit: maximum likelihood with log Z by quadrature, at a larger budget of
its own. Where even its KL divergence stays above the suite's bound, the network or the budget is too small to hold the
law, and a ranking would say how fast a small network is optimised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.results.metric_values import preferred
from bench.results.records import Cell, Record

UNDER_FITS, NOT_RUN = NO_VERDICT = "under-fits", "not run"  # what `no_verdict` may say


@dataclass(frozen=True)
class Convergence:
    """What the reference fits of one data set say.

    Attributes:
        kl: the mean over seeds of the KL divergence of the best fit, in nats; None where the density is not known.
        bound: what it must not exceed, in nats.
        tested: whether there are fits, each with a result.
    """

    kl: float | None
    bound: float
    tested: bool

    @property
    def failed(self) -> bool:
        """Whether nothing may be ranked: the best fit is too far from the data, or there is none yet."""
        return not self.tested or (self.kl is not None and not self.kl <= self.bound)

    @property
    def words(self) -> str:
        """What a page says of it."""
        if not self.tested:
            return "the reference fit has no result yet: no verdict"
        if self.kl is None:
            return "convergence not testable: the density is not known"
        if self.failed:
            found = f"its reference fit ends at KL {self.kl:.3g}, above {self.bound:g} nats"
            return f"this setting under-fits, {found}: no verdict"
        return f"reference fit: KL {self.kl:.2g} nats (bound {self.bound:g})"


def no_verdict(records: Iterable[Record]) -> str:
    """Why the records of one data set may give no verdict: "under-fits", or "not run" without a fit; else ""."""
    cells: dict[str, Cell] = {}
    for record in records:
        cells.setdefault(record.objective, Cell()).records.append(record)
    check = convergence(cells)
    if check is None or not check.failed:
        return ""
    return UNDER_FITS if check.tested else NOT_RUN


def convergence(entries: Mapping[str, Cell]) -> Convergence | None:
    """The check of one data set by its cells; None where its suite asks for none."""
    specs = [record.spec for cell in entries.values() for record in cell.records]
    bounds = [spec.convergence_bound for spec in specs if spec.convergence_bound is not None]
    if not bounds:
        return None
    fits = [cell for cell in entries.values() if cell.records[0].spec.reference_fit]
    done = [cell for cell in fits if len(cell.completed) == len(cell.records)]
    if not done or len(done) < len(fits):
        return Convergence(None, bounds[0], tested=False)
    means = [mean for cell in done if (mean := _mean_kl(cell)) is not None]
    return Convergence(min(means, default=None), bounds[0], tested=True)


def _mean_kl(cell: Cell) -> float | None:
    key = preferred({key for record in cell.completed for key in record.values}, "kl")
    values = cell.numbers(key)
    if not values:
        return None
    return float("inf") if cell.uncertified(key) else float(np.mean(values))
