"""Averages over pairs of examples, with their standard errors."""

from __future__ import annotations

from torch import Tensor


def u_statistic(pairs: Tensor) -> tuple[float, float]:
    """The mean of a symmetric h(zᵢ, zⱼ) over i ≠ j, and its standard error, from the matrix of all pairs (n, n).

    Var = [4(n-2) ζ₁ + 2 ζ₂] / n(n-1), with ζ₂ the variance of h and ζ₁ that of its mean given one argument. ζ₁ is read
    from the variance of the row means less what ζ₂ adds to it, and not below 0. Where ζ₁ = 0, which is where the two
    laws that a kernel compares are the same, the error is a little too large, by less than the √2 of a jackknife.
    (Hoeffding 1948)

    The diagonal is not read.
    """
    n = len(pairs)
    pairs = pairs.double().clone().fill_diagonal_(0.0)
    rows = pairs.sum(1) / (n - 1)
    mean = rows.mean()
    whole = (pairs.square().sum() / (n * (n - 1)) - mean.square()).clamp(min=0)
    given_one = (((n - 1) ** 2 / (n - 2) * rows.var() - whole) / (n - 4)).clamp(min=0)
    return float(mean), float(((4 * (n - 2) * given_one + 2 * whole) / (n * (n - 1))).sqrt())
