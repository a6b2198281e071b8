"""In what arithmetic training's network passes are made: float32, or less as a stated option of a suite or a run.

The factors of a matrix product or a convolution keep 24 binary digits in float32, 11 in TF32 and 8 in bfloat16; their
sums are of float32 in all three. Weights, chains, losses and the optimiser are float32 always, and so is evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.run_spec import PRECISIONS
from bench.core.derivatives import Energy

_NOTHING = nullcontext()


def check_precision(precision: object, device: str = "") -> None:
    """Holds a precision to what a device can do; "" for any.

    Raises:
        UsageError: if there is no such precision, or the device does not have it.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if precision == "tf32" and device == "cpu":
        raise UsageError("precision tf32 is of CUDA devices; the device is cpu; take float32 or bfloat16")


def autocast_energy(energy: Energy, precision: str) -> Energy:
    """The energy whose passes, forward and backward, are in bfloat16 if that is the precision; else itself.

    Each pass is cast by itself, so that the values and input gradients that come out are float32, and so is all that
    an objective does between passes. Weights are not cast once for several passes: a copy made where no graph is
    kept, as in a chain, would cut the graph of the next pass.
    """
    if precision != "bfloat16":
        return energy

    def cast(x: Tensor, *condition: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return energy(x, *condition).to(x.dtype)

    return cast


def matmul_precision(precision: str) -> AbstractContextManager[None]:
    """A context in which a GPU multiplies float32 matrices in TF32 if that is the precision, and not after it."""
    return _tf32() if precision == "tf32" else _NOTHING


@contextmanager
def _tf32() -> Iterator[None]:
    _set("tf32")
    try:
        yield
    finally:
        _set("ieee")


def full_on_gpu() -> None:
    """Makes a GPU multiply in full float32; without it convolutions are made in TF32 unasked."""
    _set("ieee")


def _set(mode: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = mode
    cudnn: Any = torch.backends.cudnn  # whose stubs do not know its parts
    # of recurrent networks too: torch refuses to say what it does where the two differ
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = mode
