from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from bench.api import Grid, Rng, score
from bench.core.quadrature import (
    OUTSIDE_CELLS,
    CachedFunction,
    evaluate,
    grid_points,
    grid_sample,
    in_chunks,
    integration_warning,
    log_partition,
    normalise,
    tabulate,
    tabulate_density,
)
from bench.core.u_statistic import u_statistic

LINE = Grid((-5.0,), (7.0,))
SQUARE = Grid((-4.0, -5.0), (4.0, 3.0))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # the tensors are small: on a busy machine a second thread waits for longer than it works
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gaussian(sd: float, centre: float = 0.0) -> Callable[..., Tensor]:
    return lambda x: ((x - centre) / sd).square().sum(-1) / 2


@pytest.mark.parametrize(("grid", "volume"), [(LINE, 12.0), (SQUARE, 64.0)])
def test_nodes_are_the_centres_of_cells_that_tile_the_box(grid: Grid, volume: float) -> None:
    centres, cell = grid_points(grid, 6)
    assert len(centres) * cell == pytest.approx(volume)
    torch.testing.assert_close(centres.mean(0), (torch.tensor(grid.low) + torch.tensor(grid.high)).double() / 2)
    half = (torch.tensor(grid.high) - torch.tensor(grid.low)).double() / 12
    torch.testing.assert_close(centres.amin(0), torch.tensor(grid.low).double() + half)


def test_nodes_reshape_to_x_by_y() -> None:
    x = grid_points(SQUARE, 8, dtype=torch.float32)[0].reshape(8, 8, 2)
    assert x.dtype == torch.float32
    assert (x[3, :, 0] == x[3, 0, 0]).all()
    assert (x[1:, :, 0] > x[:-1, :, 0]).all()
    assert (x[:, 1:, 1] > x[:, :-1, 1]).all()


@pytest.mark.parametrize(
    "grid", [Grid((0.0,) * 3, (1.0,) * 3), Grid((1.0,), (0.0,)), Grid((0.0, 0.0), (1.0,)), Grid((), ())]
)
def test_what_is_no_box_is_refused(grid: Grid) -> None:
    with pytest.raises(ValueError, match=r"a grid is a box|shorter"):
        grid_points(grid, 8)


@pytest.mark.parametrize("grid", [LINE, SQUARE])
@pytest.mark.parametrize("sd", [0.05, 0.15, 0.5])
def test_log_partition_of_a_gaussian_is_its_closed_form_within_the_stated_error(grid: Grid, sd: float) -> None:
    found = log_partition(gaussian(sd, 0.013), grid)
    truth = len(grid.low) / 2 * math.log(2 * math.pi * sd**2)
    # the law's mass outside the box, 1e-9, is no numerical error of the integral over the box
    assert abs(found.log_z - truth) <= found.error + 1e-8
    assert found.error < 1e-2
    assert found.edge_mass < 1e-7
    assert found.warning == ""


def test_the_sum_is_in_float64_whatever_the_energy_computes_in() -> None:
    single = log_partition(gaussian(0.15), SQUARE, like=torch.empty(0))
    double = log_partition(gaussian(0.15), SQUARE)
    assert abs(single.log_z - double.log_z) < 1e-6


def test_the_energy_sees_the_dtype_of_like() -> None:
    seen = set()

    def energy(x: Tensor) -> Tensor:
        seen.add(x.dtype)
        return x.square().sum(-1)

    log_partition(energy, LINE, like=torch.empty(0, dtype=torch.float32))
    log_partition(energy, LINE)
    assert seen == {torch.float32, torch.float64}


def test_a_constant_added_to_the_energy_moves_log_z_only() -> None:
    plain = tabulate(gaussian(0.5), SQUARE)
    moved = tabulate(lambda x: gaussian(0.5)(x) + 700.0, SQUARE)
    assert moved.log_z == pytest.approx(plain.log_z - 700.0)
    torch.testing.assert_close(moved.log_mass, plain.log_mass, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("grid", "share"), [(LINE, 12 / 256), (SQUARE, 1 - (244 / 256) ** 2)])
