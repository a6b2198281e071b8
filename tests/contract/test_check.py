"""Everything discovered keeps the contract, and files with the mistakes of other libraries do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.contract import check, metric_rules, objective_rules
from bench.contract.rule import Broken
from bench.plugins import registry
from tests.helpers.dataset_params import ABSENT
from tests.helpers.mistaken_objectives import FAKES, HEADER

PLUGINS = [(kind, name) for kind in registry.FOLDERS for name in registry.names(kind) if name not in ABSENT]
INFOS = {name: registry.find("objectives", name).info for name in registry.names("objectives")}
WITHOUT_MINIMISER = [name for name, info in INFOS.items() if info.minimiser == "none"]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_every_plugin_keeps_the_contract(kind: str, name: str) -> None:
    if kind == "denoisers" and (reason := registry.find("denoisers", name).info.missing):
        pytest.skip(reason)
    findings = check.check_plugin(name)
    assert findings
    assert not [f"{f.rule}: {f.detail}" for f in findings if not f.passed]


def test_objectives_without_a_minimiser_are_few_and_say_where_else_they_are_stationary() -> None:
    assert len(WITHOUT_MINIMISER) <= len(INFOS) // 3
    controls = {name for name, info in INFOS.items() if info.control}
    assert controls <= set(WITHOUT_MINIMISER)
    assert {name for name in WITHOUT_MINIMISER if INFOS[name].stationary is None} == controls


def test_a_check_says_which_test_applied_or_that_none_did(tmp_path: Path) -> None:
    path = tmp_path / "fake.py"
    body = "def fake(energy, x, rng):\n    return energy(x) - energy(mala(energy, x, rng, steps=1, step_size=0.5).x)\n"
    said = []
    for declared in ('minimiser="none"', 'minimiser="none", stationary="data"', ""):
        path.write_text(f"{HEADER}\n@objective(**family, max_dim=1, {declared})\n{body}", encoding="utf-8")
        said.append(objective_rules.RULES["minimiser"](registry.find("objectives", str(path)), str(path)))
    assert "no test applies" in said[0]
    assert "of the data's energy" in said[1]
    assert "of the minimiser" in said[2]


@pytest.mark.parametrize("mistake", FAKES)
def test_a_known_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    rule, code = FAKES[mistake]
    path = tmp_path / "fake.py"
    path.write_text(HEADER + code, encoding="utf-8")
    broken = {finding.rule: finding.detail for finding in check.check_plugin(str(path)) if not finding.passed}
    assert rule in broken, broken
    assert broken[rule]


BROKEN_DATA = """
import torch
from bench.api import Count, Data, Grid, dataset

@dataset(source="nobody")
def fake(rng, *, n_train: Count = 2000) -> Data:
    def sample(n, rng):
        return {sample}
    train, valid, test = (sample(n, rng) for n in (n_train, 500, 500))
    {before}
    return Data("fake", train, valid, test, grid=Grid((-8.0, -8.0), (8.0, 8.0)),
                log_density=lambda x: {log_density}, score=lambda x: {score})
"""
GOOD_DATA = {
    "sample": "rng.normal((*rng.batch_shape(n), 2))",
    "before": "",
    "log_density": "-0.5 * x.square().sum(-1) - 1.8378770664093453",
    "score": "-x",
}


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("", {}),
        ("private randomness", {"sample": "torch.randn((*rng.batch_shape(n), 2))"}),
        ("splits", {"before": "valid = train[..., :500, :]"}),
        ("stack equals solo", {"sample": "rng.normal((*rng.batch_shape(n), 2)).sort(0).values"}),
        ("density", {"log_density": "-0.5 * x.square().sum(-1)"}),
        ("density", {"sample": "1.2 * rng.normal((*rng.batch_shape(n), 2))"}),
        ("density", {"score": "x"}),
    ],
)
def test_a_mistaken_data_set_is_found(rule: str, change: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "fake.py"
    path.write_text(BROKEN_DATA.format(**{**GOOD_DATA, **change}), encoding="utf-8")
    broken = {finding.rule for finding in check.check_plugin(str(path)) if not finding.passed}
    assert (rule in broken) if rule else not broken


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("", "float(score(energy, data.test).square().mean())"),
        ("energy's zero", "float(energy(data.test).mean())"),
        ("private randomness", "float(torch.rand(()))"),
        ("estimate", "float('nan')"),
    ],
)
def test_a_mistaken_metric_is_found(rule: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "fake.py"
    path.write_text(
        "import torch\nfrom bench.api import Estimate, metric, score\n"
        "@metric(needs=set(), unit='1')\ndef fake(energy, samples, data, rng) -> Estimate:\n"
        f"    return Estimate({value})\n",
        encoding="utf-8",
    )
    broken = {finding.rule for finding in check.check_plugin(str(path)) if not finding.passed}
    assert (rule in broken) if rule else not broken


def test_a_network_that_ignores_sigma_is_found(tmp_path: Path) -> None:
    path = tmp_path / "fake.py"
    path.write_text(
        "import torch\nfrom bench.api import network\n@network()\nclass Fake(torch.nn.Module):\n"
        "    def __init__(self, event_shape, rng, conditional=False):\n"
        "        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(rng.uniform((*rng.batch_shape(1),)))\n"
        "    def forward(self, x, *sigma):\n"
        "        return self.scale * x.square().sum(-1)\n",
        encoding="utf-8",
    )
    assert {finding.rule for finding in check.check_plugin(str(path)) if not finding.passed} == {"conditional"}


HARD_CODED = """
@objective(**family)
def fake(energy, x, rng):
    z = torch.randn(32, 2, dtype=x.dtype)
    return energy(x) - energy(x + z)
