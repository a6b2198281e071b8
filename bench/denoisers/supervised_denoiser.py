"""A network that is trained to denoise, and that is no energy."""

import math
from itertools import pairwise
from typing import Annotated

from torch import Tensor, cat, nn

from bench.api import Integer, Rng, denoiser, per_example

STAGES = 3
SCALE = 0.5  # the standard deviation of photographs in [-1, 1], roughly


@denoiser(source="Zhang et al. 2018, FFDNet; Ronneberger et al. 2015, U-Net: convolutional networks")
class SupervisedDenoiser(nn.Module):
    """An estimate of z in y = x + σz, trained by ½‖· - z‖²: then E[x|y] is y less σ times it.

    It is (σu - σ_d F(u, ln σ)) / √v with u = y / √v, v = σ² + σ_d²: the network F regresses a target of about unit size
    at every σ, as ∇G does in the energy (Karras et al. 2022), if σ_d is about the data's standard deviation, here .5.
    The encoder is the trunk of `multiscale_convolutional`: features at strides 2, 4 and 8 of `width`, 2 `width` and 3
    `width` channels, `blocks` residual 3x3 convolutions each. A decoder of the same stages leads back to the pixels,
    each stage adding the encoder's features. ln σ is a further channel of the input. F need not be a gradient, so it
    has no energy: what an energy of the same trunk loses against it is the price of being one.

    Args:
        event_shape: (C, H, W); images of any size are taken, and extended to multiples of 8 by reflection.
        rng: the stream of the initial weights.
        width: channels at stride 2.
        blocks: residual convolutions a stage.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        *,
        width: Annotated[int, Integer(1, 1024)] = 32,
        blocks: Annotated[int, Integer(0, 16)] = 1,
    ) -> None:
        super().__init__()
        channels = event_shape[0]
        widths = [channels + 1, *(width * (k + 1) for k in range(STAGES))]
        self.down, self.up, self.coded, self.decoded = (nn.ModuleList() for _ in range(4))
        for inside, outside in pairwise(widths):
            self.down.append(nn.Conv2d(inside, outside, 4, stride=2, padding=1))
            self.up.append(nn.ConvTranspose2d(outside, inside if inside > channels + 1 else channels, 4, 2, 1))
            self.coded.append(_Residual(outside, blocks))
            self.decoded.append(_Residual(outside, blocks))
        for parameter in self.parameters():
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else parameter.numel()
            parameter.data = math.sqrt(3 / fan_in) * (2 * rng.uniform(parameter.shape) - 1) * (parameter.ndim > 1)

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        sigma = per_example(sigma.to(y.dtype), y)
        root = (sigma.square() + SCALE**2).sqrt()
        u = y / root
        free = self._free(_extended(u), sigma.log())[..., : y.shape[-2], : y.shape[-1]]
        return (sigma * u - SCALE * free) / root

    def _free(self, u: Tensor, level: Tensor) -> Tensor:
        h, kept = cat([u, level.expand_as(u[:, :1])], 1), []
        for down, coded in zip(self.down, self.coded, strict=True):
            h = coded(down(h))
            kept.append(h)
        for k in reversed(range(STAGES)):
            h = self.up[k](self.decoded[k](h))
            h = h + kept[k - 1] if k > 0 else h
        return h


def _extended(x: Tensor) -> Tensor:
    """Images whose sides are multiples of 8, as three halvings need, by reflection."""
    right, below = (-n % 2**STAGES for n in (x.shape[-1], x.shape[-2]))
    return nn.functional.pad(x, (0, right, 0, below), mode="reflect")


class _Residual(nn.Module):
    """h <- h + W * SiLU(h), `blocks` times."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks))

    def forward(self, h: Tensor) -> Tensor:
        for convolution in self.convolutions:
            h = h + convolution(nn.functional.silu(h))
        return h
