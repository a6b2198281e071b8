"""All that a plug-in may import: types, declarations, randomness, derivatives, samplers, search spaces."""

from bench.calculus import (
    Energy,
    energy_and_score,
    hessian_product,
    laplacian,
    per_example,
    score,
    sum_event,
)
from bench.chains import BoxNoise, ChainBuffer
from bench.data_files import locate
from bench.declare import Data, Download, Estimate, Grid, dataset, denoiser, metric, network, objective
from bench.denoise import filtered, psnr, ssim
from bench.denoise import quality as denoising_quality
from bench.diffusion import Noised, NoiseInterval, noise_interval, noise_levels, noised, posterior_steps
from bench.errors import UsageError
from bench.exact import Count, Mixture, exact_data, noisy_curves, noisy_points
from bench.fidelity import fidelity, image_features, image_flaw
from bench.images import Pixels, content, embedded, image_data
from bench.pairs import u_statistic
from bench.quadrature import (
    GRIDS,
    Frozen,
    Partition,
    Table,
    evaluate,
    flaw,
    freeze,
    grid_sample,
    in_chunks,
    log_partition,
    nodes,
    tabulate,
    tabulate_density,
)
from bench.readers import read_cifar, read_idx, read_photographs
from bench.rng import Rng
from bench.samplers import Chain, exponential_langevin, hmc, langevin, mala, tethered
from bench.spaces import Choice, Integer, Linear, Log, StepSize

__all__ = [
    "GRIDS",
    "BoxNoise",
    "Chain",
    "ChainBuffer",
    "Choice",
    "Count",
    "Data",
    "Download",
    "Energy",
    "Estimate",
    "Frozen",
    "Grid",
    "Integer",
    "Linear",
    "Log",
    "Mixture",
    "NoiseInterval",
    "Noised",
    "Partition",
    "Pixels",
    "Rng",
    "StepSize",
    "Table",
    "UsageError",
    "content",
    "dataset",
    "denoiser",
    "denoising_quality",
    "embedded",
    "energy_and_score",
    "evaluate",
    "exact_data",
    "exponential_langevin",
    "fidelity",
    "filtered",
    "flaw",
    "freeze",
    "grid_sample",
    "hessian_product",
    "hmc",
    "image_data",
    "image_features",
    "image_flaw",
    "in_chunks",
    "langevin",
    "laplacian",
    "locate",
    "log_partition",
    "mala",
    "metric",
    "network",
    "nodes",
    "noise_interval",
    "noise_levels",
    "noised",
    "noisy_curves",
    "noisy_points",
    "objective",
    "per_example",
    "posterior_steps",
    "psnr",
    "read_cifar",
    "read_idx",
    "read_photographs",
    "score",
    "ssim",
    "sum_event",
    "tabulate",
    "tabulate_density",
    "tethered",
    "u_statistic",
]
