"""Points of one's own by the path of their file: the same at every seed, split by their rows, refused in words."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.api import UsageError, load_energy
from bench.cli.main import main
from bench.common.references import split_list
from bench.contract import check
from bench.core.rng import Rng
from bench.plugins import builders
from bench.results.find_run import find_run
from bench.suites import expand, schema

SUITE = """
name = "mine"
objectives = ["energy_discrepancy"]
datasets = ["{file}"]
seeds = "0-1"
save_weights = true
[network]
name = "fourier_mlp"
width = 16
confinement = 1.0
[optimiser]
lr = 5e-3
warm_up = 10
[budget]
steps = 150
batch = 64
[evaluation]
checkpoints = 2
samples = 100
[data]
n_train = 12
"""


def ring(n: int = 600, d: int = 2) -> np.ndarray:
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, 2 * math.pi, n)
    columns = [3 + 2 * np.cos(angle), 100 * np.sin(angle), *generator.normal(size=(max(0, d - 2), n))][:d]
    return np.stack(columns, 1) + 0.1 * generator.normal(size=(n, d))


def write(path: Path, rows: np.ndarray, header: str = "left,right") -> Path:
    lines = [header] * bool(header) + [",".join(map(repr, map(float, row))) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "points.csv", ring())


def test_a_file_of_points_keeps_the_contract_of_a_data_set(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    said = capsys.readouterr().out
    assert "every seed sees the same examples, as declared" in said
    assert "local scale 0.0" in said
    assert main(["show", f"{file}[test=0.3]"]) == 0


def test_formats_agree_and_a_first_line_of_numbers_is_a_row(file: Path, tmp_path: Path) -> None:
    rows = ring()
    np.save(tmp_path / "points.npy", rows)
    write(tmp_path / "bare.csv", rows, header="")
    x = builders.dataset(str(file), Rng(0, "data"))
    for other in ("points.npy", "bare.csv"):
        y = builders.dataset(str(tmp_path / other), Rng(5, "data"))
        assert torch.equal(x.train, y.train)
        assert x.content == y.content
    assert x.train.shape[1:] == (2,)
    assert len(x.train) + len(x.valid) + len(x.test) == len(rows)


def test_the_training_rows_are_standardised_and_the_rest_likewise(file: Path) -> None:
    data = builders.dataset(str(file), Rng(0, "data"))
    torch.testing.assert_close(data.train.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert data.offset is not None
    assert data.unit is not None
    plain = builders.dataset(f"{file}[standardise=no]", Rng(0, "data"))
    torch.testing.assert_close(data.test * data.unit + data.offset, plain.test, atol=1e-3, rtol=1e-4)


def test_a_path_may_have_commas_and_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "a, b [2]"
    folder.mkdir()
    ref = f"{write(folder / 'points.csv', ring())}[test=0.3]"
    assert split_list(ref) == (ref,)
    assert len(builders.dataset(ref, Rng(0, "data")).test) > 150


def test_a_row_stays_in_its_part_whatever_else_is_in_the_file(file: Path, tmp_path: Path) -> None:
    def held_out(path: Path) -> set[bytes]:
        return {row.tobytes() for row in builders.dataset(f"{path}[standardise=no]", Rng(0, "data")).test.numpy()}

    shuffled = write(tmp_path / "shuffled.csv", np.concatenate([ring()[::-1], ring()[:50], 1 + ring(100)]))
    assert held_out(file) < held_out(shuffled)


def test_one_command_ranks_it_by_its_likelihood_and_gives_the_energy_in_its_own_units(tmp_path: Path) -> None:
    file = write(tmp_path / "points.csv", ring())
    (tmp_path / "mine.toml").write_text(SUITE.format(file=file), encoding="utf-8")
    store = tmp_path / "store"
    assert main(["run", "--suite", str(tmp_path / "mine.toml"), "--jobs", "1", "--out", str(store)]) == 0
    page = (store / "leaderboard.md").read_text(encoding="utf-8")
    assert "points.csv: `nll_best` in nats" in page
    assert "not ranked  |" not in page
    assert (store / "plots" / "mine-densities-points.csv.png").is_file()
    energy = load_energy(store, "energy_discrepancy/points.csv/0", weights="best")
    row = find_run(store, "energy_discrepancy/points.csv/0").row()
    assert row is not None
    # by Riemann's sum in the file's units over a box of twice its range
    axes = [torch.linspace(-3, 9, 400), torch.linspace(-310, 310, 400)]
    grid = torch.cartesian_prod(*axes)
    cell = float((axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0]))
    held_out = builders.dataset(f"{file}[standardise=no]", Rng(0, "data")).test
    nll = float(energy(held_out).mean() + (-energy(grid)).double().logsumexp(0)) + math.log(cell)
    stated = row["metrics"]["nll"]["best"]
    assert stated["certified"], stated["reason"]
    assert nll == pytest.approx(stated["value"], abs=0.02)


@pytest.mark.parametrize(("d", "grid"), [(1, True), (2, True), (5, False)])
def test_a_likelihood_is_had_in_one_and_two_dimensions(d: int, grid: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "points.csv", ring(d=d), header="")
    data = builders.dataset(str(path), Rng([0, 1], "data"))
    assert (data.grid is not None) == grid
    assert data.train.shape[0] == 2
    assert data.train.shape[2:] == (d,)


BAD = {
    "words": ("a,b\n1,2\n3,high\n", "columns must be numbers; column 'b' of points.csv has 'high'"),
    "missing": ("a,b\n1,2\n3,\n", "has 1, the first in row 2, column 'b': drop these rows"),
    "constant": ("a,b\n1,2\n1,3\n", "every column must vary; column 'a' of points.csv is constant"),
    "few": ("a,b\n1,2\n2,3\n", "each part needs 10 examples; points.csv has 2"),
    "empty": ("", "points.csv cannot be read as .csv"),
    "only a header": ("a,b\n", "must have a row for each example"),
    "semicolons": ("a;b\n1;2\n", "columns must be separated by commas; the first line of points.csv is 'a;b'"),
    "a title": ("# my experiment\n1,2\n3,4\n", "names 1 columns, and the lines below it have more: name each column"),
    "more than names": ("a,b\n1,2,3\n4,5,6\n", "names 2 columns, and the lines below it have more"),
    "a number of each row": (",a,b\n0,1,2\n1,3,4\n", "column 1 of points.csv has no name; if it numbers the rows"),
    "numbers for names": (
        "0,1\n1.5,2\n3,4\n",
        "which may be names or a point: leave names out, or write",
    ),
    "half a row": ("1.0,?\n1,2\n3,4\n", "must be names or numbers; it has '1.0' and '?': name each column"),
    "ragged": ("1,2\n1,2,3\n", "points.csv cannot be read as .csv"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_file_that_is_no_table_of_numbers_is_refused_in_words(fault: str, tmp_path: Path) -> None:
    text, said = BAD[fault]
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        builders.dataset(str(path), Rng(0, "data"))
    assert said in str(refused.value)


def test_a_refused_file_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "points.csv").write_text(BAD["words"][0], encoding="utf-8")
    assert main(["plan", "--suite", "points", "--dataset", str(tmp_path / "points.csv")]) == 2
    assert "drop or encode it" in capsys.readouterr().err


def test_other_arrays_and_folders_are_refused_in_words(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((20, 8, 8)))
    np.save(tmp_path / "complex.npy", np.ones((20, 2), complex))
    (tmp_path / "pictures").mkdir()
    said = {
        "images.npy": "pixels of images.npy must be bytes; got float64",
        "complex.npy": "must hold real numbers; got complex128",
        "pictures": "a folder of images must hold one",
        "nowhere.csv": "there is no file",
    }
    for name, words in said.items():
        with pytest.raises(UsageError) as refused:
            builders.dataset(str(tmp_path / name), Rng(0, "data"))
        assert words in str(refused.value)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "points.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="needs pyarrow, which is not installed"):
        builders.dataset(str(tmp_path / "points.parquet"), Rng(0, "data"))


def test_fewer_rows_than_a_batch_stop_the_plan(tmp_path: Path) -> None:
    path = write(tmp_path / "points.csv", ring(80))
    ref = f"{path}[test=0.5,valid=0.3]"
    with pytest.raises(UsageError, match=r"a batch of 64 needs as many rows to train on; points.csv leaves \d+"):
        expand.plan_runs(schema.read_suite("smoke"), expand.Selection(datasets=(ref,)), "cpu")


def test_an_edited_file_is_another_cell(file: Path) -> None:
    def cells() -> set[str]:
        selection = expand.Selection(("denoising_score_matching",), (str(file),), (0, 1))
        return {run.cell_id for run in expand.plan_runs(schema.read_suite("smoke"), selection, "cpu")}

    before = cells()
    assert len(before) == 1
    write(file, ring()[:-1])
    assert not before & cells()


def test_a_data_set_may_declare_that_every_seed_sees_the_same(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    body = (
        "import torch\nfrom bench.api import Data, Rng, dataset\n@dataset(source='s'{fixed})\ndef own(rng):\n"
        "    parts = [Rng(k).normal((50, 2)).expand(*rng.batch_shape(50), 2) for k in range(3)]\n"
        "    return Data('own', *parts)\n"
    )
    broken = []
    for fixed in ("", ", fixed=True"):
        path.write_text(body.format(fixed=fixed), encoding="utf-8")
        broken.append([f.rule for f in check.check_plugin(str(path)) if not f.passed])
    assert broken == [["private randomness"], []]
