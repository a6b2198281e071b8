"""A trained energy comes back as it was, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.api import UsageError, load_energy
from bench.cli.commands import run
from bench.cli.main import main
from bench.core.rng import Rng
from bench.plugins import builders
from bench.results.find_run import find_run
from bench.results.store import WEIGHTS, Store
from bench.runner.executor import execute
from bench.runner.progress import WORKER
from bench.suites import expand, schema

SUITE = """
name = "tiny"
objectives = ["denoising_score_matching", "multiscale_denoising_score_matching"]
datasets = ["two_moons"]
seeds = "0"
metrics = ["nll"]
save_weights = {save}
[network]
name = "{network}"
width = 8
[optimiser]
warm_up = 2
[budget]
steps = 60
batch = 32
[evaluation]
checkpoints = 2
[data]
n_train = 256
n_valid = 256
n_test = 256
"""
PAIRS = ("denoising_score_matching/two_moons/0", "multiscale_denoising_score_matching/two_moons/0")


def trained(
    folder: Path, objectives: tuple[str, ...] | None = None, network: str = "mlp", *, save: bool = True
) -> Path:
    path = folder / "tiny.toml"
    path.write_text(SUITE.format(save=str(save).lower(), network=network), encoding="utf-8")
    specs = expand.plan_runs(schema.read_suite(str(path)), expand.Selection(objectives=objectives), "cpu")
    rows = execute(specs, Store(folder / "store"), worker=WORKER, jobs=1)
    assert [row["status"] for row in rows] == ["ok"] * len(specs), rows
    return folder / "store"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("saved"))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("weights", ["last", "ema", "best"])
def test_the_loaded_energy_has_the_likelihood_that_the_row_states(store: Path, pair: str, weights: str) -> None:
    loaded = load_energy(store, pair, weights=weights)  # type: ignore[arg-type]
    data = builders.dataset("two_moons", Rng(0, "data"), **loaded.spec.dataset.params)
    row = find_run(store, pair).row()
    assert row is not None
    found = builders.metric("nll")(loaded.energy, data.test, data, Rng(0, "eval")).value
    assert found == pytest.approx(row["metrics"]["nll"][weights]["value"], abs=1e-5)


def test_the_loaded_energy_is_a_function_of_points_with_a_score(store: Path) -> None:
    energy = load_energy(store, PAIRS[0])
    assert energy.weights == "best"
    x = torch.tensor([[0.3, -0.2], [1.0, 0.5]])
    assert energy(x).shape == (2,)
    step = 1e-2 * torch.eye(2)
    slopes = [float(energy(x[:1] - h) - energy(x[:1] + h)) / 2e-2 for h in step]
    np.testing.assert_allclose(energy.score(x)[0].numpy(), slopes, rtol=1e-2, atol=1e-2)
    with pytest.raises(UsageError, match=r"points must be \(n, \*\(2,\)\)"):
        energy(torch.zeros(4, 3))


def test_a_noise_conditional_energy_keeps_its_levels(store: Path) -> None:
    energy = load_energy(store, PAIRS[1]).energy
    assert energy.levels is not None
    at = energy.at(energy.levels[1])
    assert at is not None
    x = torch.zeros(1, 2)
    assert not torch.equal(at(x), energy(x))


def test_a_run_is_found_by_its_label_its_folder_and_its_id(store: Path) -> None:
    attempt = find_run(store, PAIRS[0])
    names = ["DSM/two_moons/0", str(attempt.folder.relative_to(store)), attempt.intent()["run_id"]]
    assert [find_run(store, name).folder for name in names] == [attempt.folder] * 3
    with pytest.raises(UsageError, match=r"no completed run 'DSM/two_moons/7' in .*; it has denoising_score_matching/"):
        load_energy(store, "DSM/two_moons/7")
    with pytest.raises(UsageError, match=r"no completed run .*; it has none"):
        load_energy(store / "nowhere", "DSM/two_moons/0")


def test_weights_are_hashed_like_the_other_files(store: Path, tmp_path: Path) -> None:
    assert Store(store).verify() == []
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    path = find_run(copy, PAIRS[0]).folder / WEIGHTS
    assert path.stat().st_size < 20_000
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    assert any(WEIGHTS in line for line in Store(copy).verify())
    with pytest.raises(UsageError, match="was changed since"):
        load_energy(copy, PAIRS[0])


def test_a_network_of_ones_own_is_run_only_if_trusted_and_only_if_it_is_the_same(tmp_path: Path) -> None:
    network = tmp_path / "own.py"
    network.write_text(OWN.format(sign=""), encoding="utf-8")
    store = trained(tmp_path, ("denoising_score_matching",), str(network))
    with pytest.raises(UsageError, match="look at it, then give trust="):
        load_energy(store, PAIRS[0])
    assert load_energy(store, PAIRS[0], trust=[network])(torch.zeros(3, 2)).shape == (3,)
    network.write_text(OWN.format(sign="-"), encoding="utf-8")
    with pytest.raises(UsageError, match="its code has changed since"):
        load_energy(store, PAIRS[0], trust=[network])


def test_a_run_without_weights_says_how_to_keep_them(store: Path, tmp_path: Path) -> None:
    plain = trained(tmp_path, ("denoising_score_matching",), save=False)
    with pytest.raises(UsageError, match="kept no weights; run it again into another store with --save-weights"):
        load_energy(plain, PAIRS[0])
    with pytest.raises(UsageError, match=r"has the weights best, ema, last; got 'worst'"):
        load_energy(store, PAIRS[1], weights="worst")  # type: ignore[arg-type]


def test_weights_that_are_asked_for_too_late_are_missed_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["--objective", "denoising_score_matching", "--dataset", "two_moons", "--seed", "0", "--jobs", "1"]
    words = ["run", "--suite", "smoke", *one]
    for more, said in (((), 0), (("--save-weights",), 1)):
        assert main([*words, *more, "--out", str(tmp_path / "store")]) == 0
        assert capsys.readouterr().err.count("1 of 1 runs were finished before and kept no weights") == said
    assert main([*words, "--save-weights", "--out", str(tmp_path / "other")]) == 0
    assert "kept no weights" not in capsys.readouterr().err


def test_run_keeps_weights_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(run, "run_suite", lambda specs, *_, **__: kept.extend(s.save_weights for s in specs) or 0)
    for more in ((), ("--save-weights",)):
        assert main(["run", "--suite", "smoke", "--objective", "denoising_score_matching", *more]) == 0
    assert kept == [False, True]


OWN = """
import torch
from typing import Annotated
from bench.api import Integer, Rng, network

@network()
class Own(torch.nn.Module):
    def __init__(self, event_shape, rng, conditional=False, *, width: Annotated[int, Integer(1, 99)] = 8):
        super().__init__()
        shape = rng.batch_shape(width)
        self.centres = torch.nn.Parameter(rng.normal((*shape, *event_shape)))
    def forward(self, x):
        return {sign}(x[..., None, :] - self.centres).square().sum(-1).tanh().sum(-1)
"""
