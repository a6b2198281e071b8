"""Randomness: the only source of it, for one seed or for a stack of seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STREAMS = ("data", "init", "objective", "eval")


def _stream_seed(seed: int, stream: str) -> int:
    """A 63-bit generator seed; hashing keeps neighbouring seeds and streams unrelated."""
    return int.from_bytes(hashlib.sha256(f"{stream}/{seed}".encode()).digest()[:8], "big") >> 1


class Rng:
    """Random numbers for one seed, batch shape (B,), or for S seeds at once, batch shape (S, B).

    Each seed owns a generator, and a stack draws every seed's slice from that seed's own generator:
    seed 3 gives the same numbers alone or in a stack. All shapes below are full shapes, so for a stack
    their first entry is S.

    Args:
        seed: one seed, or the seeds of a stack.
        stream: what the numbers are for. A run uses four streams ("data", "init", "objective", "eval"), so
            that every objective at a seed sees the same batches and the same initial weights.
        device: where the generators live and the numbers are born.

    Raises:
        ValueError: if the stack is empty, or a drawn shape does not begin with S.
    """

    def __init__(
        self, seed: int | Sequence[int], stream: str = "objective", device: str | torch.device = "cpu"
    ) -> None:
        stacked = not isinstance(seed, int)
        self.seeds: tuple[int, ...] = tuple(seed) if not isinstance(seed, int) else (seed,)
        if not self.seeds:
            raise ValueError("a stack needs at least one seed; got an empty sequence")
        self.batch_ndim = 2 if stacked else 1
        self.device = torch.device(device)
        self.name = stream
        self._generators = [torch.Generator(self.device).manual_seed(_stream_seed(s, stream)) for s in self.seeds]

    def stream(self, name: str) -> Rng:
        """A fresh stream of the same seeds on the same device."""
        return Rng(self.seeds if self.batch_ndim == 2 else self.seeds[0], name, self.device)

    def batch_shape(self, n: int) -> tuple[int, ...]:
        """(n,) for one seed, (S, n) for a stack."""
        return (n,) if self.batch_ndim == 1 else (len(self.seeds), n)

    def _draw(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: Sequence[int]) -> Tensor:
        if self.batch_ndim == 1:
            return draw(tuple(shape), self._generators[0])
        if shape[0] != len(self.seeds):
            raise ValueError(f"a stack of {len(self.seeds)} seeds draws shapes ({len(self.seeds)}, ...); got {shape}")
        return torch.stack([draw(tuple(shape[1:]), generator) for generator in self._generators])

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal numbers."""
        return self._draw(lambda s, g: torch.randn(s, generator=g, dtype=dtype, device=self.device), shape)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform numbers on [0, 1)."""
        return self._draw(lambda s, g: torch.rand(s, generator=g, dtype=dtype, device=self.device), shape)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal numbers of x's shape and dtype."""
        return self.normal(x.shape, x.dtype)

    def uniform_like(self, x: Tensor) -> Tensor:
        """Uniform numbers on [0, 1) of x's shape and dtype."""
        return self.uniform(x.shape, x.dtype)

    def rademacher_like(self, x: Tensor) -> Tensor:
        """Signs, -1 or +1 with equal odds, of x's shape and dtype."""
        return 2 * self.integers(2, x.shape).to(x.dtype) - 1

    def integers(self, high: int, shape: Sequence[int]) -> Tensor:
        """Integers 0 <= i < high, with replacement (int64)."""
        return self._draw(lambda s, g: torch.randint(high, s, generator=g, device=self.device), shape)

    def distinct(self, high: int, shape: Sequence[int]) -> Tensor:
        """Integers 0 <= i < high whose last axis holds no repeats (int64).

        Raises:
            ValueError: if more distinct integers are asked for than there are.
        """
        if shape[-1] > high:
            raise ValueError(f"cannot draw {shape[-1]} distinct integers below {high}")

        def draw(s: tuple[int, ...], g: torch.Generator) -> Tensor:
            if len(s) == 1:
                return torch.randperm(high, generator=g, device=self.device)[: s[0]]
            return torch.stack([draw(s[1:], g) for _ in range(s[0])])

        return self._draw(draw, shape)

    def choice(self, weights: Tensor, shape: Sequence[int]) -> Tensor:
        """Indices drawn with replacement, index i with probability weights[i] / sum(weights) (int64)."""

        def draw(s: tuple[int, ...], g: torch.Generator) -> Tensor:
            count = int(torch.Size(s).numel())
            return torch.multinomial(weights.to(self.device), count, replacement=True, generator=g).reshape(s)

        return self._draw(draw, shape)

    def state_dict(self) -> dict[str, Tensor]:
        """The generators' states, one entry a seed."""
        return {str(s): g.get_state() for s, g in zip(self.seeds, self._generators, strict=True)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on exactly where `state_dict` was taken.

        Raises:
            KeyError: if the state lacks one of this object's seeds.
        """
        for seed, generator in zip(self.seeds, self._generators, strict=True):
            generator.set_state(state[str(seed)])
