"""A preconditioned convolutional energy that reads images at several scales."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from bench.api import Choice, Integer, Rng, UsageError, network, per_example

FREQUENCIES = 8  # of ln σ, geometric from 1/4 to 4


@network(event="image")
class MultiscaleConvolutional(nn.Module):
    r"""E(x, σ) = ‖x - μ‖²/2v + (d/2) ln 2πv - (σ_d/σ) G((x - μ)/√v, σ), v = σ² + σ_d², for images of d pixels.

    At G = 0 this is the energy of Gaussian data N(μ, σ_d²I) under noise σ. With it one Tweedie step is μ +
    c_skip (x - μ) + c_out ∇G with the factors of Karras et al. 2022, so that ∇G regresses a target of unit variance at
    every σ. Static: E(x) = ½(‖u‖² - d) - G(u), u = (x - μ)/σ_d, which at G = 0 is about 0 at the data. G grows at most
    linearly, so exp(-E) is integrable.

    G = Σ_k ⟨w_k, SiLU(f(h_k))⟩ over features h_k at stride 2^k of k `width` channels, k = 1 … `stages`. A stage halves
    the size by a 4x4 convolution (an odd side is first extended by a zero) and adds `blocks` residual convolutions
    h + W * SiLU(f(h)), 3x3. f is FiLM (Perez et al. 2018): a scale and a shift a channel, from a hidden layer over
    sines and cosines of ln σ. Read-out weights w_k either depend on the position, or on the channel alone ("sum"): then
    the energy is fully convolutional, and takes images of any size whatever it was built for.

    Weights are (*stack, out, in, k, k); a stack runs as grouped convolutions. Input is (*batch, C, H, W), output
    (*batch,). μ and σ_d are 0 and 1 until `calibrate`.

    Args:
        event_shape: (C, H, W).
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ.
        width: channels at stride 2.
        stages: scales. The fourth has two features a side of 28 pixels, and adds a sixth to a training step.
        blocks: residual convolutions a stage; 4, with a width of 128, suits a GPU.
        readout: "position" for images of one fixed size and alignment, "sum" for patches and photographs.
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: bool = False,
        *,
        width: Annotated[int, Integer(1, 1024)] = 32,
        stages: Annotated[int, Integer(1, 8)] = 3,
        blocks: Annotated[int, Integer(0, 16)] = 2,
        readout: Annotated[str, Choice("position", "sum")] = "position",
    ) -> None:
        super().__init__()
        channels, *size = event_shape
        self.batch_ndim, self.blocks = rng.batch_ndim, blocks
        self.stack = rng.batch_shape(0)[:-1]
        by_position = readout == "position"
        one = rng.batch_shape(1)
        self.register_buffer("mean", torch.zeros(*one, channels, *(size if by_position else (1, 1))))
        self.register_buffer("scale", torch.ones(one))
        self.register_buffer("frequencies", 2 ** torch.linspace(-2, 2, FREQUENCIES))
        self.filters, self.biases, self.readouts = (nn.ParameterList() for _ in range(3))
        widths = [width * k for k in range(1, stages + 1)]
        for inside, outside in zip([channels, *widths], widths, strict=False):
            size = [math.ceil(n / 2) for n in size]
            for fan_in, kernel in ((inside, 4), *[(outside, 3)] * blocks):
                bound = math.sqrt(3 / (fan_in * kernel**2))
                self.filters.append(self._uniform(rng, bound, outside, fan_in, kernel, kernel))
                self.biases.append(self._uniform(rng, bound, outside))
            positions = size if by_position else [1, 1]
            self.readouts.append(self._uniform(rng, 1 / math.sqrt(sum(widths)), outside, *positions))
        self.film_widths = [2 * channels for channels in widths for _ in range(blocks + 1)]
        # drawn last, so that the trunk's draws do not depend on it
        self.film = nn.ParameterList()
        sizes = (2 * FREQUENCIES, 2 * width, sum(self.film_widths))
        for fan_in, out in pairwise(sizes) if conditional else ():
            self.film.append(self._uniform(rng, 1 / math.sqrt(fan_in), fan_in, out))
            self.film.append(self._uniform(rng, 1 / math.sqrt(fan_in), 1, out))

    def _uniform(self, rng: Rng, bound: float, *shape: int) -> nn.Parameter:
        return nn.Parameter(bound * (2 * rng.uniform((*self.stack, *shape)) - 1))

    @torch.no_grad()
    def calibrate(self, x_train: Tensor) -> None:
        """Sets μ to the mean of training images (n, C, H, W), or (S, n, C, H, W), and σ_d to the standard deviation.

        μ is the mean of each pixel, or of each channel with the read-out "sum"; σ_d is over all pixels of x - μ.

        Raises:
            UsageError: if the images do not vary.
        """
        axis = self.batch_ndim - 1
        over = [axis, -1, -2] if self.mean.shape[-1] == 1 else [axis]
        self.mean.copy_(x_train.mean(over, keepdim=True))
        self.scale.copy_((x_train - self.mean).square().mean([axis, -1, -2, -3]).sqrt().reshape(self.scale.shape))
        if not bool((self.scale > 0).all()):
            raise UsageError("an energy of images is calibrated on images that vary; these are all the same")

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        variance = self.scale.square()
        if condition:
            variance = variance + condition[0].to(x.dtype).square()
        u = (x - self.mean) * per_example(variance.rsqrt(), x)
        dim = math.prod(x.shape[self.batch_ndim :])
        square = u.square().flatten(self.batch_ndim).sum(-1)
        if not condition:
            return 0.5 * (square - dim) - self._free(u)
        gaussian = 0.5 * (square + dim * (2 * math.pi * variance).log())
        return gaussian - self.scale / condition[0].to(x.dtype) * self._free(u, *condition)

    def _free(self, u: Tensor, *condition: Tensor) -> Tensor:
        """G, (*batch,); inside, a stack is folded into channels, (B, S · channels, H, W)."""
        films = iter(self._films(condition[0]) if condition else [None] * len(self.film_widths))
        kernels = iter(zip(self.filters, self.biases, strict=True))
        h = u.transpose(0, 1).flatten(1, 2) if self.stack else u
        free = h.new_zeros(())
        for readout in self.readouts:
            h = self._convolve(nn.functional.pad(h, (0, h.shape[-1] % 2, 0, h.shape[-2] % 2)), *next(kernels), 2)
            for _ in range(self.blocks):
                h = h + self._convolve(_activate(h, next(films)), *next(kernels), 1)
            h = _activate(h, next(films))
            summands = h.unflatten(1, (*self.stack, -1)) * readout
            free = free + summands.flatten(self.batch_ndim).sum(-1)
        return free.transpose(0, 1) if self.stack else free

    def _convolve(self, h: Tensor, filters: Tensor, bias: Tensor, stride: int) -> Tensor:
        kernel, offset = (filters.flatten(0, 1), bias.flatten()) if self.stack else (filters, bias)
        groups = self.stack[0] if self.stack else 1
        return nn.functional.conv2d(h, kernel, offset, stride=stride, padding=1, groups=groups)

    def _films(self, sigma: Tensor) -> list[tuple[Tensor, Tensor]]:
        """A scale and a shift (B, S · channels, 1, 1) for each activation."""
        phase = sigma.log().to(self.frequencies.dtype).unsqueeze(-1) * self.frequencies
        first, offset, second, bias = self.film
        hidden = nn.functional.silu(torch.cat([phase.sin(), phase.cos()], -1) @ first + offset)
        films = []
        for film in (hidden @ second + bias).split(self.film_widths, -1):
            halves = (film.transpose(0, 1) if self.stack else film).chunk(2, -1)
            scale, shift = (half.flatten(1)[..., None, None] for half in halves)
            films.append((scale, shift))
        return films


def _activate(h: Tensor, film: tuple[Tensor, Tensor] | None) -> Tensor:
    return nn.functional.silu(h if film is None else torch.addcmul(h + film[1], h, film[0]))
