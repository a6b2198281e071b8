"""Counted work equals work by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.api import Rng
from bench.plugins import builders, registry
from bench.training import work_counter

BATCH, DIM, HIDDEN = 8, 2, 16
IMAGE, WIDTH = (1, 8, 8), 4


def count(network: nn.Module, objective: str, x: torch.Tensor) -> work_counter.Work:
    module = builders.objective(objective, x, Rng(0), local_scale=0.1)
    parameters = [*network.parameters(), *module.parameters()]

    def step(calls: list[work_counter.Call]) -> None:
        loss = module(work_counter.count_calls(network, calls, 1), x, Rng(0)).mean()
        loss.backward(inputs=parameters)

    return work_counter.count_work(step, len(x))


def mlp() -> tuple[nn.Module, torch.Tensor]:
    network = builders.network("mlp", (DIM,), Rng(0, "init"), width=HIDDEN, depth=2)
    return network, Rng(0).normal((BATCH, DIM))


def forward_and_backward(network: nn.Module, x: torch.Tensor) -> float:
    def step(calls: list[work_counter.Call]) -> None:
        work_counter.count_calls(network, calls, 1)(x).mean().backward()

    return work_counter.count_work(step, len(x)).flops


# one layer of n inputs and m outputs: 2·B·n·m forward, as much for its weights, as much for its input
FIRST, SECOND, LAST = (2 * BATCH * n * m for n, m in ((DIM, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)))
FORWARD = FIRST + SECOND + LAST
PLAIN = 2 * FIRST + 3 * SECOND + 3 * LAST  # the first layer's input needs no gradient


def test_a_plain_step_counts_every_matrix_product() -> None:
    assert forward_and_backward(*mlp()) == PLAIN


def test_contrastive_divergence_counts_its_chain() -> None:
    work = count(mlp()[0], "contrastive_divergence[steps=10]", mlp()[1])
    assert work.flops == 10 * 2 * FORWARD + 2 * PLAIN
    assert (work.forwards, work.input_gradients, work.double_backwards, work.sampler_steps) == (12, 10, 0, 10)


def test_denoising_score_matching_counts_its_double_backward() -> None:
    work = count(mlp()[0], "denoising_score_matching", mlp()[1])
    # forward; input gradient; then the weights' gradient through both of these
    assert work.flops == FORWARD + FORWARD + (3 * FIRST + 4 * SECOND + LAST)
    assert (work.forwards, work.input_gradients, work.double_backwards, work.sampler_steps) == (1, 1, 1, 0)


def test_wide_networks_give_the_published_ratios() -> None:
    network, x = builders.network("mlp", (DIM,), Rng(0), width=512, depth=2), Rng(0).normal((4, DIM))
    plain = forward_and_backward(network, x)
    for objective, ratio in (("denoising_score_matching", 2.0), ("contrastive_divergence[steps=10]", 8.7)):
        assert count(network, objective, x).flops / plain == pytest.approx(ratio, abs=0.05)


def test_convolutions_count_by_hand() -> None:
    network = builders.network("convolutional", IMAGE, Rng(0), width=WIDTH, depth=2)
    x = Rng(0).normal((BATCH, *IMAGE))
    first, second, third = (
        2 * BATCH * pixels * 9 * inside * outside
        for pixels, inside, outside in ((64, 1, WIDTH), (16, WIDTH, 2 * WIDTH), (4, 2 * WIDTH, 4 * WIDTH))
    )
    forward, plain = first + second + third, 2 * first + 3 * second + 3 * third
    assert forward_and_backward(network, x) == plain
    assert count(network, "contrastive_divergence[steps=3]", x).flops == 3 * 2 * forward + 2 * plain


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_work_does_not_depend_on_the_seed_and_is_not_nothing(name: str) -> None:
    told = registry.find("objectives", name).info.conditional
    networks = [builders.network("mlp", (2,), Rng(s), width=8, depth=1, conditional=told) for s in (0, 1)]
    works = [count(network, name, Rng(s).normal((64, 2))) for s, network in enumerate(networks)]
    assert works[0] == works[1]
    assert works[0].flops > 0
    assert works[0].forwards >= 1


def test_pointwise_work_is_seen_in_the_operations() -> None:
    def step(calls: list[work_counter.Call]) -> None:
        torch.ones_like(x).exp_()

    x = torch.zeros(4)
    assert work_counter.count_work(step, len(x)) == work_counter.Work(aten_ops=2.0)
