"""Suites and references: what is resolved, what a cell's identity depends on, what is refused and how."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.common import fingerprint, paths, references, run_spec
from bench.common.errors import UsageError
from bench.common.json_files import digest_json
from bench.common.spec_writer import SpecWriter
from bench.plugins import registry
from bench.results.store import Planned
from bench.suites import expand, schema
from tests.helpers.toy_workers import toy_spec

SUITE = """
name = "mine"
objectives = ["denoising_score_matching", "contrastive_divergence[steps=2]"]
datasets = ["two_moons"]
seeds = "0-1"
"""
PLUGIN = '''
from torch import Tensor
from bench.api import Energy, Rng, objective

@objective(family="test", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    """E(x)."""
    # a reason
    return energy(x)
'''


def planned(text: str, folder: Path, **selection: tuple[str, ...] | tuple[int, ...]) -> list[run_spec.RunSpec]:
    path = folder / "mine.toml"
    path.write_text(text.replace("{path}", str(path)), encoding="utf-8")
    return expand.plan_runs(schema.read_suite(str(path)), expand.Selection(**selection), "cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", schema.suite_names())
def test_every_suite_of_the_project_expands(name: str) -> None:
    specs = expand.plan_runs(schema.read_suite(name), expand.Selection(), "cpu")
    identities = {(s.suite, s.objective.label, s.dataset.label, s.cell_id, s.seed) for s in specs}
    assert len(identities) == len(specs) > 0


@pytest.mark.parametrize("name", schema.suite_names())
def test_entries_that_take_different_numbers_of_steps_have_warm_up_and_average_as_shares(name: str) -> None:
    for planned in expand.plan_runs(schema.read_suite(name), expand.Selection(), "cpu"):
        if planned.track != "equal_steps":
            shares = planned.optimiser.warm_up_share, planned.optimiser.ema_share
            assert None not in shares, (planned.suite, shares)


def test_runs_with_another_network_than_the_suites_say_so_and_have_a_table_of_their_own(tmp_path: Path) -> None:
    by_network = {
        asked: expand.plan_runs([suite], expand.Selection(network=asked), "cpu")[0]
        for suite in schema.read_suite("smoke")
        for asked in (None, f"mlp[width={suite.network['width']},depth=2]", "mlp[width=7]", "fourier_mlp")
    }
    places = [spec.place for spec in by_network.values()]
    assert places == ["cpu", "cpu", "cpu, mlp[width=7]", "cpu, fourier_mlp"]
    assert [by_network[None].command, by_network["mlp[width=7]"].command] == [
        "python -m bench run --suite smoke",
        "python -m bench run --suite smoke --network 'mlp[width=7]'",
    ]
    assert by_network[None].cell_id == replace(by_network[None], other_network=True).cell_id


def test_a_metric_with_two_settings_is_refused_and_its_own_goes_before_that_of_all(tmp_path: Path) -> None:
    own = SUITE + 'metrics = ["nll_ais[particles=128]", "*"]\n'
    (metrics,) = {tuple(spec.evaluation.metrics) for spec in planned(own, tmp_path)}
    assert [name for name in metrics if name.startswith("nll_ais")] == ["nll_ais[particles=128]"]
    assert "kl" in metrics
    two = SUITE + 'metrics = ["nll_ais[particles=128]", "nll_ais"]\n'
    with pytest.raises(UsageError, match=r"one value of nll_ais, and 'nll_ais\[particles=128\]'"):
        planned(two, tmp_path)


def test_two_data_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / name / "points.csv" for name in ("a", "b")]
    for k, file in enumerate(files):
        file.parent.mkdir()
        rows = np.random.default_rng(k).normal(size=(600, 2))
        np.savetxt(file, rows, delimiter=",", header="left,right", comments="")
    with pytest.raises(UsageError, match=r"are both called points.csv: rename a file, or make two suites"):
        planned(SUITE, tmp_path, datasets=tuple(map(str, files)))
    assert planned(SUITE, tmp_path, datasets=(str(files[0]),))


def test_seeds_come_first_so_that_an_interruption_leaves_every_cell_covered(tmp_path: Path) -> None:
    assert [s.seed for s in planned(SUITE, tmp_path)] == [0, 0, 1, 1]


def test_every_default_is_resolved_into_the_spec(tmp_path: Path) -> None:
    first, second = planned(SUITE, tmp_path, seeds=(3,))
    assert first.objective.params == {"sigma": 0.5, "sigma_units": "local_scale"}
    assert second.objective.params["steps"] == 2
    assert second.objective.label == "contrastive_divergence[steps=2]"
    assert run_spec.RunSpec.from_dict(first.to_dict()) == first


def test_a_cell_is_what_changes_its_numbers_and_nothing_else(tmp_path: Path) -> None:
    base = planned(SUITE, tmp_path)[0]
    same = planned(SUITE.replace('"mine"', '"other"').replace("0-1", "0-3") + "timeout_seconds = 5", tmp_path)[0]
    explicit = planned(SUITE.replace("matching", "matching[sigma=0.5]"), tmp_path)[0]
    other = planned(SUITE.replace("matching", "matching[sigma=0.2]"), tmp_path)[0]
    longer = planned(SUITE + "[budget]\nsteps = 2001", tmp_path)[0]
    assert base.cell_id == same.cell_id == explicit.cell_id
    assert len({base.cell_id, other.cell_id, longer.cell_id}) == 3


def test_comments_docstrings_and_notes_change_no_identity_and_code_does(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    hashes = []
    words = [("a reason", "why"), ("E(x).", "The energy."), ("this test", "nobody")]
    for text in (PLUGIN, *(PLUGIN.replace(*pair) for pair in words), PLUGIN + "A = 1\n"):
        path.write_text(text, encoding="utf-8")
        hashes.append(fingerprint.code(path))
    assert len(set(hashes[:-1])) == 1
    assert hashes[-1] != hashes[0]


def test_an_edited_helper_changes_the_identity_of_what_imports_it() -> None:
    objective = registry.FOLDERS["objectives"] / "contrastive_divergence.py"
    assert paths.ROOT / "bench" / "samplers" / "langevin.py" in fingerprint.closure(objective)


def test_a_pair_that_does_not_fit_stays_in_the_plan_with_its_reason(tmp_path: Path) -> None:
    text = SUITE.replace("two_moons", "digits").replace("denoising_score_matching", "maximum_likelihood")
    reasons = {s.objective.name: s.skip for s in planned(text, tmp_path)}
    assert reasons["maximum_likelihood"] == "maximum_likelihood needs events of at most 2 dimensions; digits has 64"
    assert reasons["contrastive_divergence"] == ""


def test_filters_select_by_name_and_add_what_is_given_by_path(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    chosen = planned(SUITE, tmp_path, objectives=("contrastive_divergence", str(plugin)), seeds=(0,))
    assert [s.objective.label for s in chosen] == ["contrastive_divergence[steps=2]", "mine"]
    assert references.split_list("a[k=1,m=2],b, c") == ("a[k=1,m=2]", "b", "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SUITE.replace("name =", "nom ="), "lacks name"),
        (SUITE + "speed = 1", "unknown key 'speed'"),
        (SUITE + "[budget]\nstep = 1", "unknown key 'budget.step': did you mean budget.steps"),
        (SUITE + "[optimiser]\nname = 'sgd'", "unknown key 'optimiser.name'"),
        (SUITE + "[evaluation]\ncheckpoints = 'x'", "evaluation.checkpoints: expected `int`, got `str`; got 'x'"),
        ("include = ['{path}']", "includes itself"),
        (
            SUITE + "track = 'fast'",
            "track: invalid enum value 'fast'; got 'fast'; it may be equal_steps, equal_flops, equal_seconds, equal",
        ),
        (SUITE + "track = 'equal_flops'", "needs budget.flops"),
        (SUITE + "track = 'equal_seconds'", "needs budget.seconds"),
        (SUITE + "track = 'equal_time'", "needs budget.flops"),
        (SUITE + "track = 'equal_time'\ndenoisers = ['total_variation']\n[budget]\nflops = 1e9", "leave denoisers out"),
        (SUITE + "[network]\nname = 'mlp'\nwidth = 0", "mlp: width must lie in"),
        (SUITE.replace("steps=2", "steps=0"), "contrastive_divergence: steps must lie in"),
        (SUITE.replace("steps=2", "stepsize=2"), "no parameter 'stepsize'"),
        (SUITE.replace("steps=2", "step_size=1.5"), "at most 1"),
        (SUITE.replace("steps=2", "steps"), "a parameter is written k=v"),
        (SUITE.replace("two_moons", "two_mons"), "did you mean two_moons"),
        (SUITE.replace("0-1", "1-0"), "seeds are written like"),
        ("name = [", "not readable TOML"),
    ],
)
def test_a_bad_suite_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(text, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name\n", "mine.py:1 does not import: ModuleNotFoundError"),
        ("x = 1\n", "must declare exactly one @objective(...); found none"),
        ("def f(:\n", "mine.py:1 does not import: SyntaxError"),
        (PLUGIN.replace("rng: Rng)", "rng: Rng, *, a: float = 1.0)"), "needs a search space"),
    ],
)
def test_a_bad_plugin_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        registry.find("objectives", str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


ASKING = """name = "mine"
objectives = ["contrastive_divergence", "denoising_score_matching", "contrastive_divergence[steps=1]"]
datasets = ["two_moons"]
"""
QUESTION = '[[contrast]]\nname = "CD-1 over DSM"\nentry = "contrastive_divergence[steps=1]"\n'


def asking(tmp_path: Path, text: str) -> list[run_spec.RunSpec]:
    suite = tmp_path / "mine.toml"
    suite.write_text(ASKING + text, encoding="utf-8")
    return expand.plan_runs(schema.read_suite(str(suite)), expand.Selection(), "cpu")


def test_questions_are_planned_with_every_run_and_change_no_identity(tmp_path: Path) -> None:
    reference = 'reference = "denoising_score_matching"\n'
    plain, with_question = asking(tmp_path, reference), asking(tmp_path, reference + QUESTION)
    (question,) = {contrast for spec in with_question for contrast in spec.contrasts}
    assert (question.entry, question.reference) == ("contrastive_divergence[steps=1]", "denoising_score_matching")
    assert question.entry in {spec.entry for spec in with_question}
    assert [spec.cell_id for spec in with_question] == [spec.cell_id for spec in plain]
    assert run_spec.RunSpec.from_dict(with_question[0].to_dict()) == with_question[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (QUESTION, "needs a reference"),
        (QUESTION + 'reference = "denoising_score_match"', "did you mean denoising_score_matching"),
        (QUESTION.replace("steps=1", "steps=2"), "needs a reference"),
        (QUESTION.replace("steps=1", "steps=2") + 'reference = "contrastive_divergence"', "entry of contrast"),
        (
            QUESTION + 'referense = "contrastive_divergence"',
            r"contrast\[0\].referense.*did you mean contrast\[0\].reference",
        ),
        (QUESTION + 'reference = "contrastive_divergence[steps=1]"', "with itself"),
        (QUESTION + 'reference = "contrastive_divergence"\n' + QUESTION, "two contrasts are called 'CD-1 over DSM'"),
        ('[[contrast]]\nname = ""\nentry = "contrastive_divergence"', r"contrast\[0\].name"),
        ("[contrast]\nname = 1", "contrast"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        asking(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_suite_on_a_base_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        SUITE + "[optimiser]\nlr = 0.01\nema = 0.9\n[data]\nn_train = 64\n", encoding="utf-8"
    )
    (tmp_path / "own.toml").write_text(
        f'base = "{tmp_path / "base.toml"}"\nname = "own"\nseeds = "7"\n[optimiser]\nema = 0.5\n', encoding="utf-8"
    )
    (own,) = schema.read_suite(str(tmp_path / "own.toml"))
    (base,) = schema.read_suite(str(tmp_path / "base.toml"))
    assert (own.name, own.seeds, own.optimiser.lr, own.optimiser.ema) == ("own", "7", 0.01, 0.5)
    assert (own.objectives, own.datasets, own.data) == (base.objectives, base.datasets, base.data)


def test_the_league_of_the_plane_needs_only_the_runs_that_its_question_lacks() -> None:
    def runs(suite: str) -> set[tuple[str, int]]:
        planned = expand.plan_runs(schema.read_suite(suite), expand.Selection(), "cpu")
        return {(spec.cell_id, spec.seed) for spec in planned if spec.objective.label == spec.objective.name}

    assert runs("verdict_plane") <= runs("plane")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ('"all"', "base must be one suite; all includes several"),
        ('"toy2"', "toy2d"),
        ("3", "base must be the name of a suite; got 3"),
        ('"OWN"', "is its own base"),
    ],
)
def test_a_base_that_is_none_is_refused(base: str, message: str, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'base = {base}\nname = "own"\n'.replace("OWN", str(own)), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        schema.read_suite(str(own))


def test_many_specs_are_written_as_each_is() -> None:
    specs = expand.plan_runs(schema.read_suite("smoke"), expand.Selection(), "cpu")
    toy = toy_spec(1, memory_gb=2, timeout_seconds=5)
    odd = [toy, replace(toy, memory_gb=2.0), replace(toy, convergence_bound=math.inf), replace(toy, contract=("a",))]
    writer = SpecWriter()
    for spec in [*specs, *odd, *specs]:
        assert writer.to_dict(spec) == spec.to_dict()
        assert list(writer.to_dict(spec)) == list(spec.to_dict())
        assert json.dumps(writer.to_dict(spec)) == json.dumps(spec.to_dict())
        assert writer.cell_id(spec) == spec.cell_id
    assert [run.cell_id for run in Planned.all_of(specs)] == [spec.cell_id for spec in specs]
    strange = [replace(toy, primary=text) for text in ('"', "\\", "é", "a\n", "\x7f", "x.y_ema", "")]
    for some in (specs, odd, strange):
        plain = [{"cell_id": spec.cell_id, "spec": spec.to_dict()} for spec in some]
        assert writer.digest((spec.cell_id, spec) for spec in some) == digest_json(plain)
    assert writer.digest([]) == digest_json([])
