"""What every figure must keep: proportions, texts that do not cover each other, few bytes, names of one source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench.common.statistics import Better, Interval, usual_scale
from bench.report.figures import cost as plots_cost
from bench.report.figures import curves as plots_curves
from bench.report.figures import forest as verdicts
from bench.report.figures import gallery as plots_gallery
from bench.report.figures import images as plots_images
from bench.report.figures import labels as plots_labels
from bench.report.figures import layout as plots_layout
from bench.report.figures import plots
from bench.report.figures import scaling as plots_scaling
from bench.report.figures.save import DPI, LIMIT, save
from bench.results.reference_comparison import ReferenceComparison
from tests.helpers.store_builder import Shelf

LONG = "time dependent diffusion contrastive divergence coupled [levels=80, sigma max=12.0, sigma min=0.05, steps=1]"
TOUCH = 1.0  # pixels that two boxes of text may share: they are rounded outwards


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def families(*sizes: int) -> dict[str, list[str]]:
    return {f"family {k}": [f"NAME-{k}-{j}" for j in range(size)] for k, size in enumerate(sizes)}


def curves(members: dict[str, list[str]], datasets: int, seeds: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lines = [
        {"objective": name, "family": family, "dataset": f"data set {d}", "seed": seed, "checkpoint": k,
         "step": 500 * k, "train_seconds": 0.5 * k, "kl_ema": float(rng.uniform(0.02, 5))}
        for family, names in members.items()
        for name, d, seed, k in itertools.product(names, range(datasets), range(seeds), (1, 2, 4))
    ]  # fmt: skip
    return pd.DataFrame(lines)


def costs(members: dict[str, list[str]], datasets: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lines = [
        {"objective": name, "family": family, "control": False, "dataset": f"data set {d}", "seed": seed,
         "kl": float(rng.lognormal()), "seconds": float(rng.lognormal()), "gflops": float(rng.lognormal())}
        for family, names in members.items()
        for name, d, seed in itertools.product(names, range(datasets), range(2))
    ]  # fmt: skip
    return pd.DataFrame(lines)


def findings(objectives: list[str], datasets: list[str], better: Better = "lower") -> list[ReferenceComparison]:
    found, scale = [], usual_scale(better)
    for k, (objective, dataset) in enumerate(itertools.product(objectives, datasets), start=1):
        middle = 0.05 * 1.9 ** (k % 11)
        effect = Interval(middle, middle / 3, middle * 3, 5, "") if k % 7 else Interval(None, None, None, 0, "failed")
        word = ("better", "not separable", "worse")[k % 3] if k % 7 else "failed"
        found.append(
            ReferenceComparison("suite", dataset, objective, "kl_best", better, effect, 0.01, word, 1.0, scale)
        )
    return found


def covered(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of visible texts of a drawn figure whose boxes overlap."""
    figure.canvas.draw()
    off = [axis for axes in figure.axes if not axes.axison for axis in (axes.xaxis, axes.yaxis)]
    hidden = {text for axis in off for text in axis.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text not in hidden]
    # tick labels outside the limits of their axis have places too, far away
    boxes = [
        (text.get_text(), box)
        for text in texts
        if text.get_visible() and text.get_text().strip() and (box := text.get_window_extent()).overlaps(figure.bbox)
    ]
    return [
        (one, two)
        for (one, a), (two, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > TOUCH and min(a.y1, b.y1) - max(a.y0, b.y0) > TOUCH
    ]


def proportion(figure: Figure, folder: Path) -> float:
    with Image.open(save(figure, folder / "figure.png")) as image:
        return image.height / image.width


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


@pytest.mark.parametrize(
    ("sizes", "datasets"),
    [
        pytest.param((1,), 1, id="one"),
        pytest.param((7, 11, 8, 3, 1, 1, 1, 1), 4, id="33 in 8 families"),
        pytest.param((4, 3, 5, 2, 3, 6, 2, 2, 2, 2, 1, 1), 4, id="33 in 12 families"),
        pytest.param((2,) * 20, 1, id="20 families, one data set"),
        pytest.param((1,) * 12, 2, id="only single ones"),
        pytest.param((3,), 13, id="many data sets"),
    ],
)
def test_learning_curves_are_never_taller_than_half_as_much_again_as_wide(
    sizes: tuple[int, ...], datasets: int, tmp_path: Path
) -> None:
    figure = drawn(plots_curves.figure(curves(families(*sizes), datasets), "step"))
    assert covered(figure) == []
    assert proportion(figure, tmp_path) <= plots_layout.TALLEST


def test_a_text_over_another_is_noticed() -> None:
    figure = plt.figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    assert covered(figure) == [("one", "two")]


def test_long_names_of_curves_wrap_beside_their_panels(tmp_path: Path) -> None:
    members = {"a family of a long name indeed": [f"{LONG} {k}" for k in range(6)], "other": ["a [k=1]", "b"]}
    figure = drawn(plots_curves.figure(curves(members, 2), "train_seconds"))
    assert covered(figure) == []
    assert proportion(figure, tmp_path) <= plots_layout.TALLEST


def test_families_of_one_entry_share_a_row_and_large_ones_are_parted_evenly() -> None:
    members = families(1, 7, 2, 1)
    found = plots_curves.groups(curves(members, 1))
    assert [len(group.members) for group in found] == [3, 4, 2, 2]
    assert found[-1].title == plots_curves.OTHERS
    assert found[-1].members == ("NAME-0-0", "NAME-3-0")
    assert sorted(name for group in found for name in group.members) == sorted(itertools.chain(*members.values()))


def test_a_lone_family_of_one_entry_keeps_its_name() -> None:
    assert [group.title for group in plots_curves.groups(curves(families(1, 2), 1))] == ["family 0", "family 1"]


@pytest.mark.parametrize("x", ["step", "train_seconds"])
def test_every_curve_and_band_lies_inside_its_panel(x: str) -> None:
    made = curves(families(2, 2, 1), 2, seeds=3)
    best = made["objective"] == "NAME-1-1"  # of another family than the first
    made.loc[best, "kl_ema"] *= 1e-3
    made.loc[best & (made["seed"] == 1) & (made["checkpoint"] == 4), "kl_ema"] = -1e-9  # zero, but for rounding
    for axis in drawn(plots_curves.figure(made, x)).axes:
        (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
        bands = [path.vertices for band in axis.collections for path in band.get_paths()]
        for at in [line.get_xydata() for line in axis.lines] + bands:
            assert left <= np.min(at[:, 0]) <= np.max(at[:, 0]) <= right
            assert low <= np.min(at[:, 1]) <= np.max(at[:, 1]) <= high


def test_what_is_above_the_curves_panels_is_said_to_be_there() -> None:
    made = curves(families(2), 1)
    made.loc[made["objective"] == "NAME-0-1", "kl_ema"] = 3 * plots_curves.TOP
    texts = [text.get_text() for text in drawn(plots_curves.figure(made, "step")).texts]
    assert texts[texts.index("NAME-0-1") + 1] == "above 10 nats"
    assert texts.count("above 10 nats") == 1


def test_the_front_is_what_nothing_else_is_at_most_as_dear_and_as_bad_as() -> None:
    seconds, kl = [1.0, 2.0, 2.0, 3.0, 4.0, 0.5, 4.0], [5.0, 4.0, 3.0, 3.0, 1.0, 9.0, 1.0]
    assert plots_cost.front(seconds, kl) == [5, 0, 2, 4]


@pytest.mark.parametrize(("sizes", "datasets"), [((3,), 1), ((7, 11, 8, 3, 1, 1, 1, 1), 4), ((4,) * 8, 7)])
def test_costs_name_the_front_and_number_the_others_without_covering(
    sizes: tuple[int, ...], datasets: int, tmp_path: Path
) -> None:
    made = costs(families(*sizes), datasets)
    figure = drawn(plots_cost.figure(made))
    assert covered(figure) == []
    for axis, cost in zip(figure.axes, itertools.cycle(plots_cost.COSTS)):
        medians = made[made["dataset"] == axis.get_title()].groupby("objective", sort=False)[["kl", cost]].median()
        front = {medians.index[k] for k in plots_cost.front(list(medians[cost]), list(medians["kl"]))}
        written = {text.get_text() for text in axis.texts} - {""}
        assert {text for text in written if not text.isdigit()} == front
        assert len(written) == len(medians)
    assert proportion(figure, tmp_path) <= plots_layout.TALLEST


def test_a_control_is_no_part_of_the_front() -> None:
    made = costs(families(4), 1)
    best = made["objective"] == "NAME-0-2"
    made.loc[best, ["kl", "seconds", "gflops", "control"]] = [1e-3, 1e-3, 1e-3, True]
    figure = drawn(plots_cost.figure(made))
    assert not [text for axis in figure.axes for text in axis.texts if text.get_text() == "NAME-0-2"]


def test_costs_stand_a_divergence_of_zero_a_lone_control_and_an_unknown_cost() -> None:
    made = costs(families(1), 1).assign(kl=-1e-9, control=True)
    assert drawn(plots_cost.figure(made)).axes
    assert plots_cost.figure(made.assign(gflops=None)) is None
    assert plots_cost.figure(pd.DataFrame()) is None


def test_labels_of_crowded_points_stay_apart_inside_their_axes() -> None:
    figure, axis = plt.subplots(figsize=(5, 3))
    points = np.random.default_rng(0).normal(0.5, 0.05, (30, 2))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    boxes = plots_labels.place(axis, [plots_labels.Label(f"name {k}", (x, y), 6) for k, (x, y) in enumerate(points)])
    assert all(plots_labels.overlap(a, b) < 1e-6 for a, b in itertools.combinations(boxes, 2))
    frame = axis.get_window_extent().extents * 72 / figure.dpi
    assert all(box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3] for box in boxes)


@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize(("objectives", "datasets"), [(1, 1), (10, 8), (33, 4), (30, 1)])
def test_the_verdict_has_a_readable_row_for_each_objective(
    objectives: int, datasets: int, better: str, tmp_path: Path
) -> None:
    labels = [f"NAME-{k}" if k % 4 else f"NAME-{k} [steps={k}]" for k in range(1, objectives + 1)]
    found = findings(labels, [f"data-{k}" for k in range(datasets)], better)
    figure = drawn(verdicts.draw_forest(found, str, "reference"))
    assert covered(figure) == []
    assert len(figure.axes) == datasets
    assert proportion(figure, tmp_path) <= plots_layout.TALLEST


def test_the_verdict_s_panels_share_an_axis_that_holds_equality() -> None:
    figure = drawn(verdicts.draw_forest(findings(["a", "b", "c"], ["x", "y"]), str, "reference"))
    limits = {axis.get_xlim() for axis in figure.axes}
    assert len(limits) == 1
    assert limits.pop()[0] < 1 < figure.axes[0].get_xlim()[1]


def test_a_higher_is_better_metric_has_better_on_the_left_and_an_axis_that_grows_from_equality() -> None:
    effect = Interval(-12.0, -20.0, -4.0, 5, "")
    found = [ReferenceComparison("s", "x", "a", "psnr", "higher", effect, 0.01, "worse", 1.0, "difference")]
    figure = drawn(verdicts.draw_forest(found, str, "reference"))
    figure.canvas.draw()
    (axis,) = figure.axes
    place = axis.transData.transform([(0.0, 0.0), (-12.0, 0.0), (1.0, 0.0)])[:, 0]
    assert place[2] < place[0] < place[1]
    written = [tick.label1.get_text() for tick in axis.xaxis.get_major_ticks()]
    assert "10" in written
    assert not [text for text in written if "−" in text or "-" in text]
    assert verdicts.SIDES in axis.get_xlabel()
    assert all(
        tick.tick1line.get_visible() and tick.tick1line.get_markersize() for tick in axis.xaxis.get_major_ticks()
    )


def test_every_dot_of_the_verdict_has_its_value_in_its_row() -> None:
    found = findings([f"NAME-{k}" for k in range(9)], ["x"])
    figure = drawn(verdicts.draw_forest(found, str, "reference"))
    (axis,) = figure.axes
    rows = {round(text.xy[1]): text.get_text() for text in axis.texts}  # type: ignore[attr-defined]
    for row, finding in enumerate(found):
        mean = finding.effect.mean
        assert rows[row] == (finding.word if mean is None else f"×{mean:.2g}")


def gallery(names: list[str], noise: float) -> Figure:
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*2 * [np.linspace(-3, 3, 80)])
    truth = -0.5 * (x**2 + y**2)
    entries: dict[str, Any] = {
        name: {"log_truth": truth, "log_density": truth + noise * rng.normal(size=truth.shape)} for name in names
    }
    return drawn(plots_gallery.figure({**entries, "FAILED": "diverged"}, "two spirals", "log_density"))


