"""Rulers of image metrics, saved samples, and tables that never show a FID without n and extractor."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from bench.api import Rng, UsageError
from bench.cli import main
from bench.common import exit_codes
from bench.common.run_spec import DatasetSpec
from bench.evaluation import artifacts, reference_sets, saved_samples
from bench.plugins import builders, registry
from bench.report import terminal
from bench.report.html.page import render_page
from bench.results import store_comparison, tables
from bench.results.store import Planned
from tests.helpers.image_sets import REF, digits, rulers_of_digits, value_of
from tests.helpers.store_builder import Shelf, estimate
from tests.helpers.toy_workers import toy_spec

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


def planned_digits(**changes: int) -> DatasetSpec:
    params = {**registry.find("datasets", REF).resolve(), **changes}
    content = builders.dataset("digits", Rng(0, "data"), **params).content
    return DatasetSpec(name="digits", label=REF, ref="digits", params=params, content=content)


# rulers and saved samples


def test_the_rulers_lie_in_their_order_and_say_what_n_does() -> None:
    found = reference_sets.reference_metrics(digits(), 300)
    largest = found[found["n"] == 300].set_index("set")["fid"]
    assert largest.index[0] == "test"
    assert largest.is_monotonic_increasing
    smaller = found[(found["set"] == "test") & (found["n"] == 250)]["fid"]
    assert len(smaller) == 1
    assert set(found["extractor"]) == {digits().extractor}
    gaussian = reference_sets.reference_sets(digits(), 4_000, Rng(0))["pixel Gaussian"].flatten(1)
    expected = torch.cov(digits().train.flatten(1).T)
    error = torch.cov(gaussian.T) - expected
    assert float(error.norm() / expected.norm()) < 0.1


def test_the_command_writes_the_rulers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reference-metrics", "--dataset", REF, "--samples", "80", "--device", "cpu", "--out", str(tmp_path)]
    assert main.main(arguments) == exit_codes.GOOD
    assert "uniform noise" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "rulers.csv")
    assert {"n", "extractor", "fid", "kid", "precision", "recall", "class_entropy"} <= set(found.columns)
    assert (tmp_path / "rulers.md").exists()
    assert main.main([*arguments[:-2], "--samples", "3"]) == exit_codes.USAGE
    assert main.main(["reference-metrics", "--dataset", "two_moons"]) == exit_codes.USAGE


def test_saved_samples_are_compared_with_their_own_training_images(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = DatasetSpec(
        name="digits",
        label=REF,
        ref="digits",
        params=registry.find("datasets", REF).resolve(),
        content=digits().content,
    )
    for name, samples in (("good", digits().valid), ("noise", rulers_of_digits()["uniform noise"])):
        spec = toy_spec(0, name, dataset)
        attempt = shelf.store.begin(Planned.of(spec))
        both = {"own": samples[:90], "noise": "none", "data": samples[:90] / 0}
        artifacts.save(attempt.folder, lambda x: x.flatten(1).sum(1), both, digits(), Rng(0))
        attempt.finish({"status": "ok"})
        shelf.specs.append(spec)
    shelf.ran("without_images", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert main.main(["image-metrics", str(shelf.store.root), "--device", "cpu"]) == exit_codes.GOOD
    assert "good" in capsys.readouterr().out
    found = pd.read_csv(shelf.store.root / "fid.csv").set_index("objective")
    assert found["fid"]["good"] == pytest.approx(value_of("fid", digits().valid[:90]))
    assert found["fid"]["noise"] > 20 * found["fid"]["good"]
    assert found["n"].tolist() == [90, 90]
    assert found["sampler"].tolist() == ["own", "own"]  # what is not finite leaves no images


def test_runs_on_two_sizes_of_a_data_set_are_compared_each_with_its_own_training_images(tmp_path: Path) -> None:
    def measured(store: str, *sizes: int) -> dict[str, float]:
        shelf = Shelf(tmp_path / store)
        for n_train in sizes:
            spec = toy_spec(0, f"of {n_train}", planned_digits(n_train=n_train))
            attempt = shelf.store.begin(Planned.of(spec))
            images = {"own": digits().valid[:60]}
            artifacts.save(attempt.folder, lambda x: x.flatten(1).sum(1), images, digits(), Rng(0))
            attempt.finish({"status": "ok"})
            shelf.specs.append(spec)
        shelf.store.write_plan(map(Planned.of, shelf.specs))
        found = saved_samples.saved_sample_metrics(shelf.store.root, torch.device("cpu"))
        return dict(zip(found["objective"], found["fid"], strict=True))

    small, large = measured("small", 60), measured("large", 600)
    assert measured("both", 60, 600) == pytest.approx(small | large)
    assert small["of 60"] > 1.2 * large["of 600"]


def test_samples_of_runs_whose_files_have_changed_since_are_refused(shelf: Shelf) -> None:
    spec = toy_spec(0, "good", replace(planned_digits(), content="0123"))
    attempt = shelf.store.begin(Planned.of(spec))
    artifacts.save(attempt.folder, lambda x: x.flatten(1).sum(1), {"own": digits().valid[:60]}, digits(), Rng(0))
    attempt.finish({"status": "ok"})
    shelf.store.write_plan([Planned.of(spec)])
    with pytest.raises(UsageError, match=r"the data it was planned with, 0123; digits now has"):
        saved_samples.saved_sample_metrics(shelf.store.root, torch.device("cpu"))


def test_a_store_without_images_is_refused(shelf: Shelf) -> None:
    shelf.ran("good", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    with pytest.raises(UsageError, match="No run with 8 saved images"):
        saved_samples.saved_sample_metrics(shelf.store.root, torch.device("cpu"))


# tables


def test_a_column_of_fid_never_stands_without_n_and_extractor(shelf: Shelf) -> None:
    value = estimate(12.0, n=500, detail={"extractor": "digits-0123abcd"}, unit="features²")
    shelf.ran("good", 0, None, metrics={"fid": {"last": value}, "kl": {"last": estimate(None, reason="n/a")}})
    frame = shelf.frame()
    assert frame[["fid", "fid_extractor", "fid_n"]].iloc[0].tolist() == [12.0, "digits-0123abcd", 500]
    assert tables.summary_frame(shelf.records())["fid_basis"].tolist() == ["n = 500, digits-0123abcd"]
    head = next(line for line in shelf.page().splitlines() if line.startswith("| objective"))
    heading = "line: fid, n = 500, digits-0123abcd"
    assert heading in head
    printed = io.StringIO()
    terminal.print_leaderboard(shelf.records(), Console(file=printed, width=200))
    assert heading in printed.getvalue()
    assert "`fid` (n = 500, digits-0123abcd) in features²" in shelf.page()
    page = render_page(shelf.store, shelf.records())
    assert "n = 500, digits-0123abcd" in re.sub("<[^>]*>", " ", page)


def test_values_of_other_features_or_another_n_are_not_set_against_each_other(tmp_path: Path) -> None:
    for name, n in (("a", 500), ("b", 1_000), ("c", 500)):
        shelf = Shelf(tmp_path / name)
        for seed in range(3):
            value = estimate(12.0 + seed, n=n, detail={"extractor": "digits-0123abcd"})
            shelf.ran("good", seed, None, metrics={"fid": {"last": value}})
        shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert "no common seed with a value" in store_comparison.stores_markdown(tmp_path / "a", tmp_path / "b")
    alike = store_comparison.stores_markdown(tmp_path / "a", tmp_path / "c")
    assert "same numbers" in alike
    assert "fid (n = 500, digits-0123abcd)" in alike
