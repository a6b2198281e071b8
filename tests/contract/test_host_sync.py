"""Nothing in a training step makes a GPU wait: the watch sees what would, and the trainer's own part does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.contract.host_sync import host_syncs
from bench.contract.objective_rules import RULES
from bench.plugins import registry
from bench.suites import expand, schema
from bench.training.trainer import CHECK_EVERY, Trainer

X = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
CPU = torch.device("cpu")
WAITING: dict[str, Callable[[], object]] = {
    "_local_scalar_dense": lambda: X.sum().item(),
    "_local_scalar_dense in a branch": lambda: 1 if (X > 0).all() else 0,
    "_local_scalar_dense as a float": lambda: float(X.max()),
    "a mask as index": lambda: X[X > 0],
    "a list as index": lambda: X[[1, 0]],
    "nonzero": lambda: (X > 0).nonzero(),
    "_unique2": lambda: X.unique(),
    "equal": lambda: torch.equal(X, X),
    "tolist": lambda: X.tolist(),
    "numpy": lambda: X.numpy(),
    "cpu": lambda: X.cpu(),
    "to": lambda: X.to("cpu"),
    "as_tensor": lambda: torch.as_tensor(0.5, device=X.device),
    "new_tensor": lambda: X.new_tensor([1.0, 2.0]),
    "linspace without a device": lambda: torch.linspace(0, 1, 3).to(X),
}
QUEUED: list[Callable[[], object]] = [
    lambda: torch.where(X > 0, X, 0.0),
    lambda: X[torch.zeros(2, dtype=torch.int64, device=X.device)],
    lambda: X.new_full((), 0.5) * torch.full_like(X, 2.0),
    lambda: torch.linspace(0, 1, 3, device=X.device).to(X),
    lambda: torch.as_tensor(X, device=X.device),
    lambda: [row.sum() for row in X],
    lambda: X.repeat_interleave(2, 0).view(len(X), -1)[:, 0:1],
]


class Looking(torch.autograd.Function):
    """The identity, whose backward pass looks at the gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0] * float(gradients[0].sum())


@pytest.mark.parametrize("what", WAITING)
def test_what_waits_is_seen_with_its_place(what: str) -> None:
    (found,) = host_syncs(WAITING[what])
    assert found.startswith(what.partition(" in ")[0].partition(" as a float")[0])
    assert "(test_host_sync.py:" in found


@pytest.mark.parametrize("number", range(len(QUEUED)))
def test_what_is_queued_is_not(number: int) -> None:
    assert host_syncs(QUEUED[number]) == []


def test_a_backward_pass_is_watched_too() -> None:
    x = X.clone().requires_grad_()
    assert len(host_syncs(lambda: Looking.apply(x).sum().backward())) == 1


@pytest.mark.parametrize("seed", [0, [0, 1]])
@pytest.mark.parametrize("kernel", ["ve", "vp"])
def test_the_trainers_own_part_of_a_step_never_waits(seed: int | list[int], kernel: str) -> None:
    """Schedule, batch, optimiser, clipping and average, over one that draws batches; an objective's part is checked."""
    selection = expand.Selection(
        (f"diffusion_contrastive_divergence_ladder[kernel={kernel},sigma_max=0.9]",), seeds=(0,)
    )
    (planned,) = expand.plan_runs(schema.read_suite("smoke"), selection, "cpu")
    trainer = Trainer(replace(planned, optimiser=replace(planned.optimiser, clip=1.0)), seed, CPU)
    trainer.step(0)
    assert host_syncs(lambda: [trainer.step(t) for t in range(1, CHECK_EVERY + 2)]) == []


def test_declared_work_on_the_host_is_told_and_not_held_against_an_objective() -> None:
    names = registry.names("objectives")
    declared = {n: work for n in names if (work := registry.find("objectives", n).info.host_work)}
    assert declared
    for name, work in declared.items():
        assert work in RULES["no waiting"](registry.find("objectives", name), name)
