"""Trained energies on disk: what a run leaves beside its row, and how one comes back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.run_spec import NetworkSpec, RunSpec, Weights
from bench.core.data_types import Data
from bench.core.derivatives import Energy, score
from bench.core.rng import Rng
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders
from bench.results.find_run import find_run
from bench.results.store import WEIGHTS

PROBES = 8
TOLERANCE = 1e-3  # of energies on another machine, where sums round otherwise
_ORDER: tuple[Weights, ...] = ("best", "ema", "last")


@dataclass(frozen=True)
class SavedEnergy:
    """E(x) of a finished run, in the units of the data as they were given: (n, *event) -> (n,), low is likely.

    Attributes:
        energy: the same in the units that the network was trained in, u = (x - offset) / unit. Where its network is
            told a noise level, `energy.at(sigma)` is the energy of the data under noise of sigma, in units of u.
        spec: the run.
        weights: "last", "ema" or "best".
        event_shape: the shape of one example.
        offset, unit: 0 and 1 for data that were not standardised.
    """

    energy: TrainedEnergy
    spec: RunSpec
    weights: Weights
    event_shape: tuple[int, ...]
    offset: Tensor
    unit: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """E((x - offset) / unit).

        Raises:
            UsageError: if x is not of examples of the shape that it was trained on.
        """
        if tuple(x.shape[1:]) != self.event_shape:
            raise UsageError(f"points must be (n, *{self.event_shape}), as in training; got {tuple(x.shape)}")
        energies: Tensor = self.energy((x - self.offset.to(x)) / self.unit.to(x))
        return energies

    def score(self, x: Tensor) -> Tensor:
        """-∇ₓE(x), (n, *event) -> (n, *event), in inverse units of x."""
        return score(self, x)


def save_energies(folder: Path, spec: RunSpec, energies: Mapping[str, Energy], data: Data) -> None:
    """Writes `weights.safetensors` into a run's folder: parameters and buffers of each kind of weights.

    Beside them lie `data.offset` and `data.unit`, and energies at random points by which loading tells whether it has
    the same network again.
    """
    kept = {name: energy for name, energy in energies.items() if isinstance(energy, TrainedEnergy)}
    event = tuple(data.test.shape[1:])
    tensors: dict[str, Tensor] = {}
    about: dict[str, Any] = {"event_shape": event}
    for name, energy in kept.items():
        network = energy.network
        assert isinstance(network, torch.nn.Module)
        tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        tensors[f"probe.{name}"] = _probed(energy, event, data.test.device)
        about |= {"levels": energy.levels, "noise": energy.noise, "shrinks": energy.shrinks}
    tensors["data.offset"] = torch.zeros(()) if data.offset is None else data.offset
    tensors["data.unit"] = torch.ones(()) if data.unit is None else data.unit
    # a clone each: two names of one storage are refused
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    save_file(plain, folder / WEIGHTS, {"about": json.dumps(about), "network": spec.network.label})


def load_energy(
    store: str | Path, run: str | Path, *, weights: Weights | None = None, trust: Collection[str | Path] = ()
) -> SavedEnergy:
    """The trained energy of a run that was made with `--save-weights`: E(x), (n, *event) -> (n,).

    Args:
        store: the folder that `run --out` wrote into.
        run: "OBJECTIVE/DATASET/SEED" as tables name them, the run's folder within the store, or its `run_id`.
        weights: "best" by validation, "ema" for the moving average, "last"; None for the first of these that there is.
        trust: files of networks that may be run; a store is data, and what it names is not run for that alone.

    Raises:
        UsageError: if there is no such run or more than one, it kept no such weights, its files were changed since,
            its network is of a file that is not trusted, or the network now gives other energies.
    """
    attempt = find_run(Path(store), str(run))
    path = attempt.checked(WEIGHTS)
    if not path.exists():
        raise UsageError(
            f"the run {attempt.folder} kept no weights; run it again into another store with --save-weights, or "
            "save_weights = true in the suite"
        )
    tensors, about = _read(path)
    spec = RunSpec.from_dict(attempt.intent()["spec"])
    chosen = _choose(weights, tensors, path)
    event = tuple(about["event_shape"])
    network = _rebuilt(spec.network, event, trust)
    own = {k.removeprefix(f"{chosen}."): v for k, v in tensors.items() if k.startswith(f"{chosen}.")}
    try:
        network.load_state_dict(own)
    except RuntimeError:
        raise _other_network(spec.network) from None
    levels = about["levels"] and (about["levels"][0], about["levels"][1])
    energy = TrainedEnergy(
        network.requires_grad_(False).eval(),
        levels=levels,
        conditional=bool(spec.network.conditional),
        noise=about["noise"],
        shrinks=about["shrinks"],
    )
    now, then = _probed(energy, event), tensors[f"probe.{chosen}"]
    if not torch.allclose(now, then, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise _other_network(spec.network)
    return SavedEnergy(energy, spec, chosen, event, tensors["data.offset"], tensors["data.unit"])


def _probed(energy: TrainedEnergy, event: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Energies at random points, (PROBES,), the same points wherever they are drawn."""
    with torch.no_grad():
        return energy(Rng(0, "probe").normal((PROBES, *event)).to(device)).cpu()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file of weights, and what it says of them."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
        return load_file(path), about
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} holds no weights of a run ({error}); run it again into another store") from None


def _choose(wanted: Weights | None, tensors: Mapping[str, Tensor], path: Path) -> Weights:
    kept = [name for name in _ORDER if f"probe.{name}" in tensors]
    if wanted is None and kept:
        return kept[0]
    if wanted not in kept:
        raise UsageError(f"{path} has the weights {', '.join(kept) or 'of nothing'}; got '{wanted}'")
    return wanted


def _rebuilt(about: NetworkSpec, event: tuple[int, ...], trust: Collection[str | Path]) -> torch.nn.Module:
    """The network of a run, with other weights."""
    if about.ref.endswith(".py") and Path(about.ref).resolve() not in {Path(path).resolve() for path in trust}:
        raise UsageError(
            f"the network of this run is the file '{about.ref}', which reading a store does not run: look at it, then "
            f"give trust=['{about.ref}']"
        )
    params: dict[str, Any] = about.params
    return builders.network(about.ref, event, Rng(0, "init"), conditional=about.conditional, **params)


def _other_network(about: NetworkSpec) -> UsageError:
    return UsageError(
        f"the network {about.label} must be the one that was trained; its code has changed since: take the version "
        "of the run's commit, which its row.json names"
    )
