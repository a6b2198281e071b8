"""A preconditioned convolutional energy that reads images at several scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from bench.api import Choice, Integer, Rng, UsageError, network, per_example

FREQUENCIES = 8  # of ln σ, geometric from 1/4 to 4
Film = tuple[Tensor, Tensor]
"""A scale and a shift."""


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

    With `axes` = k > 0 a perceptron M sees the image whole: E loses (λ̄^½/σ) M(a, σ), a_i = ⟨e_i, x - μ⟩ / √(λ_i + σ²),
    static M(a) at σ = 0. e_1, …, e_k are the first principal axes of the training images, λ_i the variances along them
    and λ̄ their mean. M has two hidden layers of SiLU with FiLM. Noise as large as the data leaves of an image its place
    along these axes, of which features at strides see only parts. 64 axes add 1.5 % to a training step.

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
        axes: principal axes that M sees; 0 for no M. They are of images of one size: not with the read-out "sum".
        hidden: units in each hidden layer of M.

    Raises:
        UsageError: if there are axes and the read-out is "sum", or more axes than pixels.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor
    variances: Tensor
    spread: Tensor
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
        axes: Annotated[int, Integer(0, 4096)] = 0,
        hidden: Annotated[int, Integer(1, 4096)] = 256,
    ) -> None:
        super().__init__()
        channels, *size = event_shape
        dim = math.prod(event_shape)
        if axes > dim or (axes and readout == "sum"):
            raise UsageError(
                f"an energy sees at most as many principal axes as its images have pixels, {dim}, and none with the "
                f"read-out 'sum', which takes images of any size; got axes={axes}, readout={readout}; lower axes"
            )
        self.batch_ndim, self.blocks, self.stages = rng.batch_ndim, blocks, stages
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
        self.register_buffer("axes", torch.zeros(*self.stack, dim, axes))
        self.register_buffer("variances", torch.ones(*one, axes))
        self.register_buffer("spread", torch.ones(one))
        self.perceptron = nn.ParameterList()
        for fan_in, out in ((axes, hidden), (hidden, hidden)) if axes else ():
            self.perceptron.append(self._uniform(rng, math.sqrt(3 / fan_in), fan_in, out))
            self.perceptron.append(self._uniform(rng, math.sqrt(3 / fan_in), 1, out))
            self.film_widths.append(2 * out)
        if axes:
            self.perceptron.append(self._uniform(rng, 1 / math.sqrt(hidden), hidden, 1))
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

        μ is the mean of each pixel, or of each channel with the read-out "sum"; σ_d is over all pixels of x - μ. The
        principal axes are those of x - μ.

        Raises:
            UsageError: if the images do not vary, or not along as many axes as are wanted.
        """
        axis = self.batch_ndim - 1
        over = [axis, -1, -2] if self.mean.shape[-1] == 1 else [axis]
        self.mean.copy_(x_train.mean(over, keepdim=True))
        self.scale.copy_((x_train - self.mean).square().mean([axis, -1, -2, -3]).sqrt().reshape(self.scale.shape))
        if not bool((self.scale > 0).all()):
            raise UsageError("an energy of images is calibrated on images that vary; these are all the same")
        if count := self.axes.shape[-1]:
            self._find_axes((x_train - self.mean).flatten(self.batch_ndim).double(), count)

    def _find_axes(self, centred: Tensor, count: int) -> None:
        """The first principal axes of (*stack, n, d) and the variances along them."""
        n, dim = centred.shape[-2:]
        covariance = centred.mT @ centred / n
        ascending, vectors = torch.linalg.eigh(covariance)
        variances = ascending.flip(-1)[..., :count]
        if not bool((variances > dim * torch.finfo(torch.float32).eps * variances[..., :1]).all()):
            raise UsageError(f"{n} images vary along fewer than {count} axes; lower axes of the network")
        self.axes.copy_(vectors.flip(-1)[..., :count])
        self.variances.copy_(variances.unsqueeze(-2))
        self.spread.copy_(self.variances.mean(-1).sqrt())

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        variance = self.scale.square()
        if condition:
            variance = variance + condition[0].to(x.dtype).square()
        centred = x - self.mean
        u = centred * per_example(variance.rsqrt(), x)
        dim = math.prod(x.shape[self.batch_ndim :])
        square = u.square().flatten(self.batch_ndim).sum(-1)
        films = self._films(condition[0]) if condition else [None] * len(self.film_widths)
        free, whole = self._free(u, films), self._whole(centred, films, *condition)
        if not condition:
            return 0.5 * (square - dim) - free - whole
        gaussian = 0.5 * (square + dim * (2 * math.pi * variance).log())
        return gaussian - (self.scale * free + self.spread * whole) / condition[0].to(x.dtype)

    def _whole(self, centred: Tensor, films: Sequence[Film | None], *condition: Tensor) -> Tensor:
        """M, (*batch,), of images less their mean."""
        if not self.perceptron:
            return centred.new_zeros(())
        sigma = condition[0].to(centred.dtype).unsqueeze(-1) if condition else centred.new_zeros(())
        h = centred.flatten(self.batch_ndim) @ self.axes * (self.variances + sigma.square()).rsqrt()
        *hidden, readout = self.perceptron
        for film, weight, bias in zip(films[-2:], hidden[::2], hidden[1::2], strict=True):
            h = _activate(h @ weight + bias, film)
        values: Tensor = (h @ readout).squeeze(-1)
        return values

    def without_readouts(self) -> MultiscaleConvolutional:
        """Itself without what only an energy has of weights: then it has features, and no energy any more.

        Raises:
            UsageError: if it has principal axes, which have no features at strides.
        """
        if self.perceptron:
            raise UsageError("a trunk has features at strides alone; set axes = 0 of the network")
        self.readouts = nn.ParameterList()
        return self

    def features(self, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """SiLU(f(h_k)) at strides 2, 4, …, each (B, k `width`, H_k, W_k): what the read-outs see of noisy images.

        A network that is no energy builds on them. They are of one seed, and M has no part in them.

        Args:
            x: images (B, C, H, W).
            sigma: their noise levels, (B,).
        """
        root = (self.scale.square() + sigma.to(x.dtype).square()).rsqrt()
        return list(self._features((x - self.mean) * per_example(root, x), self._films(sigma)))

    def _features(self, u: Tensor, films: Sequence[Film | None]) -> Iterator[Tensor]:
        """The features of each stage; inside, a stack is folded into channels, (B, S · channels, H, W)."""
        folded = (film and (self._fold(film[0]), self._fold(film[1])) for film in films)
        kernels = iter(zip(self.filters, self.biases, strict=True))
        h = u.transpose(0, 1).flatten(1, 2) if self.stack else u
        for _ in range(self.stages):
            h = self._convolve(nn.functional.pad(h, (0, h.shape[-1] % 2, 0, h.shape[-2] % 2)), *next(kernels), 2)
            for _ in range(self.blocks):
                h = h + self._convolve(_activate(h, next(folded)), *next(kernels), 1)
            h = _activate(h, next(folded))
            yield h

    def _free(self, u: Tensor, films: Sequence[Film | None]) -> Tensor:
        """G, (*batch,)."""
        free = u.new_zeros(())
        for h, readout in zip(self._features(u, films), self.readouts, strict=True):
            summands = h.unflatten(1, (*self.stack, -1)) * readout
            free = free + summands.flatten(self.batch_ndim).sum(-1)
        return free.transpose(0, 1) if self.stack else free

    def _convolve(self, h: Tensor, filters: Tensor, bias: Tensor, stride: int) -> Tensor:
        kernel, offset = (filters.flatten(0, 1), bias.flatten()) if self.stack else (filters, bias)
        groups = self.stack[0] if self.stack else 1
        return nn.functional.conv2d(h, kernel, offset, stride=stride, padding=1, groups=groups)

    def _fold(self, film: Tensor) -> Tensor:
        """(*batch, channels) as (B, S · channels, 1, 1)."""
        return (film.transpose(0, 1) if self.stack else film).flatten(1)[..., None, None]

    def _films(self, sigma: Tensor) -> list[Film]:
        """A scale and a shift (*batch, channels) for each activation, those of M last."""
        phase = sigma.log().to(self.frequencies.dtype).unsqueeze(-1) * self.frequencies
        first, offset, second, bias = self.film
        hidden = nn.functional.silu(torch.cat([phase.sin(), phase.cos()], -1) @ first + offset)
        chunks = (hidden @ second + bias).split(self.film_widths, -1)
        return [(scale, shift) for scale, shift in (film.chunk(2, -1) for film in chunks)]


def _activate(h: Tensor, film: Film | None) -> Tensor:
    return nn.functional.silu(h if film is None else torch.addcmul(h + film[1], h, film[0]))