"""


def test_a_fault_is_one_line_with_the_line_of_the_file_that_is_to_blame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fake.py"
    path.write_text(HEADER + HARD_CODED, encoding="utf-8")
    assert main(["check", str(path), "--draws", "512"]) == 3
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    number = path.read_text(encoding="utf-8").splitlines().index("    z = torch.randn(32, 2, dtype=x.dtype)") + 1
    (line,) = (line for line in faults if line.startswith("FAIL  private randomness"))
    assert f"[fake.py:{number}: z = torch.randn(32, 2, dtype=x.dtype)]" in line
    assert "not tried for that reason: event shape, stack equals solo, resume, own sampler, minimiser" in line
    assert len(faults) <= 3


def test_an_error_names_its_line_once_for_all_rules_that_it_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fake.py"
    path.write_text(
        f"{HEADER}\n@objective(**family)\ndef fake(energy, x, rng):\n    return energy(x).no_such()\n", encoding="utf-8"
    )
    assert main(["check", str(path)]) == 3
    (fault,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert fault.startswith("FAIL  loss: AttributeError: ")
    assert ": return energy(x).no_such()]; the same breaks: " in fault
    assert "minimiser" in fault


def test_all_mistakes_of_a_declaration_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fake.py"
    path.write_text(
        f"{HEADER}\n@objective(**family, divergence='a contractoin', bias={{'k': 1}}, proof={{'m': 2, 'sigma': 90.0}}, "
        "label='a label that is much too long', minimiser='dta', stationary='nowhere')\n"
        "def fake(energy, x, rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.3):\n    return energy(x)\n",
        encoding="utf-8",
    )
    (finding,) = check.check_plugin(str(path), only=["declaration"])
    assert not finding.passed
    for word in ("unknown divergence 'a contractoin'", "bias names 'k'", "proof names 'm'", "must lie in [0.01, 1]",
                 "at most 18 characters", "minimiser must be one of", "stationary must be one of"):  # fmt: skip
        assert word in finding.detail, word


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(energy, x, rng, *, k=1):\n    return energy(x)\n", "f takes (energy, x, rng), as an objective does"),
        ("class F:\n    def forward(self, energy, x, rng): ...\n", "F takes (energy, x, rng), as an objective does"),
        ("def f(rng, *, n_train=1): ...\n", "put @dataset(...) from bench.api before it"),
        ("def f(energy, samples, data, rng): ...\n", "as a metric does"),
        ("def f(y, sigma): ...\n", "put @denoiser(...)"),
        ("x = 1\n", "python -m bench new objective NAME"),
    ],
)
def test_a_file_without_a_declaration_is_told_what_it_could_be(code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(code, encoding="utf-8")
    with pytest.raises(UsageError, match="declares no plug-in") as told:
        check.check_plugin(str(tmp_path / "bare.py"))
    assert said in str(told.value)


def test_rules_can_be_chosen_and_draws_capped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "denoising_score_matching", "--only", "loss,signature"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["pass  signature", "pass  loss"]
    assert main(["check", "denoising_score_matching", "--only", "los"]) == 2
    assert "did you mean loss?" in capsys.readouterr().err
    assert main(["check", "denoising_score_matching", "--draws", "3"]) == 2
    assert "--draws must be at least 512" in capsys.readouterr().err
    noisy = tmp_path / "fake.py"
    body = "    return energy(x) - energy(mala(energy, x, rng, steps=1, step_size=0.01).x)\n"
    noisy.write_text(f"{HEADER}\n@objective(**family, max_dim=1)\ndef fake(energy, x, rng):\n{body}", encoding="utf-8")
    (finding,) = check.check_plugin(str(noisy), only=["minimiser"], draws=512)
    assert "in 512 draws a seed" in finding.detail


def test_the_command_exits_with_3_when_a_rule_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fake.py"
    path.write_text(HEADER + FAKES["mean over examples"][1], encoding="utf-8")
    assert main(["check", str(path)]) == 3
    assert "FAIL  loss:" in capsys.readouterr().out
    assert main(["check", "mlp"]) == 0


@pytest.mark.parametrize(("ref", "message"), [("no_such", "unknown plug-in"), ("no_such.py", "there is no file")])
def test_what_cannot_be_found_is_bad_input(ref: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check.check_plugin(ref)


def test_the_skeleton_in_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    guide = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    plugin = tmp_path / "my_objective.py"
    plugin.write_text(guide.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    assert [finding for finding in check.check_plugin(str(plugin)) if not finding.passed] == []


@pytest.mark.parametrize(
    ("declared", "holds"), [("", False), (', scale="difference"', True), (', better="higher"', True)]
)
def test_a_metric_below_zero_must_be_compared_by_difference(tmp_path: Path, declared: str, holds: bool) -> None:
    path = tmp_path / "below.py"
    path.write_text(
        "from bench.api import Estimate, metric\n"
        f"@metric(needs=set(), unit=''{declared})\n"
        "def below(energy, samples, data, rng):\n"
        "    return Estimate(-1.0)\n",
        encoding="utf-8",
    )
    rule = metric_rules.RULES["estimate"]
    if holds:
        assert rule(registry.find("metrics", str(path)), str(path)).startswith("-1")
    else:
        with pytest.raises(Broken, match="declare @metric"):
            rule(registry.find("metrics", str(path)), str(path))
