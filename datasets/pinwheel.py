"""Five twisted arms."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Integer, Linear, Mixture, Rng, dataset, exact_data

ALONG, ACROSS, SCALE = 0.3, 0.1, 1.5


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """R(angle) x, anticlockwise."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([cosine * x[..., 0] - sine * x[..., 1], sine * x[..., 0] + cosine * x[..., 1]], -1)


@dataset(source="Johnson et al., Composing graphical models with neural networks, 2016 (another twist)", version=1)
def pinwheel(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    arms: Annotated[int, Integer(2, 8)] = 5,
    twist: Annotated[float, Linear(0.0, 0.5)] = 0.25,
) -> Data:
    """p(x) = 1/M Σₘ N(f; (1, 0), diag(.3², .1²)) / 1.5², f = R(-2πm/M - γ(‖x‖/1.5)) x / 1.5, γ(r) = `twist` · eʳ.

    A twist by an angle that depends on the radius alone keeps radii and areas, so that its Jacobian is 1 and it is
    undone in closed form; the usual twist by the coordinate along the arm has neither property.
    """
    headings = 2 * math.pi * torch.arange(arms, dtype=torch.float64) / arms

    def log_parts(x: Tensor) -> Tensor:
        y = x[:, None] / SCALE
        along, across = rotate(y, -headings.to(x) - twist * y.norm(dim=-1).exp()).unbind(-1)
        exponent = ((along - 1) / ALONG).square() / 2 + (across / ACROSS).square() / 2
        return -exponent - math.log(2 * math.pi * ALONG * ACROSS * SCALE**2)

    def draw(part: Tensor, rng: Rng) -> Tensor:
        z = rng.normal((*part.shape, 2))
        f = torch.stack([1 + ALONG * z[..., 0], ACROSS * z[..., 1]], -1)
        return SCALE * rotate(f, headings.to(f)[part] + twist * f.norm(dim=-1).exp())

    # at the middle of an arm the twist is the shear [[1, 0], [s, 1]] of diag(.3², .1²); its smaller eigenvalue:
    shear = twist * math.e
    half_trace = (ALONG**2 * (1 + shear**2) + ACROSS**2) / 2
    narrowest = half_trace - math.sqrt(half_trace**2 - (ALONG * ACROSS) ** 2)
    middles = SCALE * rotate(torch.tensor([1.0, 0.0], dtype=torch.float64), headings + shear)
    return exact_data(
        "pinwheel",
        rng,
        (n_train, n_valid, n_test),
        Mixture(log_parts, draw, middles, finest=SCALE * ACROSS / 2),
        grid=Grid((-4.0, -4.0), (4.0, 4.0)),
        local_scale=SCALE * math.sqrt(narrowest),
    )
