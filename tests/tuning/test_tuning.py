"""`tune`: chosen on validation data and tuning seeds, at the same cost for all, and the same again on kept rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.common.run_spec import ACROSS, CONDITIONAL, STATIC, ContrastSpec, EvaluationSpec, RunSpec
from bench.plugins import registry
from bench.suites import expand, schema, tuned
from bench.suites.schema import TuningBudget
from bench.tuning import search, spaces
from bench.tuning.study import Candidate

SUITE = """
name = "tiny"
track = "equal_flops"
reference = "contrastive_divergence"
objectives = ["contrastive_divergence", "denoising_score_matching", "sliced_score_matching"]
datasets = ["two_moons", "eight_gaussians"]
seeds = "0-1"
metrics = ["nll", "kl"]
[network]
name = "mlp"
width = 8
[optimiser]
lr = 4e-3
[budget]
flops = 1e6
batch = 16
[data]
n_train = 64
n_valid = 32
n_test = 32
"""
BUDGET = TuningBudget(generations=3, rates=3, rungs=(0.25, 1.0), kept=1, seeds="100-101")


def entries(tmp_path: Path, text: str = SUITE) -> list[RunSpec]:
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    specs = expand.plan_runs(schema.read_suite(str(path)), expand.Selection(), "cpu")
    return list({(s.objective.label, s.dataset.label): s for s in specs}.values())


class Bowl:
    """Runs whose criterion is a bowl in ln lr around `best`; counts what was asked for."""

    def __init__(self, best: float, fails: Sequence[float] = ()) -> None:
        self.best, self.fails = best, fails
        self.runs: list[RunSpec] = []

    def __call__(self, specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
        self.runs += specs
        return [self.row(spec) for spec in specs]

    def row(self, spec: RunSpec) -> dict[str, Any]:
        assert spec.budget.flops is not None
        work = {"flops_train": spec.budget.flops}
        if spec.budget.flops / 1e6 in self.fails:
            return {"status": "diverged", "work": work}
        value = 2 + math.log(spec.optimiser.lr / self.best) ** 2 + 0.01 * (spec.seed - 100)
        return {"status": "ok", "work": work, "metrics": {"nll": {"ema": {"value": value, "certified": True}}}}


def test_every_cell_has_the_same_trials_and_the_same_compute(tmp_path: Path) -> None:
    bowl = Bowl(0.01)
    found = search.tune(entries(tmp_path), BUDGET, bowl)
    assert len(found) == 6
    assert {(line.trials, line.gflops) for line in found} == {(9, found[0].gflops)}
    # 9 trials at a quarter, and the default and one of each generation in full; two seeds
    assert found[0].gflops == pytest.approx(2 * (9 / 4 + 1 + 3) * 1e6 / 1e9)
    assert sum(run.budget.flops or 0 for run in bowl.runs) / 1e9 == pytest.approx(6 * found[0].gflops)


@pytest.mark.parametrize(
    "budget", [BUDGET, replace(BUDGET, kept=3, seeds="100"), replace(BUDGET, rungs=(0.1, 0.5, 1.0), kept=2)]
)
def test_what_a_search_will_take_is_known_before_it_starts(budget: TuningBudget, tmp_path: Path) -> None:
    bowl = Bowl(0.01)
    (line,) = search.tune(entries(tmp_path)[:1], budget, bowl)
    runs, budgets = search.work(budget)
    assert len(bowl.runs) == runs
    assert line.gflops == pytest.approx(budgets * 1e6 / 1e9)


def test_runs_of_tuning_see_tuning_seeds_and_validation_data_alone(tmp_path: Path) -> None:
    bowl = Bowl(0.01)
    search.tune(entries(tmp_path), BUDGET, bowl)
    assert {run.seed for run in bowl.runs} == {100, 101}
    assert {run.evaluation.split for run in bowl.runs} == {"valid"}
    assert {tuple(run.evaluation.metrics) for run in bowl.runs} == {("nll",)}, "the KL divergence needs the density"
    assert {run.suite for run in bowl.runs} == {"tiny-tuning"}


@pytest.mark.parametrize(
    ("primary", "metrics", "column"),
    [
        ("denoising_psnr.mode_25", ("denoising_psnr",), "denoising_psnr.mode_25"),
        ("denoising_psnr.mode_25_ema", ("denoising_psnr",), "denoising_psnr.mode_25"),
        ("denoising_psnr_ema", ("denoising_psnr",), "denoising_psnr"),
        ("kl.own", ("kl", "nll"), "nll"),
    ],
)
def test_the_criterion_is_the_part_that_the_suite_ranks_by(
    primary: str, metrics: tuple[str, ...], column: str, tmp_path: Path
) -> None:
    evaluation = EvaluationSpec(metrics=dict.fromkeys(metrics, "sha"))
    assert search.criterion_of(replace(entries(tmp_path)[0], primary=primary, evaluation=evaluation)) == column


def test_an_entry_with_a_metric_of_parts_is_tuned_by_its_part(tmp_path: Path) -> None:
    """PSNR by the posterior's mode: higher is better, and its column is not called by the bare metric."""
    spec = replace(
        entries(tmp_path)[0],
        primary="denoising_psnr.mode_25",
        evaluation=EvaluationSpec(metrics={"denoising_psnr": "sha"}),
    )
    rows = [
        {"metrics": {"denoising_psnr.mode_25": {"ema": {"value": value, "certified": True}}}} for value in (26.0, 28.0)
    ]
    assert search._criterion(rows, spec) == -27.0


