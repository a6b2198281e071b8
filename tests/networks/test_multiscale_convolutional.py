"""The preconditioned energy of images: its Gaussian part in closed form, its symmetry, and what it is calibrated to."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.core.derivatives import score
from bench.core.rng import Rng
from bench.plugins import builders
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training.trainer import Trainer

IMAGE = (2, 12, 20)  # sides of 12 and 20 leave an odd side at stride 4


def _network(event: tuple[int, ...] = IMAGE, *, conditional: bool = False, **params: str | int) -> nn.Module:
    params = {"width": 8, "blocks": 1, **params}
    return builders.network(
        "multiscale_convolutional", event, Rng(0, "init"), conditional=conditional, **params
    ).double()


def _images(event: tuple[int, ...] = IMAGE, n: int = 50) -> Tensor:
    centre = torch.linspace(-1, 1, event[-1]).expand(event)
    return (centre + 0.4 * Rng(1).normal((n, *event))).double()


def _calibrate(network: nn.Module, x: Tensor) -> None:
    network.calibrate(x)  # type: ignore[operator]


def _silence(network: nn.Module) -> None:
    """Sets the read-outs of G to zero."""
    for weights in network.readouts:  # type: ignore[union-attr]
        weights.data.zero_()


@pytest.mark.parametrize("readout", ["position", "sum"])
def test_without_its_free_part_the_energy_is_that_of_noised_gaussian_data(readout: str) -> None:
    network, x, sigma = _network(conditional=True, readout=readout), _images(), 0.3
    _calibrate(network, x)
    _silence(network)
    over = (0,) if readout == "position" else (0, 2, 3)
    mean = x.mean(over, keepdim=True)
    width = ((x - mean).square().mean() + sigma**2).sqrt()
    expected = -torch.distributions.Normal(mean, width).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(network(x, x.new_full((len(x),), sigma)), expected, rtol=1e-9)


def test_without_its_free_part_a_static_energy_is_about_zero_at_the_data() -> None:
    network, x = _network(), _images()
    _calibrate(network, x)
    _silence(network)
    assert abs(float(network(x).detach().mean())) < 1e-6
    expected = -(x - x.mean(0)) / (x - x.mean(0)).square().mean()
    assert torch.allclose(score(network, x), expected, rtol=1e-9)


def test_the_free_part_enters_with_the_weight_of_one_tweedie_step() -> None:
    network, x, sigma, scale = _network(conditional=True), _images(n=4), 0.3, 0.7
    network.scale.fill_(scale)  # type: ignore[operator, union-attr]
    total = scale**2 + sigma**2
    levels = x.new_full((len(x),), sigma)
    films = network._films(levels)  # type: ignore[operator]
    regressed = score(lambda u: -network._free(u, films), x / total**0.5)  # type: ignore[operator]
    tweedie = x + sigma**2 * score(lambda y: network(y, levels), x)
    expected = scale**2 / total * x + sigma * scale / total**0.5 * regressed
    assert torch.allclose(tweedie, expected, rtol=1e-6)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("stages", "axes"), [(1, 0), (3, 0), (6, 0), (3, 5)])
def test_calibration_gives_each_seed_of_a_stack_what_it_gets_alone(stages: int, axes: int, conditional: bool) -> None:
    def built(rng: Rng, x_train: Tensor) -> nn.Module:
        network = builders.network(
            "multiscale_convolutional", IMAGE, rng, conditional=conditional, width=8, stages=stages, axes=axes
        ).double()
        _calibrate(network, x_train)
        return network

    x = torch.stack([_images(), 3 * _images()])
    levels = [x.new_full(x.shape[:2], 0.3)] if conditional else []
    energies = built(Rng([4, 2], "init"), x)(x, *levels)
    for i, seed in enumerate((4, 2)):
        alone = built(Rng(seed, "init"), x[i])
        assert torch.allclose(energies[i], alone(x[i], *(level[i] for level in levels)), rtol=1e-10)
    assert not torch.allclose(energies[0], energies[1])


@pytest.mark.parametrize("n", [50, 600], ids=["fewer images than pixels", "more"])
def test_the_principal_axes_are_those_of_the_training_images(n: int) -> None:
    network, x = _network(axes=7), _images(n=n)
    _calibrate(network, x)
    axes, variances = network.get_buffer("axes"), network.get_buffer("variances")
    _, values, vectors = torch.linalg.svd((x - x.mean(0)).flatten(1) / n**0.5, full_matrices=False)
    assert torch.allclose(variances, values[:7].square(), rtol=1e-9)
    assert torch.allclose((vectors[:7] @ axes).abs(), torch.eye(7).double(), atol=1e-9)


def test_the_perceptron_enters_with_the_weight_of_a_tweedie_step_along_its_axes() -> None:
    network, x = _network(conditional=True, axes=4), _images()
    _calibrate(network, x)
    plain = _network(conditional=True)
    _calibrate(plain, x)
    _silence(network)
    _silence(plain)
    sigma = torch.linspace(0.1, 3, len(x)).double()
    variances = network.get_buffer("variances")
    films = network._films(sigma)  # type: ignore[operator]
    whole = network._whole(x - x.mean(0), films, sigma)  # type: ignore[operator]
    assert torch.allclose(plain(x, sigma) - network(x, sigma), variances.mean().sqrt() / sigma * whole, rtol=1e-9)
    assert float(whole.detach().std()) > 0
    # it sees the place along the axes, in units of its standard deviation under the noise, and nothing else
    axes = network.get_buffer("axes")
    seen = (x - x.mean(0)).flatten(1) @ axes
    other = x.mean(0) + (seen @ axes.mT).reshape(x.shape)
    assert torch.allclose(network._whole(other - x.mean(0), films, sigma), whole)  # type: ignore[operator]
    wider, level = (seen.square().mean(0) + 0.7**2).sqrt(), x.new_full((len(x),), 0.7)
    assert torch.allclose(wider, (variances[0] + 0.7**2).sqrt())
    first, bias, *_ = network.perceptron  # type: ignore[misc]
    expected = (seen / wider) @ first + bias
    film = network._films(level)[-2]  # type: ignore[operator]
    hidden = nn.functional.silu(expected * (1 + film[0]) + film[1])
    second, offset, last = list(network.perceptron)[2:]  # type: ignore[call-overload]
    film = network._films(level)[-1]  # type: ignore[operator]
    deeper = nn.functional.silu((hidden @ second + offset) * (1 + film[0]) + film[1])
    values = network._whole(x - x.mean(0), network._films(level), level)  # type: ignore[operator]
    assert torch.allclose(values, (deeper @ last).squeeze(-1))


def test_a_static_energy_loses_the_perceptron_of_the_image_without_noise() -> None:
    network, plain, x = _network(axes=4), _network(), _images()
    for energy in (network, plain):
        _calibrate(energy, x)
        _silence(energy)
    centred = x - x.mean(0)
    whole = network._whole(centred, [None, None])  # type: ignore[operator]
    assert torch.allclose(plain(x) - network(x), whole, rtol=1e-9, atol=1e-9)
    place = centred.flatten(1) @ network.get_buffer("axes")
    first, bias, second, offset, last = network.perceptron  # type: ignore[misc]
    hidden = nn.functional.silu(place / place.square().mean(0).sqrt() @ first + bias)
    assert torch.allclose(whole, (nn.functional.silu(hidden @ second + offset) @ last).squeeze(-1))


@pytest.mark.parametrize(
    "params", [{"axes": 4, "readout": "sum"}, {"axes": 481}], ids=["images of any size", "more axes than pixels"]
)
def test_axes_that_no_image_has_are_refused(params: dict[str, str | int]) -> None:
    with pytest.raises(UsageError, match="lower axes"):
        _network(**params)


def test_more_axes_than_the_images_vary_along_are_refused() -> None:
    with pytest.raises(UsageError, match="50 images vary along fewer than 50 axes"):
        _calibrate(_network(axes=50), _images())
    _calibrate(_network(axes=49), _images())


@pytest.mark.parametrize("stages", range(1, 8))
def test_the_last_of_the_stages_sees_a_side_in_so_many_halves(stages: int) -> None:
    network = builders.network(
        "multiscale_convolutional", (1, 28, 28), Rng(0, "init"), width=2, blocks=0, stages=stages
    )
    sides = [readout.shape for readout in network.readouts]  # type: ignore[union-attr]
    halves = [math.ceil(28 / 2**k) for k in range(1, stages + 1)]
    assert sides == [(2 * k, half, half) for k, half in enumerate(halves, 1)]
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3,)


def test_images_that_do_not_vary_are_refused() -> None:
    with pytest.raises(UsageError, match="images that vary"):
        _calibrate(_network(), torch.ones(3, *IMAGE, dtype=torch.float64))


def test_a_summed_read_out_takes_any_size_and_moves_with_the_image() -> None:
    network = _network((1, 16, 16), conditional=True, readout="sum")
    inside = _images((1, 24, 24), 2)
    sigma = inside.new_full((2,), 0.3)
    # a score sees twice the 25 pixels that a feature sees, so this is the interior
    canvas = inside.new_zeros(2, 1, 160, 160)
    scores = []
    for shift in (0, 8):
        placed = canvas.clone()
        where = (..., slice(64 + shift, 88 + shift), slice(64, 88))
        placed[where] = inside
        scores.append(score(lambda x: network(x, sigma), placed)[where])
    assert torch.allclose(*scores, rtol=1e-9, atol=1e-12)
    assert float(scores[0].abs().max()) > 0.1


def test_a_read_out_by_position_knows_where_it_is() -> None:
    network = _network((1, 160, 160))
    spot = torch.zeros(1, 1, 160, 160, dtype=torch.float64)
    spot[..., 72:76, 72:76] = 1
    assert not torch.allclose(network(spot), network(spot.roll(8, -1)), rtol=1e-6)
    same = _network((1, 160, 160), readout="sum")
    assert torch.allclose(same(spot), same(spot.roll(8, -1)), rtol=1e-9)


def test_training_calibrates_before_the_first_step() -> None:
    suite = replace(read_suite("digits")[0], network={"name": "multiscale_convolutional", "width": 4, "blocks": 0})
    spec = plan_runs([suite], Selection(objectives=("denoising_score_matching",), seeds=(0,)), "cpu")[0]
    trainer = Trainer(spec, 0, torch.device("cpu"))
    mean = trainer.energy.get_buffer("mean")
    assert torch.allclose(mean, trainer.data.train.mean(0, keepdim=True), atol=1e-6)
    assert float(mean.abs().max()) > 0.5
