"""Memory of Markov chains: where they start, and a buffer in which they go on from step to step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.core.derivatives import Energy, per_example
from bench.core.rng import Rng


class BoxNoise(nn.Module):
    """Uniform noise on the smallest box that holds the training data; where chains start that do not start at data.

    Args:
        x_train: training data (n, *event), or (S, n, *event); a stack has a box for each seed.
    """

    low: Tensor
    width: Tensor

    def __init__(self, x_train: Tensor, rng: Rng) -> None:
        super().__init__()
        self.axis = rng.batch_ndim - 1
        low = x_train.amin(self.axis, keepdim=True)
        self.register_buffer("low", low)
        self.register_buffer("width", x_train.amax(self.axis, keepdim=True) - low)

    def noise(self, shape: tuple[int, ...], rng: Rng) -> Tensor:
        """Draws of a full shape (*batch, *event)."""
        return self.low + self.width * rng.uniform(shape, self.low.dtype)


class ChainBuffer(BoxNoise):
    """Chains that outlive a step. An update takes some, moves them, and puts them back where they came from.

    Args:
        x_train: training data, for the box in which chains start.
        chains: how many the buffer holds; `self.chains` is (chains, *event), or (S, chains, *event).
        restart: the probability with which a chain that is taken begins anew from noise.
    """

    chains: Tensor

    def __init__(self, x_train: Tensor, rng: Rng, *, chains: int, restart: float) -> None:
        super().__init__(x_train, rng)
        self.restart = restart
        self.register_buffer("chains", self.noise((*rng.batch_shape(chains), *x_train.shape[rng.batch_ndim :]), rng))

    def take(self, x: Tensor, rng: Rng, *, bystanders: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """(slots, starts, others): as many chains as x has examples, some begun anew, and other chains beside them.

        Slots are (*batch,) and go to `put`; starts are shaped as x; others are (*batch but `bystanders`, *event).

        Raises:
            UsageError: if the buffer holds fewer chains than are asked for.
        """
        count, held = x.shape[self.axis], self.chains.shape[self.axis]
        if count + bystanders > held:
            needed = f"the batch size {count}" + (f" plus {bystanders}" if bystanders else "")
            raise UsageError(f"chains must be at least {needed}; got {held}; raise `chains`")
        # distinct slots: of two updates of one chain, one would be lost
        slots = rng.distinct(held, rng.batch_shape(count + bystanders))
        own, other = self._gather(slots).split((count, bystanders), self.axis)
        slots = slots[..., :count]
        begin_anew = per_example(rng.uniform(slots.shape) < self.restart, x)
        return slots, torch.where(begin_anew, self.noise(tuple(x.shape), rng), own), other

    def put(self, slots: Tensor, chains: Tensor) -> None:
        """Writes chains (*batch, *event) back to the slots (*batch,) that they came from."""
        self.chains.scatter_(self.axis, per_example(slots, chains).expand_as(chains), chains)

    def sample(self, energy: Energy, x_like: Tensor, rng: Rng) -> Tensor:
        """The chains where training left them, (*batch, *event), shaped as x_like.

        All are different while the buffer holds as many as are asked for.
        """
        n, held = x_like.shape[self.axis], self.chains.shape[self.axis]
        slots = [rng.distinct(held, rng.batch_shape(min(held, n - k))) for k in range(0, n, held)]
        return self._gather(torch.cat(slots, self.axis))

    def _gather(self, slots: Tensor) -> Tensor:
        index = per_example(slots, self.chains).expand(*slots.shape, *self.chains.shape[slots.ndim :])
        return self.chains.gather(self.axis, index)
