"""Adam by torch's function is torch's class, to the bit, and goes on from its state."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from bench.api import Rng
from bench.training.adam import Adam


def parameters() -> list[Tensor]:
    return [Rng(0, "init").normal(shape).requires_grad_() for shape in ((3, 2), (5,), (4, 1))]


def groups(params: list[Tensor]) -> list[dict[str, object]]:
    return [{"params": params[:2], "lr": 0.01}, {"params": params[2:], "lr": 0.1, "maximize": True}]


def advance(optimiser: Adam | torch.optim.Adam, params: list[Tensor], steps: range) -> None:
    for t in steps:
        optimiser.zero_grad()
        for k, p in enumerate(params):
            # one has no gradient at first, as a part of a network that a loss does not look at
            p.grad = None if k == 1 and t < 3 else Rng(t, "train").normal(tuple(p.shape))
        optimiser.param_groups[0]["lr"] = 0.01 / (1 + t)
        optimiser.step()


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99)])
def test_steps_are_those_of_the_class_to_the_bit(betas: tuple[float, float]) -> None:
    mine, theirs = parameters(), parameters()
    advance(Adam(groups(mine), betas), mine, range(9))
    advance(torch.optim.Adam(groups(theirs), betas=betas, fused=True), theirs, range(9))
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_it_goes_on_from_its_state_and_takes_no_other() -> None:
    whole, parts = parameters(), parameters()
    advance(Adam(groups(whole), (0.9, 0.99)), whole, range(8))
    first = Adam(groups(parts), (0.9, 0.99))
    advance(first, parts, range(4))
    second = Adam(groups(parts), (0.9, 0.99))
    second.load_state_dict(first.state_dict())
    advance(second, parts, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    with pytest.raises(ValueError, match="zip"):
        Adam(groups(parameters()[:2])[:1], (0.9, 0.99)).load_state_dict(first.state_dict())


def test_it_does_not_load_torch_s_compiler() -> None:
    script = "import sys, bench.training.trainer as t; t.Adam([], (0.9, 0.99)); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