@pytest.mark.parametrize("name", ["NAME-{}", "NAME-{} [steps=10, step size=0.3]", LONG + " {}"])
def test_a_gallery_of_34_panels_has_titles_apart_and_few_bytes(name: str, tmp_path: Path) -> None:
    figure = gallery([name.format(k) for k in range(32)], 0.2)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == 34
    assert titles[0] == "truth"
    assert covered(figure) == []
    assert save(figure, tmp_path / "gallery.png").stat().st_size <= LIMIT


def test_settings_stand_below_a_gallery_s_names_in_smaller_type() -> None:
    figure = gallery(["NAME [steps=10]"], 0.0)
    assert figure.axes[1].get_title() == "NAME"
    (settings,) = figure.axes[1].texts
    assert settings.get_text() == "[steps=10]"
    assert settings.get_fontsize() < figure.axes[1].title.get_fontsize()


@pytest.mark.parametrize("panels", [1, 6])
def test_grids_of_noise_keep_their_pixels_within_the_limit(panels: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(size=(64, 1, 28, 28))
    entries = {f"NAME-{k} [a=1]": {"data": noise, "samples_own": noise, "samples_noise": noise} for k in range(panels)}
    figure = drawn(plots_images.samples(entries, "cloth"))
    width = figure.axes[0].get_window_extent().width / figure.dpi * DPI
    shown = figure.axes[0].get_images()[0].get_size()[0]
    assert width / shown == pytest.approx(round(width / shown))
    assert covered(figure) == []
    assert save(figure, tmp_path / "samples.png").stat().st_size <= LIMIT


def test_names_at_the_ends_of_lines_stay_apart() -> None:
    lines = [
        {"objective": f"NAME-{k}", "axis": axis, "batch": at, "network": f"mlp[width={at}]", "dim": at,
         "step_ms": at * (1 + 0.01 * k)}
        for k in range(33)
        for axis in plots_scaling.COLUMNS
        for at in (2, 8, 32)
    ]  # fmt: skip
    figure = plots_scaling.figure(pd.DataFrame(lines))
    assert covered(figure) == []
    assert len(figure.axes[-1].texts) == 33


def test_values_are_spread_in_their_order_and_no_further_than_needed() -> None:
    assert plots_scaling.spread([0.5, 0.1, 0.9], 0.2) == pytest.approx([0.5, 0.1, 0.9])
    assert plots_scaling.spread([0.95, 0.9, 0.1], 0.2) == pytest.approx([1.0, 0.8, 0.1])


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = (
        save(drawn(plots_cost.figure(costs(families(3), 1))), folder / f"cost{suffix}", "about")
        for folder in (tmp_path, tmp_path / "again")
    )
    assert first.read_bytes() == second.read_bytes()
    assert not plt.get_fignums()


@pytest.mark.parametrize("text", ["a few words that must wrap", "onewordthatiswiderthananylinecanbe", LONG])
@pytest.mark.parametrize("inches", [0.3, 0.9])
def test_wrapped_lines_keep_the_letters_and_the_width(text: str, inches: float) -> None:
    lines = plots_layout.wrapped(text, inches, 8)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(plots_layout.width(line, 8) for line in lines) <= inches


@pytest.mark.parametrize("low", [1e-3, 0.7, 1.0, 3.1])
@pytest.mark.parametrize("factor", [1.2, 1.7, 4.0, 30.0, 1e4, 1e9])
def test_a_logarithmic_axis_has_some_labels_and_not_many(low: float, factor: float) -> None:
    axis = plt.figure().add_subplot()
    axis.set(xscale="log", xlim=(low, low * factor))
    plots_layout.few_ticks(axis, 5)
    ticks = [tick for tick in axis.get_xticks() if low <= tick <= low * factor]
    assert 2 <= len(ticks) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0001, "0.0001"), (0.03, "0.03"), (1.0, "1"), (30000.0, "30,000"), (2e6, "2 million"), (1e9, "1 billion"),
     (1e-5, "10⁻⁵"), (3e-6, "3·10⁻⁶"), (1e15, "10¹⁵"), (0.0, "0")],
)  # fmt: skip
def test_ticks_are_digits_or_words(value: float, text: str) -> None:
    assert plots_layout.plain_number(value) == text


