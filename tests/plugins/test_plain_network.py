"""A module class that declares nothing is a network, and says in words what it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.api import UsageError, load_energy
from bench.cli.main import main
from bench.contract import check
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.results.store import Planned, Store
from bench.runner.executor import execute
from bench.runner.progress import WORKER, stackable
from bench.suites import expand, schema

SHAPED = """
import torch
from torch import nn

class _Part(nn.Module):
    def forward(self, x):
        return x.tanh()

class MyNet(nn.Module):
    "E of two layers."
    def __init__(self, shape, width=16):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(shape[0], width), _Part(), nn.Dropout(0.5), nn.Linear(width, 1))
    def forward(self, x):
        return self.layers(x) + 0.1 * x.square().sum(-1, keepdim=True)
"""
LAZY = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    def forward(self, x):
        return self.layers(x)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mynet.py"
    path.write_text(SHAPED, encoding="utf-8")
    return path


@pytest.mark.parametrize("source", [SHAPED, LAZY])
def test_a_plain_module_keeps_the_contract(source: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(source, encoding="utf-8")
    assert main(["check", str(file)]) == 0
    assert "its seeds train one by one, and it is told no noise level" in capsys.readouterr().out
    x = torch.randn(5, 2)
    assert builders.network(str(file), (2,), Rng(0, "init"))(x).shape == (5,)


def test_its_weights_are_those_of_the_seed_alone(file: Path) -> None:
    x = torch.randn(5, 2)
    first = builders.network(str(file), (2,), Rng(3, "init"))(x)
    torch.manual_seed(1)
    after = torch.random.get_rng_state()
    assert torch.equal(builders.network(str(file), (2,), Rng(3, "init"))(x), first)
    assert torch.equal(torch.random.get_rng_state(), after)
    assert not torch.equal(builders.network(str(file), (2,), Rng(4, "init"))(x), first)


def test_a_run_trains_it_and_gives_it_back(file: Path, tmp_path: Path) -> None:
    suite = tmp_path / "tiny.toml"
    suite.write_text(
        'name = "tiny"\nobjectives = ["denoising_score_matching", "diffusive_classification"]\nseeds = "0"\n'
        'datasets = ["two_moons"]\nmetrics = ["nll"]\nsave_weights = true\nbatch_seeds = true\n'
        f'[network]\nname = "{file}"\n[budget]\nsteps = 30\nbatch = 32\n'
        "[data]\nn_train = 200\nn_valid = 99\nn_test = 99\n",
        encoding="utf-8",
    )
    static, noise = expand.plan_runs(schema.read_suite(str(suite)), expand.Selection(), "cpu")
    assert "told no noise level; decorate it with @network()" in noise.skip
    assert not stackable(Planned.of(static))
    rows = execute([static, noise], Store(tmp_path / "store"), worker=WORKER, jobs=1)
    assert [row["status"] for row in rows] == ["ok", "skipped"], rows
    energy = load_energy(tmp_path / "store", "denoising_score_matching/two_moons/0", trust=[file])
    assert energy(torch.zeros(3, 2)).shape == (3,)


def test_the_command_line_names_it(file: Path) -> None:
    suite = schema.read_suite("smoke")
    selection = expand.Selection(("denoising_score_matching",), seeds=(0,), network=str(file))
    (run,) = expand.plan_runs(suite, selection, "cpu")
    assert (run.network.name, run.network.plain, run.network.params) == ("my_net", True, {})
    wide = expand.plan_runs(suite, expand.Selection(("denoising_score_matching",), network="mlp[width=9]"), "cpu")
    assert wide[0].network.params["width"] == 9
    assert main(["show", str(file)]) == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("shape, width=16", "shape, width", "must take the shape of one example or nothing; it asks for shape, width"),
        ("shape, width=16", "shape, *, width", "it asks for shape, width"),
        ("shape[0], width", "shape, width", "raised TypeError for examples of shape (2,)"),
        ("self.layers(x) +", "self.layers(x).expand(-1, 3) +", r"must give an energy for each example, (2,) or (2, 1)"),
        ("return self.layers(x)", "return None, self.layers(x)", "got tuple"),
        (
            "self.layers = nn.Sequential(",
            "self.layers = lambda x: x[:, :1]; (",
            "must have parameters",
        ),
        ("width, 1))", "width, 1)).requires_grad_(False)", "layers.0.weight is not: make it a buffer"),
        ("class _Part", "class Part", "found Part, MyNet: begin names of parts with _"),
    ],
)
def test_what_is_no_energy_is_refused_in_words(old: str, new: str, said: str, file: Path) -> None:
    file.write_text(SHAPED.replace("_Part()", "nn.Tanh()").replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        builders.network(str(file), (2,), Rng(0, "init"))
    assert said in str(refused.value)


def test_a_stack_or_a_noise_level_is_refused_in_words(file: Path) -> None:
    with pytest.raises(UsageError, match="of one seed"):
        builders.network(str(file), (2,), Rng([0, 1], "init"))
    with pytest.raises(UsageError, match="told no noise level"):
        builders.network(str(file), (2,), Rng(0, "init"), conditional=True)


def test_a_module_beside_a_declared_plugin_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from torch import nn\nfrom bench.api import objective\nclass Part(nn.Module): ...\n"
        "@objective(family='f', source='s')\ndef mine(energy, x, rng): return energy(x)\n",
        encoding="utf-8",
    )
    with pytest.raises(UsageError, match="found none"):
        registry.find("networks", str(path))
    assert check._find(str(path)).kind == "objectives"
