"""What in a step would make a GPU wait for its host, or the host for its GPU, seen on a CPU.

Looking into a tensor waits for all that is queued before it: for a branch, for a shape, for a number in Python. So does
sending one: torch copies what is made on the host when it is asked to, not in turn. Factorisations wait, too, and are
left out, as torch has none that do not.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# of ATen: the result, or its shape, is the host's to know
_LOOKS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "nonzero_numpy", "argwhere", "masked_select"}
_LOOKS |= {"unique_dim", "_unique", "_unique2", "unique_consecutive", "bincount"}
_INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_FETCHES = {"cpu", "tolist", "numpy", "__array__"}
_SENDS = {"tensor", "as_tensor", "new_tensor", "from_numpy"}
_MAKES = {
    "arange",
    "empty",
    "eye",
    "full",
    "linspace",
    "logspace",
    "ones",
    "zeros",
    "rand",
    "randn",
    "randint",
    "randperm",
}


def host_syncs(step: Callable[[], object]) -> list[str]:
    """Each thing in a step that waits, with its place in the code: "tolist (file.py:12)"; none if nothing does."""
    found: list[str] = []
    with _Functions(found), _Operations(found):
        step()
    return list(dict.fromkeys(found))


class _Operations(TorchDispatchMode):
    """Sees what looks into a tensor, in backward passes, too."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if name in _LOOKS:
            self.found.append(_placed(name))
        if name in _INDEXES and any(index is not None and index.dtype == torch.bool for index in args[1]):
            self.found.append(_placed("a mask as index"))
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    """Sees what brings a tensor to the host, and what makes one there; on a CPU neither leaves a trace below."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = [*args, *kwargs.values()]
        if name in _FETCHES or (name == "to" and any(isinstance(value, str) and value == "cpu" for value in given)):
            self.found.append(_placed(name))
        if name in _SENDS and not (name == "as_tensor" and isinstance(args[0], torch.Tensor)):
            self.found.append(_placed(name))
        if name in _MAKES and kwargs.get("device") is None:
            self.found.append(_placed(f"{name} without a device"))
        if name in ("__getitem__", "__setitem__") and isinstance(args[1], list):
            self.found.append(_placed("a list as index"))
        return func(*args, **kwargs)


def _placed(what: str) -> str:
    """With the innermost line that is not torch's or this file's."""
    own = [f for f in traceback.extract_stack() if "site-packages" not in f.filename and f.filename != __file__]
    return f"{what} ({Path(own[-1].filename).name}:{own[-1].lineno})"
