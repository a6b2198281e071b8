"""Any module as an energy network: a class that declares nothing, built and held to the shape of an energy."""

from __future__ import annotations

import inspect
from types import ModuleType

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.core.declarations import PLAIN, NetworkInfo, snake_case
from bench.core.rng import Rng

_DECORATE = "decorate it with @network() of bench.api for the full contract"


class PlainEnergy(nn.Module):
    """E(x) of a module that gives (n,) or (n, 1): (n, *event) -> (n,).

    The module is held in evaluation mode: under dropout or batch statistics it would be no function of one example.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module.eval(), name

    def train(self, mode: bool = True) -> PlainEnergy:
        """Stays in evaluation mode."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        energies = self.module(x)
        if not isinstance(energies, Tensor) or energies.shape not in (x.shape[:1], (len(x), 1)):
            got = tuple(energies.shape) if isinstance(energies, Tensor) else type(energies).__name__
            raise UsageError(
                f"{self.name} must give an energy for each example, ({len(x)},) or ({len(x)}, 1); got {got} for x of "
                f"shape {tuple(x.shape)}"
            )
        return energies.reshape(len(x))


class PlainNetwork:
    """Builds a module class that declares nothing as a network does: (event_shape, rng, conditional) -> module.

    Its constructor takes the shape of one example, or nothing. Initial weights are drawn by torch's own generator,
    seeded from `rng` and put back afterwards.
    """

    def __init__(self, target: type[nn.Module], file: str) -> None:
        self.target, self.name = target, f"{target.__name__} of {file}"
        self.__name__, self.__doc__ = target.__name__, target.__doc__
        self.__bench__ = NetworkInfo(snake_case(target.__name__), "any", PLAIN)

    def __call__(self, event_shape: tuple[int, ...], rng: Rng, conditional: bool = False) -> nn.Module:
        """The module with initial weights.

        Raises:
            UsageError: for a stack of seeds or a noise level, if the constructor raises or takes something else, or the
                module is no energy of such examples.
        """
        if conditional:
            raise UsageError(f"{self.name} is a plain module, which is told no noise level; {_DECORATE}")
        if rng.batch_ndim > 1:
            raise UsageError(f"{self.name} is a plain module, of one seed; {_DECORATE}, or train seeds one by one")
        arguments = [event_shape] * self._required()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62, (1,))))
            try:
                energy = PlainEnergy(self.target(*arguments), self.name)
                with torch.no_grad():
                    energy(torch.zeros(2, *event_shape))  # also fixes the shapes of lazy modules
            except UsageError:
                raise
            except Exception as error:  # somebody's own code
                said = (str(error).splitlines() or [""])[0]
                raise UsageError(
                    f"{self.name} raised {type(error).__name__} for examples of shape {event_shape}: {said}; its "
                    "constructor takes the shape of one example or nothing, and it maps (n, *shape) to (n,)"
                ) from error
        self._check_parameters(energy)
        return energy

    def _required(self) -> int:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        without_default = [
            p
            for p in inspect.signature(self.target).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if len(without_default) > 1 or any(p.kind not in kinds for p in without_default):
            asked = ", ".join(p.name for p in without_default)
            raise UsageError(
                f"the constructor of {self.name} must take the shape of one example or nothing; it asks for {asked}: "
                f"give these defaults, or {_DECORATE}"
            )
        return len(without_default)

    def _check_parameters(self, energy: PlainEnergy) -> None:
        if not list(energy.parameters()):
            raise UsageError(f"{self.name} must have parameters to train; it has none")
        if fixed := [name for name, p in energy.module.named_parameters() if not p.requires_grad]:
            raise UsageError(f"every parameter of {self.name} is trained; {fixed[0]} is not: make it a buffer")


def plain_network(module: ModuleType, file: str) -> PlainNetwork | None:
    """The module class that a file defines, if it is the only public one and the file declares no plug-in."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    if any(hasattr(value, "__bench__") for value in own):
        return None
    classes = [
        value
        for value in own
        if inspect.isclass(value) and issubclass(value, nn.Module) and not value.__name__.startswith("_")
    ]
    if len(classes) > 1:
        raise UsageError(
            f"{file} must have one public module class to take as the network; found "
            f"{', '.join(c.__name__ for c in classes)}: begin names of parts with _, or decorate one with @network()"
        )
    return PlainNetwork(classes[0], file) if classes else None
