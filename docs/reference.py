"""Writes the references: the public names of `bench.api` by subject, and the help of every command."""

from __future__ import annotations

import argparse
import inspect
import os
from pathlib import Path

import plain_rst as rst

from bench import api
from bench.cli.main import build_parser, command_modules
from bench.common.paths import HOME

GROUPS: dict[str, tuple[str, ...]] = {
    "Types": ("Energy", "Data", "Grid", "Estimate", "UsageError"),
    "Declarations": (
        *("objective", "dataset", "metric", "network", "denoiser", "Download"),
        *("Choice", "Integer", "Linear", "Log", "Sigma", "StepSize", "Count", "Conditional"),
    ),
    "Randomness": ("Rng",),
    "Derivatives": (
        *("score", "energy_and_score", "laplacian", "hessian_product", "conditioned"),
        *("per_example", "sum_event", "u_statistic"),
    ),
    "Networks with derivatives of their own": ("DenseEnergy", "Features", "FourierFeatures"),
    "Samplers": (
        *("langevin", "exponential_langevin", "mala", "hmc", "posterior_energy"),
        *("Chain", "ChainBuffer", "BoxNoise", "FittedGaussian", "WeightedChains"),
        *("annealed", "ancestral", "ancestral_from_noise", "level_by_level", "largest_level"),
    ),
    "Quadrature": (
        *("GRIDS", "grid_points", "grid_sample", "evaluate", "in_chunks", "freeze", "CachedFunction"),
        *("tabulate", "tabulate_density", "GridDistribution", "log_partition", "Partition"),
        *("integration_warning", "outside", "outside_mass"),
    ),
    "Likelihood without a grid": (
        *("annealed_partition", "AnnealedPartition", "annealed_nll", "flow_likelihood", "FlowLikelihood"),
        *("TrainedEnergy", "outliers", "terminal_doubt"),
    ),
    "Noising": (
        *("noise_levels", "noise_interval", "NoiseInterval", "noised", "noised_twice", "Noised"),
        *("posterior_steps", "shared_noise"),
    ),
    "Images and denoising": (
        *("Pixels", "image_data", "embedded", "content", "read_idx", "read_cifar", "read_photographs"),
        *(
            "fidelity",
            "image_features",
            "image_warning",
            "denoising_quality",
            "filtered",
            "psnr",
            "ssim",
            "restoration_quality",
        ),
    ),
    "Trained models": ("load_energy", "SavedEnergy"),
    "Data": (
        *("exact_data", "Mixture", "planar_mixture", "embedded_law", "wells"),
        *("noisy_curves", "noisy_points", "locate", "denoising_set", "cropped"),
    ),
}
ALIASES = {
    "Energy": "A function from points (\\*batch, \\*event), and a noise level for an energy that is told it, to "
    "energies (\\*batch,).",
    "Count": "A whole number from 1 to 10,000,000: the type of a data set's sizes.",
    "GRIDS": "Cells a side: of the grid that a value is read from, and of the one that it is compared with.",
    "Pixels": "Pixels as bytes, an array of NumPy.",
}
API = (
    "A plug-in imports ``bench.api``, torch, numpy and the standard library, and nothing else. These are all public "
    "names, by subject. A batch is (B, \\*event), or (S, B, \\*event) for a stack of S seeds."
)
COMMANDS = (
    "The text of ``python -m bench COMMAND --help`` for every command. ``ebm-bench`` is the same program, for use "
    "outside of a checkout."
)
WIDTH = 100


def write_all(folder: Path) -> None:
    """Writes both references under a folder."""
    rst.write(folder / "api.rst", api_page())
    rst.write(folder / "commands.rst", commands_page())


def api_page() -> str:
    """Every public name of `bench.api`, for autodoc to document."""
    blocks = [rst.heading("API reference"), API]
    for title, names in GROUPS.items():
        blocks += [rst.heading(title, "-"), *map(_directive, names)]
    return rst.page(*blocks)


def _directive(name: str) -> str:
    value = getattr(api, name)
    if name in ALIASES:
        shown = f"\n   :value: {value!r}" if isinstance(value, tuple) else ""
        return f".. py:data:: bench.api.{name}{shown}\n\n   {ALIASES[name]}"
    if inspect.isclass(value):
        return f".. autoclass:: bench.api.{name}\n   :members:"
    return f".. autofunction:: bench.api.{name}"


def commands_page() -> str:
    """The help of the program and of every command."""
    os.environ["COLUMNS"] = str(WIDTH)  # which argparse wraps at
    parser = build_parser(command_modules())
    blocks = [rst.heading("Commands"), COMMANDS, _help(parser)]
    for name, command in _subparsers(parser).items():
        blocks += [rst.heading(name, "-"), _help(command)]
    return rst.page(*blocks)


def _help(parser: argparse.ArgumentParser) -> str:
    """The help text, with paths of the project relative to it: where it lies says nothing to a reader."""
    return rst.code_block(parser.format_help().replace(f"{HOME}/", ""))


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(next(actions).choices)
