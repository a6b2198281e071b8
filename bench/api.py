"""All that a plug-in may import: types, declarations, randomness, derivatives, samplers, search spaces."""

from bench.common.errors import UsageError
from bench.common.run_spec import Conditional
from bench.core.data_types import Data, Estimate, Grid
from bench.core.declarations import Download, dataset, denoiser, metric, network, objective
from bench.core.dense_derivatives import Features, FourierFeatures
from bench.core.dense_energy import DenseEnergy
from bench.core.derivatives import (
    Energy,
    conditioned,
    energy_and_score,
    hessian_product,
    laplacian,
    per_example,
    score,
    sum_event,
)
from bench.core.fitted_gaussian import FittedGaussian
from bench.core.noising import (
    Noised,
    NoiseInterval,
    noise_interval,
    noise_levels,
    noised,
    noised_twice,
    posterior_steps,
    shared_noise,
)
from bench.core.quadrature import (
    GRIDS,
    CachedFunction,
    GridDistribution,
    Partition,
    evaluate,
    freeze,
    grid_points,
    grid_sample,
    in_chunks,
    integration_warning,
    log_partition,
    outside,
    outside_mass,
    tabulate,
    tabulate_density,
)
from bench.core.rng import Rng
from bench.core.search_spaces import Choice, Integer, Linear, Log, Sigma, StepSize
from bench.core.u_statistic import u_statistic
from bench.data.data_dir import locate
from bench.data.denoising_sets import cropped, denoising_set
from bench.data.embedded_laws import embedded_law, planar_mixture, wells
from bench.data.image_data import Pixels, content, embedded, image_data
from bench.data.image_files import read_cifar, read_idx, read_photographs
from bench.data.mixtures import Count, Mixture, exact_data, noisy_curves, noisy_points
from bench.evaluation.denoising import filtered, psnr, ssim
from bench.evaluation.denoising import quality as denoising_quality
from bench.evaluation.image_fidelity import fidelity, image_features, image_warning
from bench.evaluation.likelihood.certificate import AnnealedPartition, annealed_partition
from bench.evaluation.likelihood.flow import FlowLikelihood, flow_likelihood, terminal_doubt
from bench.evaluation.likelihood.held_out import annealed_nll
from bench.evaluation.outliers import outliers
from bench.evaluation.restoration import restoration_quality
from bench.evaluation.saved_energy import SavedEnergy, load_energy
from bench.evaluation.trained_energy import TrainedEnergy
from bench.samplers.chain import Chain
from bench.samplers.chain_buffer import BoxNoise, ChainBuffer
from bench.samplers.langevin import exponential_langevin, langevin, posterior_energy
from bench.samplers.metropolis import hmc, mala
from bench.samplers.noise_levels import ancestral, ancestral_from_noise, annealed, largest_level, level_by_level
from bench.samplers.weighted_chains import WeightedChains

__all__ = [
    "GRIDS",
    "AnnealedPartition",
    "BoxNoise",
    "CachedFunction",
    "Chain",
    "ChainBuffer",
    "Choice",
    "Conditional",
    "Count",
    "Data",
    "DenseEnergy",
    "Download",
    "Energy",
    "Estimate",
    "Features",
    "FittedGaussian",
    "FlowLikelihood",
    "FourierFeatures",
    "Grid",
    "GridDistribution",
    "Integer",
    "Linear",
    "Log",
    "Mixture",
    "NoiseInterval",
    "Noised",
    "Partition",
    "Pixels",
    "Rng",
    "SavedEnergy",
    "Sigma",
    "StepSize",
    "TrainedEnergy",
    "UsageError",
    "WeightedChains",
    "ancestral",
    "ancestral_from_noise",
    "annealed",
    "annealed_nll",
    "annealed_partition",
    "conditioned",
    "content",
    "cropped",
    "dataset",
    "denoiser",
    "denoising_quality",
    "denoising_set",
    "embedded",
    "embedded_law",
    "energy_and_score",
    "evaluate",
    "exact_data",
    "exponential_langevin",
    "fidelity",
    "filtered",
    "flow_likelihood",
    "freeze",
    "grid_points",
    "grid_sample",
    "hessian_product",
    "hmc",
    "image_data",
    "image_features",
    "image_warning",
    "in_chunks",
    "integration_warning",
    "langevin",
    "laplacian",
    "largest_level",
    "level_by_level",
    "load_energy",
    "locate",
    "log_partition",
    "mala",
    "metric",
    "network",
    "noise_interval",
    "noise_levels",
    "noised",
    "noised_twice",
    "noisy_curves",
    "noisy_points",
    "objective",
    "outliers",
    "outside",
    "outside_mass",
    "per_example",
    "planar_mixture",
    "posterior_energy",
    "posterior_steps",
    "psnr",
    "read_cifar",
    "read_idx",
    "read_photographs",
    "restoration_quality",
    "score",
    "shared_noise",
    "ssim",
    "sum_event",
    "tabulate",
    "tabulate_density",
    "terminal_doubt",
    "u_statistic",
    "wells",
]