def test_an_entry_is_tuned_by_what_the_questions_of_its_own_class_hold_it_against(tmp_path: Path) -> None:
    """Two verdicts of one suite: chains from noise judge static energies, own samplers those of all levels."""
    asked = (
        ContrastSpec(name="across", entry="levels", reference="static", metric="fid.data", energies=ACROSS),
        ContrastSpec(name="a", entry="static", reference="anchor", metric="fid.noise_ema", energies=STATIC),
        ContrastSpec(name="b", entry="other levels", reference="levels", metric="fid.own", energies=CONDITIONAL),
        ContrastSpec(name="c", entry="plain", reference="anchor", energies=STATIC),
        ContrastSpec(name="d", entry="bridge", reference="static", metric="fid.own", energies=ACROSS),
    )
    judged = EvaluationSpec(metrics={"fid": "sha", "kid": "sha"}, samplers=("own", "noise", "data"))
    entry = replace(entries(tmp_path)[0], primary="fid.data", evaluation=judged, contrasts=asked)

    def of(name: str) -> RunSpec:
        return replace(entry, objective=replace(entry.objective, name=name, label=name))

    expected = {
        "anchor": "fid.noise",
        "static": "fid.noise",
        "levels": "fid.own",
        "other levels": "fid.own",
        "plain": "fid.data",
        "bridge": "fid.own",
        "asked nothing": "fid.data",
    }
    assert {name: search.criterion_of(of(name)) for name in expected} == expected
    for name, column in expected.items():
        value = {"ema": {"value": 3.0, "certified": True}}
        assert search._criterion([{"metrics": {column: value, "fid": {"ema": {"value": 1.0}}}}], of(name)) == 3.0
        run = search._evaluated_on_validation(of(name))
        assert run.evaluation.samplers == (column.partition(".")[2],), "chains for no criterion are dear"
        assert tuple(run.evaluation.metrics) == ("fid",)


def test_a_likelihood_needs_no_samples_and_a_part_that_is_no_sampler_leaves_them(tmp_path: Path) -> None:
    spec = entries(tmp_path)[0]
    likely = replace(spec, evaluation=replace(spec.evaluation, samplers=("own", "noise")))
    assert search.criterion_of(likely) == "nll"
    assert search._evaluated_on_validation(likely).evaluation.samplers == ("own", "noise")


def test_trials_of_a_generation_train_as_one_stack(tmp_path: Path) -> None:
    bowl = Bowl(0.01)
    search.tune(entries(tmp_path)[:1], BUDGET, bowl)
    stacks = {}
    for run in bowl.runs:
        stacks.setdefault(run.stack_id, set()).add(run.optimiser.lr)
    assert len(stacks) == 2 * BUDGET.generations, "one a generation and rung"
    assert max(len(rates) for rates in stacks.values()) == BUDGET.rates


@pytest.mark.parametrize("best", [0.001, 0.02])
def test_what_is_chosen_is_better_than_the_default_where_something_is(best: float, tmp_path: Path) -> None:
    for line in search.tune(entries(tmp_path), replace(BUDGET, generations=5), Bowl(best)):
        assert line.tuned_value < line.default_value
        assert abs(math.log(line.lr / best)) < abs(math.log(0.004 / best))


def test_the_default_stands_where_nothing_is_better(tmp_path: Path) -> None:
    for line in search.tune(entries(tmp_path), BUDGET, Bowl(0.004)):
        assert (line.lr, line.tuned_value) == (0.004, line.default_value)
    for line in search.tune(entries(tmp_path), BUDGET, Bowl(0.02, fails=[0.25, 1.0])):
        assert (line.lr, line.tuned_value) == (0.004, math.inf)


