"""Whether the energy tells test data from examples of other laws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, in_chunks, metric, outliers

LARGEST = 2_000


def _areas(inside: Tensor, outside: dict[str, Tensor]) -> tuple[dict[str, float], float]:
    """The area under the curve for each set, and the standard error of their mean (DeLong et al. 1988)."""
    ranked = inside.sort().values
    by_set, test_shares, variance = {}, [], 0.0
    for name, values in outside.items():
        below = torch.searchsorted(ranked, values), torch.searchsorted(ranked, values, right=True)
        share = (below[0] + below[1]).double() / (2 * len(ranked))  # of test points with a lower energy, ties half
        by_set[name] = float(share.mean())
        variance += float(share.var()) / len(values) / len(outside) ** 2
        others = values.sort().values
        above = torch.searchsorted(others, inside), torch.searchsorted(others, inside, right=True)
        test_shares.append(1 - (above[0] + above[1]).double() / (2 * len(others)))
    variance += float(torch.stack(test_shares).mean(0).var()) / len(inside)
    return by_set, math.sqrt(variance)


@metric(needs=set(), unit="share", better="higher", version=1, dear=True)
def out_of_distribution_auroc(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """Mean over sets of P(E(y) > E(x)), x of the test set and y of the set, ties half; ½ is chance, 1 perfect.

    The sets are uniform noise on the box of the training data, independent normal coordinates, test examples with every
    coordinate of another example, and for a data set of the project its others of the same shape; each area stands in
    the detail, and `oracle` is the mean for the true density where it is known. A true density need not be the best
    here: by Neyman and Pearson that is the ratio of two densities, not one.   (Hendrycks & Gimpel 2017)

    At most 2,000 examples of each; the standard error is DeLong's.
    """
    n = min(len(data.test), LARGEST)
    x = data.test[rng.distinct(len(data.test), (n,))]
    sets = outliers(data, n, rng)
    inside, *others = (in_chunks(energy, points).double() for points in (x, *sets.values()))
    if not all(values.isfinite().all() for values in (inside, *others)):
        return Estimate(None, n=n, reason="the energy is not finite at some points")
    areas, stderr = _areas(inside, dict(zip(sets, others, strict=True)))
    detail: dict[str, object] = dict(areas)
    if data.log_density is not None:
        log_density = data.log_density
        truth = {name: -in_chunks(log_density, points).double() for name, points in sets.items()}
        oracle, _ = _areas(-in_chunks(log_density, x).double(), truth)
        detail["oracle"] = sum(oracle.values()) / len(oracle)
    return Estimate(sum(areas.values()) / len(areas), stderr, n, detail=detail)
