"""The only source of randomness: seeds alone and in a stack, streams, states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.api import Rng

SEEDS = (7, 0, 3)
DRAWS: dict[str, Callable[[Rng], Tensor]] = {
    "normal": lambda rng: rng.normal((*rng.batch_shape(5), 3)),
    "normal64": lambda rng: rng.normal((*rng.batch_shape(5), 3), torch.float64),
    "normal_like": lambda rng: rng.normal_like(torch.zeros((*rng.batch_shape(40), 3), dtype=torch.float64)),
    "uniform": lambda rng: rng.uniform(rng.batch_shape(5)),
    "uniform_like": lambda rng: rng.uniform_like(torch.zeros(rng.batch_shape(5))),
    "rademacher_like": lambda rng: rng.rademacher_like(torch.zeros((*rng.batch_shape(5), 2))),
    "integers": lambda rng: rng.integers(100, rng.batch_shape(5)),
    "distinct": lambda rng: rng.distinct(9, rng.batch_shape(9)),
    "choice": lambda rng: rng.choice(torch.tensor([0.2, 0.5, 0.3]), rng.batch_shape(50)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_draws_the_same_alone_and_in_a_stack(name: str) -> None:
    stack = Rng(SEEDS)
    for _ in range(3):
        both = DRAWS[name](stack), DRAWS[name](stack)
    for i, seed in enumerate(SEEDS):
        alone = Rng(seed)
        for _ in range(3):
            expected = DRAWS[name](alone), DRAWS[name](alone)
        assert torch.equal(both[0][i], expected[0])
        assert torch.equal(both[1][i], expected[1])


@pytest.mark.parametrize("name", DRAWS)
def test_the_global_seed_is_irrelevant_and_left_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = DRAWS[name](Rng(4))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(DRAWS[name](Rng(4)), first)


def test_streams_and_neighbouring_seeds_are_independent() -> None:
    n = 100_000
    rngs = [Rng(seed, stream) for seed in (0, 1) for stream in ("data", "init", "objective", "eval")]
    draws = torch.stack([rng.normal((n,), torch.float64) for rng in rngs])
    correlation = torch.corrcoef(draws) - torch.eye(len(rngs), dtype=torch.float64)
    assert correlation.abs().max() < 4.5 / n**0.5


def test_a_stream_by_name_starts_afresh_with_the_same_seeds() -> None:
    for seed in (3, [3, 5]):
        rng = Rng(seed)
        rng.normal(rng.batch_shape(4))
        expected = Rng(seed, "eval").uniform(rng.batch_shape(4))
        assert torch.equal(rng.stream("eval").uniform(rng.batch_shape(4)), expected)
        assert rng.stream("eval").batch_ndim == rng.batch_ndim


@pytest.mark.parametrize("seed", [3, [3, 5]])
def test_a_state_goes_on_where_it_was_taken(seed: int | list[int]) -> None:
    rng = Rng(seed)
    rng.normal(rng.batch_shape(7))
    state = rng.state_dict()
    expected = [draw(rng) for draw in DRAWS.values()]
    other = Rng(seed)
    other.load_state_dict(state)
    assert all(torch.equal(draw(other), value) for draw, value in zip(DRAWS.values(), expected, strict=True))


def test_a_state_without_a_seed_is_refused() -> None:
    with pytest.raises(KeyError):
        Rng([1, 2]).load_state_dict(Rng(1).state_dict())


def test_distinct_has_no_repeats_and_favours_none() -> None:
    drawn = Rng([0, 1]).distinct(10, (2, 20_000, 4))
    assert (drawn.sort(-1).values.diff(dim=-1) > 0).all()
    counts = drawn.flatten().bincount(minlength=10).double()
    expected = drawn.numel() / 10
    assert ((counts - expected).abs() / (expected * 0.6) ** 0.5).max() < 4.5
    with pytest.raises(ValueError, match="cannot draw 11 distinct"):
        Rng(0).distinct(10, (11,))


def test_the_moments_are_those_of_the_laws() -> None:
    rng, n = Rng(0), 400_000
    uniform, sign = rng.uniform((n,), torch.float64), rng.rademacher_like(torch.zeros(n, dtype=torch.float64))
    normal, chosen = rng.normal((n,), torch.float64), rng.choice(torch.tensor([1.0, 3.0]), (n,)).double()
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert set(sign.unique().tolist()) == {-1.0, 1.0}
    for values, mean in ((uniform, 0.5), (sign, 0.0), (normal, 0.0), (normal.square(), 1.0), (chosen, 0.75)):
        assert abs(float(values.mean()) - mean) < 4 * float(values.std()) / n**0.5


def test_a_shape_that_is_not_a_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="stack of 2 seeds"):
        Rng([0, 1]).normal((3, 4))
    with pytest.raises(ValueError, match="at least one seed"):
        Rng([])