def test_the_same_rows_give_the_same_settings(tmp_path: Path) -> None:
    assert search.tune(entries(tmp_path), BUDGET, Bowl(0.01)) == search.tune(entries(tmp_path), BUDGET, Bowl(0.01))


def test_given_parameters_are_not_searched(tmp_path: Path) -> None:
    text = SUITE.replace('"contrastive_divergence", "den', '"contrastive_divergence[steps=3]", "den')
    text = text.replace('reference = "contrastive_divergence"\n', "")
    bowl = Bowl(0.01)
    line = search.tune(entries(tmp_path, text)[:1], BUDGET, bowl)[0]
    assert {run.objective.params["steps"] for run in bowl.runs} == {3}
    assert "steps" not in line.searched


def test_a_choice_at_the_end_of_its_range_is_marked(tmp_path: Path) -> None:
    line = search.tune(entries(tmp_path)[2:3], replace(BUDGET, generations=8), Bowl(1.0))[0]
    assert "lr high" in line.edges
    inside = search.tune(entries(tmp_path)[2:3], replace(BUDGET, generations=8), Bowl(0.004))[0]
    assert "lr" not in inside.edges


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_every_objective_s_own_setting_lies_in_what_is_searched(name: str) -> None:
    known = registry.find("objectives", name).parameters
    for parameter, searched in spaces.distributions(known, 4e-3).items():
        default = 4e-3 if parameter == "lr" else known[parameter].default
        assert searched._contains(searched.to_internal_repr(default)), parameter
        if parameter != "lr":
            for end in (getattr(searched, "low", None), getattr(searched, "high", None)):
                assert end is None or known[parameter].space.parse(end) == end


def test_settings_survive_their_file_and_a_suite_is_planned_with_them(tmp_path: Path) -> None:
    specs, path = entries(tmp_path), tmp_path / "tuned.csv"
    chosen = search.tune(specs, BUDGET, Bowl(0.01))
    tuned.write_tuned(chosen[:3], path)
    tuned.write_tuned(chosen, path)
    read = tuned.read_tuned(path)
    assert [(t.label, t.dataset, t.params) for t in read] == [(t.label, t.dataset, t.params) for t in chosen]
    planned = tuned.with_tuned(specs, read, str(path))
    assert [s.optimiser.lr for s in planned] == [pytest.approx(t.lr, rel=1e-5) for t in chosen]
    assert [s.objective.params for s in planned] == [t.params for t in chosen]
    assert all(s.tuned for s in planned)
    assert {s.cell_id for s in planned}.isdisjoint({s.cell_id for s in specs})


