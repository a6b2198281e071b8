"""What ran is what the row says, and a fault is put down to its cause."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec
from bench.contract import data_rules
from bench.contract.rule import Broken
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.results.records import Record, read_records
from bench.results.store import Store
from bench.runner.code_check import changed_code
from bench.runner.single_run import run_single
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite

SUITE = """
name = "tiny"
objectives = ["denoising_score_matching"]
datasets = ["{dataset}"]
seeds = "0"
metrics = {metrics}
[network]
name = "mlp"
width = 8
depth = 1
[optimiser]
warm_up = 2
[budget]
steps = 20
batch = 16
[evaluation]
checkpoints = 2
samples = 60
sampler_steps = 4
"""
OBJECTIVE = """
from torch import Tensor
{imports}
from bench.api import Energy, Rng, objective

@objective(family="test", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    {body}
"""
DATASET = """
import numpy as np
import torch
from bench.api import Data, Rng, dataset, image_data

@dataset(source="this test")
def mine(rng: Rng) -> Data:
    x = rng.normal((*rng.batch_shape({n}), 2))
    {change}
    return {made}
"""


def written(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def suite(folder: Path, dataset: str = "two_moons", metrics: str = '["kl"]') -> Path:
    return written(folder, "tiny.toml", SUITE.format(dataset=dataset, metrics=metrics))


def planned(folder: Path, *objectives: str, **of_suite: str) -> list[RunSpec]:
    return plan_runs(read_suite(str(suite(folder, **of_suite))), Selection(objectives or None, seeds=(0,)), "cpu")


def objective(folder: Path, body: str, imports: str = "", name: str = "mine.py") -> Path:
    return written(folder, name, OBJECTIVE.format(body=body, imports=imports))


def data_set(folder: Path, *, n: int = 300, change: str = "pass", made: str = "") -> Path:
    splits = "train=x[..., :200, :], valid=x[..., -100:-50, :], test=x[..., -50:, :]"
    return written(folder, "data.py", DATASET.format(n=n, change=change, made=made or f'Data("mine", {splits})'))


def ran(folder: Path, *arguments: str) -> list[Record]:
    out = folder / "out"
    main(["run", "--suite", str(suite(folder)), "--seed", "0", "--jobs", "1", "--out", str(out), *arguments])
    return read_records(Store(out))


def test_code_that_is_edited_after_the_plan_is_named(tmp_path: Path) -> None:
    path = objective(tmp_path, "return energy(x + shift(x))", "from helper import shift")
    helper = written(tmp_path, "helper.py", "def shift(x):\n    return 0.1 * x\n")
    (spec,) = planned(tmp_path, str(path))
    assert changed_code(spec) == ""
    helper.write_text("def shift(x):\n    return 0.9 * x  # edited\n", encoding="utf-8")
    assert changed_code(spec) == str(helper)
    helper.write_text("def shift(x):\n    return 0.1 * x  # a remark changes nothing\n", encoding="utf-8")
    assert changed_code(spec) == ""
    path.unlink()
    assert changed_code(spec) == str(path)


@pytest.mark.long
def test_a_run_whose_code_is_edited_meanwhile_has_no_result_and_is_tried_again(tmp_path: Path) -> None:
    body = textwrap.indent(
        "from pathlib import Path\nfile = Path(__file__)\n"
        "file.write_text(file.read_text().replace('0.1 *', '0.9 *'))\nreturn 0.1 * energy(x)",
        "    ",
    ).strip()
    path = objective(tmp_path, body)
    (record,) = ran(tmp_path, "--objective", str(path))
    assert record.status == "interrupted"
    assert record.reason.startswith(f"changed since it was planned: {path}")


def test_a_plugin_finds_the_modules_beside_it_and_not_those_of_the_same_name_beside_another(tmp_path: Path) -> None:
    shifts = []
    for k in (1, 2):
        path = objective(tmp_path / str(k), "return energy(x) * FACTOR", "from helper import FACTOR")
        written(tmp_path / str(k), "helper.py", f"FACTOR = {k}\n")
        built = builders.objective(str(path), torch.zeros(4, 2), Rng(0))
        shifts.append(float(built(lambda x: x.sum(-1) + 1, torch.zeros(4, 2), Rng(0)).mean()))
    assert shifts == [1, 2]


def test_two_objectives_of_one_file_name_are_two_entries(tmp_path: Path) -> None:
    paths = [objective(tmp_path / str(k), f"return {k} * energy(x)") for k in (1, 2)]
    for path in paths:  # one after the other, into one store
        records = ran(tmp_path, "--objective", str(path))
    assert len({record.objective for record in records}) == len(records) == 2
    assert all("mine (mine.py, " in record.objective for record in records)


def test_an_objective_that_changes_the_training_data_in_place_is_found_out(tmp_path: Path) -> None:
    body = "x.add_(200.0)\n    return energy(x)"
    harmless = objective(tmp_path / "a", body)
    (spec,) = planned(tmp_path / "a", str(harmless))
    row = run_single(spec, tmp_path / "a", lambda point: None)
    assert row["status"] == "ok", "a batch is a copy, the rehearsal's too"
    memory = OBJECTIVE.replace("def mine(energy: Energy, x: Tensor, rng: Rng) -> Tensor:\n    {body}", "{body}")
    harmful = memory.format(
        imports="from torch import nn",
        body="class Mine(nn.Module):\n"
        "    def __init__(self, x_train: Tensor, rng: Rng) -> None:\n"
        "        super().__init__()\n        x_train.add_(200.0)\n\n"
        "    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:\n        return energy(x)\n",
    )
    (spec,) = planned(tmp_path / "b", str(written(tmp_path / "b", "mine.py", harmful)))
    with pytest.raises(RuntimeError, match="changed the training data in place"):
        run_single(spec, tmp_path / "b", lambda point: None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"change": "x[..., 3, 0] = float('nan')"}, r"train of data set mine must be finite; 1 of its 400 numbers"),
        ({"change": "x = x.double()"}, r"must be of float32; got float64: use .float\(\)"),
        ({"change": "x = (10 * x).long()"}, r"must be of float32; got int64"),
        ({"made": "Data('mine', train=x.numpy(), valid=x, test=x)"}, r"must be a tensor; got ndarray"),
        ({"made": "Data('mine', train=x[:0], valid=x, test=x)"}, r"n at least 1; got shape \(0, 2\)"),
    ],
)
def test_a_fault_of_the_data_is_said_of_the_data(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        builders.dataset(str(data_set(tmp_path, **more)), Rng(0, "data"))


def test_a_data_set_that_raises_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data_set(tmp_path, change="np.load('nowhere.npy')")
    assert main(["plan", "--suite", str(suite(tmp_path)), "--dataset", str(path)]) == 2
    assert "data set mine raised FileNotFoundError: " in capsys.readouterr().err


def test_fewer_examples_than_a_batch_are_enough(tmp_path: Path) -> None:
    few = "Data('mine', train=x[..., :5, :], valid=x, test=x)"
    (spec,) = planned(tmp_path, dataset=str(data_set(tmp_path, made=few)), metrics='["sliced_wasserstein"]')
    row = run_single(spec, tmp_path, lambda point: None)
    assert row["status"] == "ok"
    assert row["work"]["examples"] == 20 * 16


@pytest.mark.parametrize("broken", ["denoising_ssim", "sliced_wasserstein"])
def test_a_metric_that_raises_costs_its_own_value_alone(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = builders.metric

    def with_a_fault(ref: str) -> builders.Metric:
        def fail(*_: object) -> None:
            raise ValueError("the window is larger\nthan the image")

        found = metric(ref)
        return builders.Metric(found.info, fail) if ref == broken else found  # type: ignore[arg-type]

    (spec,) = planned(tmp_path, dataset="digits[n_train=64,n_valid=16,n_test=40]", metrics=f'["{broken}", "kid"]')
    monkeypatch.setattr(builders, "metric", with_a_fault)
    row = run_single(spec, tmp_path, lambda point: None)
    assert row["status"] == "ok"
    found = row["metrics"][broken]["last"]
    assert (found["value"], found["certified"]) == (None, False)
    assert found["reason"] == "n/a (ValueError: the window is larger)"
    assert row["metrics"]["kid"]["last"]["value"] is not None


def test_a_notebooks_backend_does_not_stop_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    ran(tmp_path)
    assert (tmp_path / "out" / "leaderboard.md").is_file()


def test_a_plan_of_another_version_is_a_sentence(tmp_path: Path) -> None:
    ran(tmp_path)
    (plan,) = (tmp_path / "out" / "plans").glob("*.json")
    plan.write_text(plan.read_text(encoding="utf-8").replace('"seed": 0', '"seed": "zero"'), encoding="utf-8")
    assert main(["table", str(tmp_path / "out")]) == 2
    shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("file", ["plans/*.json", "tiny/*/*/*/*/row.json"])
def test_what_a_newer_version_wrote_is_refused(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(tmp_path)
    (path,) = (tmp_path / "out").glob(file)
    path.write_text(
        path.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 2'), encoding="utf-8"
    )
    assert main(["table", str(tmp_path / "out")]) == 2
    assert "is of schema 2; this version reads schema 1 or older" in capsys.readouterr().err


def test_reading_a_store_runs_no_code_that_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = "image_data('mine', rng, *[np.zeros((40, 1, 8, 8), np.uint8) + np.arange(40)[:, None, None, None]] * 3)"
    path = data_set(tmp_path, made=f"{pixels}")
    ran(tmp_path, "--dataset", str(path))
    out, trap = tmp_path / "out", tmp_path / "trap"
    (attempt,) = Store(tmp_path / "out").attempts()
    row = attempt.row() or {}
    (attempt.folder / "row.json").unlink()
    np.savez(attempt.folder / "samples.npz", own=np.zeros((40, 1, 8, 8), np.float32))
    attempt.finish(row)
    path.write_text(f"open({str(trap)!r}, 'w')\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    for command in (["table"], ["report", "--out", str(tmp_path / "page.html")], ["verify"], ["image-metrics"]):
        main([command[0], str(out), *command[1:]])
        assert not trap.exists(), command
    assert f"add --trust {path}" in capsys.readouterr().err
    main(["image-metrics", str(out), "--trust", str(path)])
    assert trap.exists()


def test_a_file_that_a_data_set_reads_is_part_of_its_identity(tmp_path: Path) -> None:
    points = tmp_path / "points.npy"
    read = f"x = x + torch.from_numpy(np.load({str(points)!r}))"
    cells = []
    for spread in (1.0, 5.0, 1.0):
        np.save(points, np.random.default_rng(0).normal(0, spread, (300, 2)).astype(np.float32))
        (spec,) = planned(tmp_path, dataset=str(data_set(tmp_path, change=read)))
        cells.append(spec.cell_id)
    assert cells[0] == cells[2] != cells[1]
    assert run_single(spec, tmp_path, lambda point: None)["status"] == "ok"
    np.save(points, np.zeros((300, 2), np.float32))
    with pytest.raises(UsageError, match="must see the data it was planned with"):
        run_single(spec, tmp_path, lambda point: None)


DECLARED = """
from pathlib import Path
import numpy as np, torch
from bench.api import Data, Rng, dataset
@dataset(source="mine"DECLARATION)
def cloud(rng: Rng) -> Data:
    x = torch.from_numpy(np.load(Path(__file__).with_name("points.npy")))
    CHANGE
    x = x + 0.1 * rng.normal_like(x)
    return Data("cloud", train=x[:200], valid=x[200:250], test=x[250:])
"""


def cloud(folder: Path, declaration: str, change: str = "") -> Path:
    """A data set that reads `points.npy` beside it."""
    save_points(folder, 1.0)
    path = folder / "cloud.py"
    path.write_text(DECLARED.replace("DECLARATION", declaration).replace("CHANGE", change), encoding="utf-8")
    return path


def save_points(folder: Path, spread: float) -> None:
    np.save(folder / "points.npy", np.random.default_rng(0).normal(0, spread, (300, 2)).astype(np.float32))


def test_a_declared_file_is_hashed_when_planned_and_when_read(tmp_path: Path) -> None:
    path = cloud(tmp_path, ', files=("points.npy",)')
    (before,) = planned(tmp_path, dataset=str(path))
    assert run_single(before, tmp_path, lambda point: None)["status"] == "ok"
    save_points(tmp_path, 5.0)
    (after,) = planned(tmp_path, dataset=str(path))
    assert before.cell_id != after.cell_id
    with pytest.raises(UsageError, match="must see the data it was planned with"):
        run_single(before, tmp_path, lambda point: None)
    (tmp_path / "points.npy").unlink()
    with pytest.raises(UsageError, match=r"declares the file 'points.npy', which must exist"):
        planned(tmp_path, dataset=str(path))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    change = 'np.save(Path(__file__).with_name("points.npy"), x.numpy() + 1)'
    with pytest.raises(UsageError, match="changed while it was read"):
        planned(tmp_path, dataset=str(cloud(tmp_path, ', files=("points.npy",)', change)))


@pytest.mark.parametrize(
    ("declaration", "seen"),
    [
        ("", 'reads points.npy, which may change unseen: declare @dataset(files=("points.npy",))'),
        (', files=("points.npy",)', "hashes points.npy"),
    ],
)
def test_check_refuses_a_file_that_the_identity_does_not_know(tmp_path: Path, declaration: str, seen: str) -> None:
    ref = str(cloud(tmp_path, declaration))
    try:
        said = data_rules.RULES["identity"](registry.find("datasets", ref), ref)
    except Broken as broken:
        said = str(broken)
    assert said == seen