def test_a_uniform_law_has_the_frame_s_share_at_the_edge_and_is_flawed(grid: Grid, share: float) -> None:
    found = log_partition(lambda x: x.sum(-1) * 0, grid)
    assert found.edge_mass == pytest.approx(share)
    assert "in the outer frame of 3 times the box" in found.warning
    assert found.rim_mass == pytest.approx(1 - 0.95 ** len(grid.low), rel=0.1)
    assert found.outside_mass == pytest.approx(1 - 3.0 ** -len(grid.low))


@pytest.mark.parametrize("grid", [LINE, SQUARE])
@pytest.mark.parametrize("sd", [1.0, 1.5, 2.5])
def test_a_law_wider_than_the_box_is_integrated_all_the_same(grid: Grid, sd: float) -> None:
    found = log_partition(gaussian(sd, 0.3), grid)
    truth = len(grid.low) / 2 * math.log(2 * math.pi * sd**2)
    box = log_partition(gaussian(sd, 0.3), grid).outside_mass
    assert abs(found.log_z - truth) <= found.error + 1e-5
    assert found.error < 3e-4
    assert found.warning == ""
    assert box > 1e-8
    assert math.log1p(-box) + found.log_z == pytest.approx(tabulate(gaussian(sd, 0.3), grid).log_z)


def test_a_law_sharper_than_a_cell_is_flawed() -> None:
    found = log_partition(gaussian(0.008, 0.013), SQUARE)
    assert "too sharp for the grid" in found.warning


def beyond_a_ridge(grid: Grid, depth: float) -> Callable[..., Tensor]:
    """A Gaussian in the box, a ridge along the box's edge, and a constant `depth` outside, up to twice the box."""
    centre = [(low + high) / 2 for low, high in zip(grid.low, grid.high, strict=True)]
    half = [(high - low) / 2 for low, high in zip(grid.low, grid.high, strict=True)]

    def energy(x: Tensor) -> Tensor:
        radius = ((x - x.new_tensor(centre)) / x.new_tensor(half)).abs().amax(-1)  # 1 at the edge
        inner = (x - x.new_tensor(centre)).square().sum(-1) / 2
        outer = torch.where(radius < 2, depth, 60.0)
        return torch.where(radius < 0.9, inner, torch.where(radius < 1.1, 60.0, outer))

    return energy


@pytest.mark.parametrize("grid", [LINE, SQUARE])
def test_mass_beyond_a_ridge_is_seen(grid: Grid) -> None:
    dim, side = len(grid.low), grid.high[0] - grid.low[0]
    volume = side**dim * (2**dim - 1.1**dim)
    inside = (2 * math.pi) ** (dim / 2)
    for share in (0.001, 0.05, 0.9):
        depth = -math.log(share / (1 - share) * inside / volume)
        found = log_partition(beyond_a_ridge(grid, depth), grid)
        assert found.edge_mass < 1e-4
        assert found.outside_mass == pytest.approx(share, rel=0.15)
        assert found.log_z == pytest.approx(math.log(inside / (1 - share)), abs=max(0.02, 3 * found.error))
        assert found.rim_mass < 1e-9


def test_what_is_not_a_number_outside_is_flawed_and_infinite_energy_is_no_mass() -> None:
    def walled(value: float) -> Callable[..., Tensor]:
        return lambda x: torch.where(x.abs().amax(-1) > 6, value, gaussian(0.5)(x))

    assert log_partition(walled(math.nan), SQUARE).warning
    assert log_partition(walled(-math.inf), SQUARE).warning
    assert log_partition(walled(math.inf), SQUARE).warning == ""


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_an_energy_that_is_not_finite_gives_no_log_z_and_is_flawed(bad: float) -> None:
    found = log_partition(lambda x: torch.where(x[:, 0] > 2, bad, x.square().sum(-1)), SQUARE)
    assert not math.isfinite(found.log_z)
    assert math.isnan(found.edge_mass)
    assert found.warning