def test_settings_that_do_not_fit_the_suite_are_refused(tmp_path: Path) -> None:
    specs = entries(tmp_path)
    chosen = search.tune(specs, BUDGET, Bowl(0.01))
    with pytest.raises(UsageError, match=r"no settings for sliced_score_matching on eight_gaussians.*run `tune"):
        tuned.with_tuned(specs, chosen[:-1], "file.csv")
    with pytest.raises(UsageError, match="tuned under version 2 of suite tiny; this is version 1: tune again"):
        tuned.with_tuned(specs, [replace(t, protocol=2) for t in chosen], "file.csv")
    with pytest.raises(UsageError, match="tuned under version 2"):
        tuned.with_tuned(specs, [replace(t, protocol=2) for t in chosen], "file.csv", {"tiny": 1})
    later = [replace(spec, suite_version=3) for spec in specs]
    earlier = [replace(t, protocol=2) for t in chosen]
    assert all(spec.tuned for spec in tuned.with_tuned(later, earlier, "file.csv", {"tiny": 2}))
    with pytest.raises(UsageError, match="tuned under version 2 of suite tiny; this is version 3"):
        tuned.with_tuned(later, earlier, "file.csv", {"tiny": 3})
    wider = [replace(s, network=replace(s.network, params={**s.network.params, "width": 7})) for s in specs]
    for other in (wider, [replace(s, precision="bfloat16") for s in specs]):
        with pytest.raises(UsageError, match=r"for the network mlp: .* in float32; these runs train mlp: .*tune it"):
            tuned.with_tuned(other, chosen, "file.csv")
    others = {
        "data": [replace(s, dataset=replace(s.dataset, content="0123")) for s in specs],
        "code": [replace(s, objective=replace(s.objective, ref="/my/own.py")) for s in specs],
        "budget": [replace(s, budget=replace(s.budget, steps=7, flops=7.0)) for s in specs],
    }
    for name, other in others.items():
        with pytest.raises(UsageError, match=rf"for {name} '.*'; these runs have '.*': tune again"):
            tuned.with_tuned(other, chosen, "file.csv")
    both = tmp_path / "both.csv"
    for lines in (chosen, [replace(t, precision="bfloat16") for t in chosen], [replace(t, suite="s") for t in chosen]):
        tuned.write_tuned(lines, both)
    assert len(tuned.read_tuned(both)) == 3 * len(chosen)
    moved = [replace(s, optimiser=replace(s.optimiser, lr=9.0)) for s in specs]
    with pytest.raises(UsageError, match="tuned from another default of lr: tune again"):
        tuned.with_tuned(moved, chosen, "file.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="holds no tuned settings"):
        tuned.read_tuned(tmp_path / "other.csv")
    with pytest.raises(UsageError, match="nothing to tune"):
        search.tune([replace(specs[0], skip="no")], BUDGET, Bowl(1.0))
    with pytest.raises(UsageError, match=r"rungs must rise to 1.*got \[1\.0, 0\.5\]"):
        schema.parse_suite({"name": "x", "objectives": ["a"], "datasets": ["b"], "tuning": {"rungs": [1.0, 0.5]}}, "x")


def test_an_objective_of_one_s_own_is_tuned_and_run_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path(registry.FOLDERS["objectives"] / "denoising_score_matching.py").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(mine, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(
        SUITE + "[tuning]\ngenerations = 1\nrates = 2\nrungs = [1.0]\nseeds = '100'\n", encoding="utf-8"
    )
    narrow = ["--suite", "tiny.toml", "--objective", "mine.py", "--dataset", "two_moons", "--out", "store"]
    assert main(["tune", *narrow, "--settings", "tuned.csv"]) == 0
    said = capsys.readouterr()
    assert "by default" in said.out
    assert "tuning 1 cells: 2 runs each, as long as 2 of the suite's" in said.err
    assert main(["run", *narrow, "--seed", "0", "--tuned", "tuned.csv"]) == 0
    assert "(tuned)" in capsys.readouterr().out


def test_a_candidate_keeps_what_it_was_worth_at_each_rung(tmp_path: Path) -> None:
    study = search._study(entries(tmp_path)[0], BUDGET)
    generation = study.next_generation()
    assert [c.default for c in generation] == [True, False, False]
    going = study.tell(generation, [9.0, 1.0, 2.0])
    assert [c.values for c in going] == [(9.0,), (1.0,)], "the default goes on, whatever it was worth"
    assert study.tell(going, [9.0, 1.5]) == []
    best: Candidate = study.finished[0]
    assert best.values == (1.0, 1.5)


def test_both_ends_are_marked_where_something_lies_between() -> None:
    lr, count, sign = (
        FloatDistribution(1e-4, 1e-1, log=True),
        IntDistribution(1, 80, log=True),
        IntDistribution(1, 2),
    )
    assert [spaces.at_edge(lr, value) for value in (1.1e-4, 3e-3, 9.9e-2)] == ["low", "", "high"]
    assert [spaces.at_edge(count, value) for value in (1, 9, 80)] == ["low", "", "high"]
    assert [spaces.at_edge(sign, value) for value in (1, 2)] == ["", ""]
    assert spaces.at_edge(CategoricalDistribution(["ve", "vp"]), "ve") == ""


def test_a_label_does_not_name_a_number_that_was_searched() -> None:
    (suite,) = schema.read_suite("verdict_plane")
    refs = ("contrastive_divergence", "contrastive_divergence[steps=1]", "denoising_score_matching")
    specs = expand.plan_runs([suite], expand.Selection(objectives=refs, datasets=("rings",), seeds=(100,)), "cpu")
    specs = [spec for spec in specs if not spec.reference_fit]
    like = {
        "suite": "verdict_plane",
        "protocol": suite.version,
        "dataset": "rings",
        **dict.fromkeys(("criterion", "edges", "importance", "seeds", "sampler", "pruner"), ""),
        **{"default_value": 1.0, "tuned_value": 1.0, "lr": 1e-3, "trials": 1, "pruned": 0, "gflops": 1.0},
    }
    searched = ("steps [1, 80] log; lr [1e-4, 1e-2] log", "lr [1e-4, 1e-2] log", "sigma [0.1, 1] log")
    settings = [
        tuned.Tuned(
            **like,
            label=s.objective.label,
            network=tuned.network_in_words(s),
            precision=s.precision,
            **tuned.tuned_for(s),
            params={**s.objective.params},
            defaults=tuned.defaults_of(s),
            searched=each,
        )
        for s, each in zip(specs, searched, strict=True)
    ]
    settings[0].params["steps"] = 59
    named = [spec.objective.short_label for spec in tuned.with_tuned(specs, settings, "file.csv")]
    assert named == ["CD", "CD-1", "DSM"]
