"""The gate on somebody's own repository: what they break is caught, and an untouched commit passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli import main
from bench.common import exit_codes, paths
from bench.regression import against_commit, gate
from bench.regression import suite as suite_module
from bench.regression.baseline import Baseline, Measured, load_baseline
from bench.regression.suite import Gated
from tests.helpers.gated_repository import FAULTS, bench, commit, git, repository

KEPT = "ebm-baseline.json"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = repository(tmp_path / "somebody's")
    monkeypatch.chdir(folder)
    return folder


def test_a_suite_and_its_objectives_are_named_as_the_person_named_them(repo: Path) -> None:
    of = Gated("mine.toml", ("mine.py", "mine.py[sigma=0.2]"))
    assert of.name == "mine"
    assert of.options == " --suite mine.toml --objective mine.py --objective 'mine.py[sigma=0.2]'"
    assert of.root == repo
    assert Gated().options == ""
    assert gate.Request(Path("b.json"), of=of).options == f"{of.options} --baseline b.json"


def test_both_versions_are_run_by_this_program_and_files_are_those_of_each(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "before"
    git(repo, "worktree", "add", "-q", "--detach", str(tree), "HEAD")
    (repo / "newer.py").write_text((repo / "mine.py").read_text(encoding="utf-8"), encoding="utf-8")
    of = Gated("mine.toml", ("mine.py[sigma=0.2]", "newer.py", "contrastive_divergence"))
    before, after, names = against_commit._trees(tree, of)
    old, new, ours = "mine[sigma=0.2] (mine.py)", "mine (newer.py)", "contrastive_divergence"
    assert names == [old, new, ours]
    assert before.refs == {old: f"{tree / 'mine.py'}[sigma=0.2]", ours: ours}  # what is new has nothing to compare with
    assert after.refs == {old: "mine.py[sigma=0.2]", new: "newer.py", ours: ours}
    assert {before.code, after.code} == {paths.ROOT}
    assert before.environment["PYTHONPATH"].startswith(str(paths.ROOT))


def test_a_file_outside_the_repository_has_no_earlier_version(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((repo / "mine.py").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ValueError, match="lies outside"):
        against_commit._trees(tmp_path, Gated("mine.toml", (str(tmp_path / "mine.py"),)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["regression", "--suite", "mine.toml"], "update-baseline --suite mine.toml --reason"),
        (["regression", "--suite", "mine.toml", "--self-test"], "drop --suite"),
        (["regression", "--suite", "nowhere.toml"], "there is no file 'nowhere.toml'"),
        (["regression", "--suite", "all"], "a gate compares one suite"),
        (["regression", "--suite", "mine.toml", "--against", "nothing"], "--against needs a commit that git knows"),
        (["update-baseline", "--reason", "a", "--objective", "x"], "drop --objective, or give a --suite"),
    ],
)
def test_what_cannot_be_compared_is_said(
    words: list[str], said: str, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) in (exit_codes.USAGE, exit_codes.UNDECIDED)
    assert said in capsys.readouterr().err


def test_outside_a_repository_there_is_no_other_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main.main(["regression", "--suite", "smoke", "--against", "HEAD"]) == exit_codes.USAGE
    assert "compares commits of a git repository" in capsys.readouterr().err


def test_advice_repeats_the_person_s_own_options(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A better value, and a self-test that sees what is injected."""
    values = {"first": 1.0, "ascending": 9.0}

    def measure(out: Path, **given: object) -> Baseline:
        ref = str((given.get("objectives") or ["mine"])[0])  # type: ignore[index]
        kl = values["ascending"] if "ascending" in ref else values["first"]
        flops = 1.1 if "steps=11" in ref else 1.0
        names = ["mine"] if ref == "mine" else ["contrastive_divergence", "denoising_score_matching"]
        cell = Measured({"0": "ok"}, {"flops_per_step": flops}, {"kl": {"0": kl}}, {"kl": "lower"}, "again")
        return Baseline("mine", "here", {f"{name} on line": cell for name in names}, host="a machine")

    monkeypatch.setattr(suite_module, "measure_suite", measure)
    options = ["--suite", "mine.toml", "--objective", "mine.py", "--baseline", "kept.json"]
    assert main.main(["update-baseline", *options, "--reason", "the first"]) == exit_codes.GOOD
    assert main.main(["regression", *options]) == exit_codes.GOOD
    values["first"] = 0.5
    assert main.main(["regression", *options]) == exit_codes.UNDECIDED
    assert f'`python -m bench update-baseline {" ".join(options)} --reason "..."`' in capsys.readouterr().out


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository whose second commit holds its baseline."""
    folder = repository(tmp_path_factory.mktemp("accepted") / "repo")
    done = bench(folder, "update-baseline", "--suite", "mine.toml", "--reason", "the first")
    assert done.returncode == 0, done.stderr
    commit(folder, "a baseline")
    yield folder
    git(folder, "worktree", "prune")


@pytest.fixture
def restored(accepted: Path) -> Iterator[Path]:
    yield accepted
    git(accepted, "checkout", "-q", ".")


@pytest.mark.long
def test_an_untouched_commit_passes_and_is_remembered(restored: Path) -> None:
    done = bench(restored, "regression", "--suite", "mine.toml", "--report", "gate.json")
    assert done.returncode == exit_codes.GOOD, done.stdout + done.stderr
    assert done.stdout.startswith("**good: ")
    parts = {check["part"] for check in json.loads((restored / "gate.json").read_text(encoding="utf-8"))["checks"]}
    assert parts == {"completeness", "work", "quality", "self-test"}
    assert (restored / "ebm-bench-results" / "history.jsonl").read_text(encoding="utf-8").count("\n") == 1
    assert "/tmp" not in (restored / KEPT).read_text(encoding="utf-8")
    assert load_baseline(restored / KEPT, "mine").accepted["reason"] == "the first"


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_against_the_baseline_and_against_the_commit(fault: str, restored: Path) -> None:
    code = (restored / "mine.py").read_text(encoding="utf-8")
    (restored / "mine.py").write_text(FAULTS[fault](code), encoding="utf-8")
    assert (restored / "mine.py").read_text(encoding="utf-8") != code
    for more in ([], ["--against", "HEAD"]):
        done = bench(restored, "regression", "--suite", "mine.toml", *more)
        assert done.returncode == exit_codes.REGRESSION, done.stdout + done.stderr
        assert done.stdout.startswith("**regression: ")
        assert re.search(r"--suite mine.toml .*--objective mine.py", done.stdout)
