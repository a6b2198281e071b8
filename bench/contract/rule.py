"""What the rules of the contract are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from bench.plugins.registry import Plugin

T = TypeVar("T")
Rule = Callable[[Plugin, str], str]
"""(plug-in, its reference) -> what was seen; raises if the rule is broken."""


class Broken(AssertionError):
    """A rule of the contract does not hold; the message says how, and what to do.

    Attributes:
        line: of the plug-in's file, where one is to blame.
    """

    def __init__(self, message: str, line: str = "") -> None:
        super().__init__(message)
        self.line = line


def require(holds: bool, otherwise: str) -> None:
    """Goes on if it holds.

    Raises:
        Broken: if it does not.
    """
    if not holds:
        raise Broken(otherwise)


def agree(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether |a - b| is at most `tolerance` of the largest entry (or of 1)."""
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())))


def other_global_seed(seed: int, build: Callable[[], T]) -> T:
    """build() under a global seed of torch, which a plug-in must not depend on."""
    torch.manual_seed(seed)
    return build()