def test_infinite_energy_means_no_mass() -> None:
    table = tabulate(lambda x: torch.where(x[:, 0] > 0, math.inf, gaussian(0.5)(x)), SQUARE)
    assert table.log_z == pytest.approx(math.log(2 * math.pi * 0.25 / 2))
    # a cell without mass must not turn an expectation of an infinite value into NaN
    assert table.expectation(torch.where(table.log_mass.isinf(), math.inf, 1.0)) == pytest.approx(1.0)


def test_expectations_are_closed_form_moments() -> None:
    table = tabulate(gaussian(0.4, 0.2), SQUARE)
    x, _ = grid_points(SQUARE, table.points)
    assert table.expectation(x[:, 0]) == pytest.approx(0.2)
    assert table.expectation((x[:, 1] - 0.2).square()) == pytest.approx(0.16)


def test_a_log_density_is_tabulated_with_its_mass_in_the_box() -> None:
    law = tabulate_density(lambda x: -gaussian(1.0)(x) - 0.5 * math.log(2 * math.pi), Grid((-1.0,), (1.0,)))
    assert math.exp(law.log_z) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=1e-5)


@pytest.mark.parametrize("shape", [(3000, 2), (300, 1, 8, 8), (5, 1)])
def test_chunks_make_no_difference_and_keep_no_graph(shape: tuple[int, ...]) -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    x = Rng(0).normal(shape, torch.float64)
    values = in_chunks(lambda part: weight * part.flatten(1).square().sum(1), x)
    torch.testing.assert_close(values, x.flatten(1).square().sum(1))
    assert not values.requires_grad


def test_a_frozen_function_is_computed_once_a_grid_and_is_otherwise_itself() -> None:
    points = 0

    def energy(x: Tensor) -> Tensor:
        nonlocal points
        points += len(x)
        return gaussian(0.4)(x)

    frozen = CachedFunction(energy)
    first = log_partition(frozen, SQUARE)
    looked_at = 256**2 + 128**2 + OUTSIDE_CELLS**2 + (OUTSIDE_CELLS // 2) ** 2
    assert points == looked_at
    assert looked_at < 1.15 * (256**2 + 128**2), "the look outside is cheap"
    assert log_partition(frozen, SQUARE) == first == log_partition(gaussian(0.4), SQUARE)
    grid_sample(frozen, SQUARE, 10, Rng(0))
    assert points == looked_at
    evaluate(frozen, SQUARE, 64)
    assert points == looked_at + 64**2
    assert evaluate(frozen, SQUARE, 64, like=torch.empty(0)).dtype == torch.float32
    x = Rng(0).normal((5, 2))
    torch.testing.assert_close(score(frozen, x), -x / 0.16)


def test_a_function_that_is_not_frozen_leaves_nothing_behind() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1), torch.nn.Flatten(0))
    before = log_partition(net, SQUARE, like=torch.empty(0))
    with torch.no_grad():
        net[2].bias += 1.0
    after = log_partition(net, SQUARE, like=torch.empty(0))
    assert after.log_z == pytest.approx(before.log_z - 1.0, abs=1e-5)


def test_grid_samples_follow_the_law() -> None:
    def energy(x: Tensor) -> Tensor:
        x = x - x.new_tensor([0.0, -1.0])
        return -torch.logsumexp(
            torch.stack([-gaussian(0.3, 1.5)(x) + math.log(0.8), -gaussian(0.3, -1.5)(x) + math.log(0.2)]), 0
        )

    x = grid_sample(energy, SQUARE, 20_000, Rng(0))
    right = x[:, 0] > 0
    assert abs(float(right.double().mean()) - 0.8) < 4 * math.sqrt(0.16 / len(x))
    near = x[right] - x.new_tensor([1.5, 0.5])
    assert (near.mean(0).abs() < 4 * 0.3 / math.sqrt(len(near))).all()
    sd = math.sqrt(0.3**2 + (8 / 256) ** 2 / 12)
    assert ((near.std(0) - sd).abs() < 4 * sd / math.sqrt(2 * len(near))).all()


