"""Rulers of image metrics, saved samples, and tables that never show a FID without n and extractor."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from image_sets import REF, digits, rulers_of_digits, value_of
from rich.console import Console
from shelf import Shelf, estimate
from workers import ToySpec, about

from bench import artefacts, cli, compare, load, report, rulers, saved, table, terminal
from bench.api import Rng, UsageError
from bench.store import Planned

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


# rulers and saved samples


def test_the_rulers_lie_in_their_order_and_say_what_n_does() -> None:
    found = rulers.rulers(digits(), 300)
    largest = found[found["n"] == 300].set_index("set")["fid"]
    assert largest.index[0] == "test"
    assert largest.is_monotonic_increasing
    smaller = found[(found["set"] == "test") & (found["n"] == 250)]["fid"]
    assert len(smaller) == 1
    assert set(found["extractor"]) == {digits().extractor}
    gaussian = rulers.ruler_sets(digits(), 4_000, Rng(0))["pixel Gaussian"].flatten(1)
    expected = torch.cov(digits().train.flatten(1).T)
    error = torch.cov(gaussian.T) - expected
    assert float(error.norm() / expected.norm()) < 0.1


def test_the_command_writes_the_rulers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rulers", "--dataset", REF, "--samples", "80", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(arguments) == cli.GOOD
    assert "uniform noise" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "rulers.csv")
    assert {"n", "extractor", "fid", "kid", "precision", "recall", "class_entropy"} <= set(found.columns)
    assert (tmp_path / "rulers.md").exists()
    assert cli.main([*arguments[:-2], "--samples", "3"]) == cli.USAGE
    assert cli.main(["rulers", "--dataset", "two_moons"]) == cli.USAGE


def test_saved_samples_are_compared_with_their_own_training_images(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = about("digits", label=REF, ref="digits", params=load.find("datasets", REF).resolve())
    for name, samples in (("good", digits().valid), ("noise", rulers_of_digits()["uniform noise"])):
        spec = ToySpec(objective=about(name), dataset=dataset)
        attempt = shelf.store.begin(Planned.of(spec))
        both = {"own": samples[:90], "noise": "none", "data": samples[:90] / 0}
        artefacts.save(attempt.folder, lambda x: x.flatten(1).sum(1), both, digits(), Rng(0))
        attempt.finish({"status": "ok"})
        shelf.specs.append(spec)
    shelf.ran("without_images", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert cli.main(["fid", str(shelf.store.root), "--device", "cpu"]) == cli.GOOD
    assert "good" in capsys.readouterr().out
    found = pd.read_csv(shelf.store.root / "fid.csv").set_index("objective")
    assert found["fid"]["good"] == pytest.approx(value_of("fid", digits().valid[:90]))
    assert found["fid"]["noise"] > 20 * found["fid"]["good"]
    assert found["n"].tolist() == [90, 90]
    assert found["sampler"].tolist() == ["own", "own"]  # what is not finite leaves no images


def test_a_store_without_images_is_refused(shelf: Shelf) -> None:
    shelf.ran("good", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    with pytest.raises(UsageError, match="holds no run that left"):
        saved.saved(shelf.store.root, torch.device("cpu"))


# tables


def test_a_column_of_fid_never_stands_without_n_and_extractor(shelf: Shelf) -> None:
    value = estimate(12.0, n=500, detail={"extractor": "digits-0123abcd"}, unit="features²")
    shelf.ran("good", 0, None, metrics={"fid": {"last": value}, "kl": {"last": estimate(None, reason="n/a")}})
    frame = shelf.frame()
    assert frame[["fid", "fid_extractor", "fid_n"]].iloc[0].tolist() == [12.0, "digits-0123abcd", 500]
    assert table.summary(shelf.records())["fid_basis"].tolist() == ["n = 500, digits-0123abcd"]
    head = next(line for line in shelf.page().splitlines() if line.startswith("| objective"))
    heading = "line: fid, n = 500, digits-0123abcd"
    assert heading in head
    printed = io.StringIO()
    terminal.show(shelf.records(), Console(file=printed, width=200))
    assert heading in printed.getvalue()
    assert "`fid` (n = 500, digits-0123abcd) in features²" in shelf.page()
    page = report.render(shelf.store, shelf.records())
    assert "n = 500, digits-0123abcd" in re.sub("<[^>]*>", " ", page)


def test_values_of_other_features_or_another_n_are_not_set_against_each_other(tmp_path: Path) -> None:
    for name, n in (("a", 500), ("b", 1_000), ("c", 500)):
        shelf = Shelf(tmp_path / name)
        for seed in range(3):
            value = estimate(12.0 + seed, n=n, detail={"extractor": "digits-0123abcd"})
            shelf.ran("good", seed, None, metrics={"fid": {"last": value}})
        shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert "no common seed with a value" in compare.markdown(tmp_path / "a", tmp_path / "b")
    alike = compare.markdown(tmp_path / "a", tmp_path / "c")
    assert "same numbers" in alike
    assert "fid (n = 500, digits-0123abcd)" in alike