def test_every_figure_takes_its_names_from_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    for name in ("descent", "ascent"):
        for seed in range(2):
            metrics = {"kl": {"best": {"value": 0.5 + seed, "better": "lower"}}}
            attempt = shelf.ran(name, seed, None, metrics=metrics, reference="descent")
            attempt.append({"step": 1, "train_seconds": 0.1, "kl_ema": 0.7})
            grid = np.zeros((4, 4))
            images = np.linspace(0, 1, 256).reshape(4, 1, 8, 8)
            np.savez(
                attempt.folder / "artefacts.npz", log_truth=grid, log_density=grid, score_error=grid + 1,
                data=images, samples_own=images, clean=images, noisy_25=images + 0.1, denoised_mean_25=images / 2,
                value_range=np.array([0.0, 1.0]),
            )  # fmt: skip
    written: list[str] = []

    def look(figure: Figure, path: Path, about: str = "") -> Path:
        written.append("\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)))
        return path

    monkeypatch.setattr(plots, "display_name", lambda label: f"«{label}»")
    monkeypatch.setattr(plots, "save", look)
    files = plots.draw_figures(shelf.store, shelf.records(), tmp_path / "plots")
    assert len(files) >= 8
    for path, text in zip(files, written, strict=True):
        assert "«ascent»" in text or "«line»" in text, path.name
        assert "ascent" not in text.replace("«ascent»", ""), path.name
        assert "line" not in text.replace("«line»", ""), path.name