def test_grid_samples_fill_the_cells_and_stay_in_the_box() -> None:
    x = grid_sample(lambda x: x.sum(-1) * 0, LINE, 4000, Rng(1), points=2)[:, 0]
    assert -5 <= x.min() < -4.9
    assert 6.9 < x.max() <= 7
    assert ((x > -3) & (x < 0)).double().mean() == pytest.approx(0.25, abs=4 * math.sqrt(0.1875 / 4000))


def test_grid_samples_depend_on_the_rng_alone() -> None:
    first = grid_sample(gaussian(0.5), SQUARE, 50, Rng(3), like=torch.empty(0))
    torch.manual_seed(1)
    assert torch.equal(first, grid_sample(gaussian(0.5), SQUARE, 50, Rng(3), like=torch.empty(0)))
    assert first.dtype == torch.float32
    stack = grid_sample(gaussian(0.5), SQUARE, 50, Rng([2, 3]), like=torch.empty(0))
    assert torch.equal(stack[1], first)


def test_an_energy_that_is_not_finite_is_not_sampled() -> None:
    with pytest.raises(ValueError, match="not finite"):
        grid_sample(lambda x: x[:, 0] * math.nan, SQUARE, 5, Rng(0))


def test_flaws_are_relative_to_large_values_only() -> None:
    assert integration_warning(0.001, 0.009) == ""
    assert integration_warning(0.001, 0.02)
    assert integration_warning(100.0, 0.5) == ""


def test_flaws_are_said_of_what_is_not_a_number_too() -> None:
    assert integration_warning(1.0, math.nan)
    assert integration_warning(1.0, 0.0, edge_mass=math.nan)
    assert integration_warning(1.0, 0.0, data_mass=math.nan)
    assert "0.9000" in integration_warning(1.0, 0.0, data_mass=0.9)


def test_weights_are_normalised_in_the_dtype_of_the_sum() -> None:
    table = normalise(torch.full((100,), -5.0, dtype=torch.float16), Grid((0.0,), (1.0,)), 100)
    assert table.log_z == pytest.approx(-5.0)
    assert float(table.log_mass.exp().sum()) == pytest.approx(1.0)


def test_a_u_statistic_is_the_mean_over_distinct_pairs() -> None:
    z = Rng(0).normal((12,), torch.float64)
    pairs = z[:, None] * z[None, :]
    value, stderr = u_statistic(pairs)
    assert value == pytest.approx(sum(float(z[i] * z[j]) for i in range(12) for j in range(12) if i != j) / 132)
    pairs.fill_diagonal_(math.nan)
    assert u_statistic(pairs) == (pytest.approx(value), pytest.approx(stderr))


@pytest.mark.parametrize(("mean", "low", "high"), [(0.0, 1.0, 1.41), (0.1, 0.91, 1.09), (1.0, 0.91, 1.09)])
def test_the_error_of_a_u_statistic_is_calibrated_and_where_degenerate_below_the_jackknife(
    mean: float, low: float, high: float
) -> None:
    z = Rng(0).normal((1000, 150, 3), torch.float64) + mean
    values, errors = torch.tensor([u_statistic(s @ s.T) for s in z], dtype=torch.float64).T
    assert abs(float(values.mean()) - 3 * mean**2) < 4 * float(values.std()) / math.sqrt(len(z))
    # a standard deviation from 1000 repeats is known to 2.3 %
    assert low < float(errors.square().mean().sqrt() / values.std()) < high
