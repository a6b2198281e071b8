"""Which line of a plug-in's file is to blame: for an error, and for numbers that are drawn behind rng's back."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.overrides import TorchFunctionMode

_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson", "dropout"}
_DRAWS |= {f"{name}_like" for name in ("rand", "randn", "randint")}
_DRAWS |= {f"{name}_" for name in ("normal", "uniform", "bernoulli", "exponential", "random", "log_normal", "cauchy")}


def line_of_error(error: BaseException, path: Path) -> str:
    """The innermost line of the file on an error's way, "file.py:12: its text"; "" if it has none there."""
    return _innermost(traceback.extract_tb(error.__traceback__), path)


def global_draws(step: Callable[[], object], path: Path) -> list[str]:
    """The lines of the file from which a step draws from torch's global state; none if there are none."""
    found: list[str] = []
    with _Draws(found, path):
        step()
    return list(dict.fromkeys(found))


class _Draws(TorchFunctionMode):
    """Sees what draws without a generator of its own."""

    def __init__(self, found: list[str], path: Path) -> None:
        super().__init__()
        self.found, self.path = found, path

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        drawn = getattr(func, "__name__", "") in _DRAWS and kwargs.get("generator") is None
        if drawn and (line := _innermost(traceback.extract_stack(), self.path)):
            self.found.append(line)
        return func(*args, **kwargs)


def _innermost(frames: Iterable[traceback.FrameSummary], path: Path) -> str:
    own = [frame for frame in frames if frame.filename == str(path)]
    return f"{path.name}:{own[-1].lineno}: {own[-1].line}" if own else ""
