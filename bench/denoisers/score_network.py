"""A score network: a vector field on the trunk of the suite's energies that is no energy."""

import math
from itertools import pairwise
from typing import Annotated, Any, cast

import torch
from torch import Tensor, nn

from bench.api import Choice, Log, Rng, UsageError, denoiser, per_example


@denoiser(
    trunk=True,
    source="Song & Ermon 2019, Generative modeling by estimating gradients of the data distribution; "
    "Ronneberger et al. 2015, U-Net: convolutional networks for biomedical image segmentation",
)
class ScoreNetwork(nn.Module):
    r"""-σ s(y, σ), an estimate of z in y = x + σz, by ½‖σ s(y, σ) + z‖²: denoising score matching at many levels.

    s = -(y - μ)/v + (σ_d / σ√v) F(u, σ), u = (y - μ)/√v, v = σ² + σ_d²: the score of the noise-conditional energy of
    the same trunk, with a free vector field F in place of ∇G. So at F = 0 both are the score of Gaussian data, and both
    regress a target of unit variance (Karras et al. 2022).

    F decodes the features h_k that the energy's read-outs see, from the coarsest to the finest: to what came from
    below h_k is added, then as many residual 3x3 convolutions g + W * SiLU(g) as the trunk has a stage, then a
    transposed 4x4 convolution of stride 2. That is about the work of the backward pass that gives an energy's score, so
    at equal FLOPs both take about as many steps. F is not the gradient of anything: no density, no Metropolis test, no
    likelihood. What an energy loses against it is the price of being one.

    Args:
        event_shape: (C, H, W).
        rng: the stream of the decoder's initial weights.
        trunk: the suite's network, told σ; it has `mean`, `scale`, `blocks` and `features(x, sigma)`.
        sigma_min, sigma_max: the range of levels, in units of x.
        sigma_law: the law of ln σ: uniform, or "log-normal", N(ln `median`, `spread`²) clipped to the range.
        median: in units of x.
        spread: in nats.
        times: how many times the suite's steps or FLOPs it is trained for. With 1 it shows the price of being an
            energy; trained until it hardly improves, it is the ruler above all that learn from the same images.

    Raises:
        UsageError: if the network offers no features.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        trunk: nn.Module,
        *,
        sigma_min: Annotated[float, Log(1e-3, 100.0)] = 0.07,
        sigma_max: Annotated[float, Log(0.01, 100.0)] = 0.5,
        sigma_law: Annotated[str, Choice("log-uniform", "log-normal")] = "log-uniform",
        median: Annotated[float, Log(1e-3, 100.0)] = 0.4,
        spread: Annotated[float, Log(0.1, 10.0)] = 1.3,
        times: Annotated[float, Log(0.01, 1000.0)] = 1.0,
    ) -> None:
        super().__init__()
        offered = getattr(trunk, "without_readouts", None)
        if offered is None:
            raise UsageError(f"a score network needs a network that offers features; {type(trunk).__name__} does not")
        self.trunk: Any = offered()
        with torch.no_grad():
            features = self.trunk.features(torch.zeros(1, *event_shape), torch.ones(1))
        widths = [event_shape[0], *(h.shape[1] for h in features)]
        self.up, self.residual = nn.ModuleList(), nn.ModuleList()
        for outside, inside in pairwise(widths):
            self.up.append(nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1))
            stage = (nn.Conv2d(inside, inside, 3, padding=1) for _ in range(self.trunk.blocks))
            self.residual.append(nn.ModuleList(stage))
        for module in [m for part in (self.up, self.residual) for m in part.modules()]:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # a pixel sees a quarter of the taps of a transposed convolution of stride 2
                taps = 4 if isinstance(module, nn.ConvTranspose2d) else 9
                bound = math.sqrt(3 / (taps * module.in_channels))
                module.weight.data = bound * (2 * rng.uniform(module.weight.shape) - 1)
                assert module.bias is not None
                module.bias.data.zero_()

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        level, scale = per_example(sigma.to(y.dtype), y), self.trunk.scale.reshape(())
        root = (level.square() + scale.square()).sqrt()
        estimate: Tensor = (level * (y - self.trunk.mean) / root - scale * self._field(y, sigma)) / root
        return estimate

    def _field(self, y: Tensor, sigma: Tensor) -> Tensor:
        features: list[Tensor] = self.trunk.features(y, sigma)
        sizes = [y.shape[-2:], *(h.shape[-2:] for h in features)]
        g = torch.zeros_like(features[-1])
        for h, stage, up, (height, width) in reversed(list(zip(features, self.residual, self.up, sizes, strict=False))):
            g = g + h
            for convolution in cast(nn.ModuleList, stage):
                g = g + convolution(nn.functional.silu(g))
            g = up(g)[..., :height, :width]  # the trunk extends an odd side by one
        return g
