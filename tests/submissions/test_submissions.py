"""Entries sent in by others: a good one passes, an edited and a hostile one do not, and nothing of it is trusted."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.contract import ledger
from bench.report.markdown.pages import page_texts
from bench.results.integrity import file_digest
from bench.results.submission_files import read_submission
from bench.submissions.inspect import faults_of_files
from bench.submissions.pack import pack
from bench.submissions.verify import check_submission

SOURCE = '''# SPDX-License-Identifier: MIT
"""Denoising score matching once more."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Log, Rng, objective, score, sum_event


@objective(family="test", minimiser="smoothed", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1) -> Tensor:
    """½‖σ s(x + σz) + z‖²."""
    z = rng.normal_like(x)
    return 0.5 * sum_event((sigma * score(energy, x + sigma * z, create_graph=True) + z).square(), rng)
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file, a store of its run, and a good submission."""
    place = tmp_path_factory.mktemp("submission")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    file = place / "mine.py"
    file.write_text(SOURCE, encoding="utf-8")
    ledger.remember(file, [])
    run = ["run", "--suite", "smoke", "--objective", str(file), "--jobs", "1", "--out", str(place / "store")]
    assert main(run) == 0
    assert main(["submit", str(place / "store"), "--objective", str(file), "--out", str(place / "out")]) == 0
    patch.undo()
    return place


@pytest.fixture
def good(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "out" / "mine", tmp_path / "results" / "submissions" / "mine")
    return tmp_path / "results" / "submissions" / "mine"


def sealed(folder: Path) -> None:
    """Makes the hashes fit again, as somebody who edits would."""
    path = folder / "submission.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["files"] = {p.name: file_digest(p) for p in sorted(folder.iterdir()) if p != path}
    path.write_text(json.dumps(about), encoding="utf-8")


def test_a_good_entry_passes_and_is_verified_once_all_is_run_again(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-submission", str(good)]) == 0
    assert "pass  two_moons, seed 0: the same in all written digits" in capsys.readouterr().out
    assert sorted(path.name for path in good.iterdir()) == [
        "environments.json",
        "mine.py",
        "rows.csv",
        "submission.json",
    ]
    results = good.parent.parent
    page = page_texts(results)[results / "smoke.md"]
    assert "mine (submitted)" in page
    assert main(["check-submission", str(good), "--rerun", "all"]) == 0
    assert read_submission(good).status == "verified"
    assert "mine (verified)" in page_texts(results)[results / "smoke.md"]


def test_a_better_number_is_found_when_its_row_is_run_again(good: Path) -> None:
    with (good / "rows.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines, columns = list(reader), list(reader.fieldnames or [])
    for line in lines:
        line["metrics.kl.ema.value"] = "0.001"
    with (good / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    faults, _ = check_submission(good, 1)
    assert faults == ["rows.csv: changed since it was packed"]
    sealed(good)
    (fault,), _ = check_submission(good, None)
    assert "kl_ema was 0.001 and is now" in fault
    assert read_submission(good).status == "submitted"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("spec.precision", "bfloat16"),
        ("spec.network.params", '{"width": 40, "depth": 2}'),
        ("spec.optimiser.lr", "0.1234"),
        ("spec.budget.steps", "90"),
    ],
)
def test_rows_of_other_settings_than_the_suites_verify_nothing(good: Path, column: str, value: str) -> None:
    with (good / "rows.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines, columns = list(reader), list(reader.fieldnames or [])
    with (good / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**line, column: value} for line in lines)
    sealed(good)
    faults, ran = check_submission(good, None)
    assert ran == []
    assert f"{column.removeprefix('spec.')} is {value}; the suite's is" in faults[0]
    assert read_submission(good).status == "submitted"


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "mine.py"
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    return edit


HOSTILE = {
    "may not import os": edited("from typing", "import os\nfrom typing"),
    "may not import subprocess": edited("    z = rng", "    import subprocess\n    z = rng"),
    "may not import bench.results": edited("from bench.api", "from bench.results import store\nfrom bench.api"),
    "may not use open": edited("    z = rng", "    open('/etc/passwd')\n    z = rng"),
    "may not use __import__": edited("    z = rng", "    __import__('os').system('id')\n    z = rng"),
    "may not use .load": edited("    z = rng", "    import torch\n    torch.load('x')\n    z = rng"),
    "may not use .__class__": edited("    z = rng", "    x.__class__\n    z = rng"),
    "runs at import": edited("@objective", "print('here')\n@objective"),
    "no Python": edited("def mine(", "def mine(:"),
    "says no licence": edited("SPDX-License-Identifier: MIT", "mine"),
    "at most 100 lines": edited('"""Denoising', "\n" * 100 + '"""Denoising'),
    "the rows were made with": edited("0.5 * sum_event", "0.25 * sum_event"),
    "plain files only": lambda folder: (folder / "link").symlink_to("/etc/passwd"),
    "there, and not listed": lambda folder: (folder / "more.py").write_text("", encoding="utf-8"),
    "a file may have 5000000 bytes": lambda folder: (folder / "rows.csv").write_bytes(b"x" * 5_000_001),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_a_hostile_entry_is_refused_before_anything_of_it_runs(
    good: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.submissions.verify.execute", lambda *_, **__: pytest.fail("it was run"))
    monkeypatch.setattr("bench.suites.expand.plan_runs", lambda *_: pytest.fail("it was imported"))
    HOSTILE[said](good)
    if said != "there, and not listed" and not (good / "link").exists():
        sealed(good)
    faults, _ = check_submission(good, 1)
    assert any(said in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("objective", "../mine.py", "must be the name of a Python file"),
        ("suite", "toy2d", "of another suite"),
        ("protocol", 7, "of another suite, protocol version"),
        ("files", {"../x": "0"}, "listed, and not there"),
    ],
)
def test_what_it_says_of_itself_must_fit(good: Path, key: str, value: object, said: str) -> None:
    path = good / "submission.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about[key] = value
    if key == "objective":
        about["files"]["../mine.py"] = about["files"].pop("mine.py")
    path.write_text(json.dumps(about), encoding="utf-8")
    faults, _ = check_submission(good, 1)
    assert faults
    assert any(said in fault for fault in faults) or key == "objective", faults


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 3}', "\x00"])
def test_what_is_no_submission_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "submission.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="a submission is a folder that `submit` wrote"):
        check_submission(tmp_path, 1)


def test_only_a_finished_licensed_unedited_and_checked_entry_is_packed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(made / "cache"))
    file, store = made / "mine.py", made / "store"
    with pytest.raises(UsageError, match=r"a new folder.*give another --out"):
        pack(store, file, made / "out")
    with pytest.raises(UsageError, match="there is no"):
        pack(store, tmp_path / "none.py", tmp_path)
    with pytest.raises(UsageError, match="small letters"):
        pack(store, file, tmp_path, name="A/b")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    with pytest.raises(UsageError, match="it is unchecked"):
        pack(store, file, tmp_path)
    try:
        file.write_text(SOURCE.replace("0.5 *", "0.25 *"), encoding="utf-8")
        with pytest.raises(UsageError, match="edited since its runs"):
            pack(store, file, tmp_path)
        file.write_text(SOURCE.partition("\n")[2], encoding="utf-8")
        with pytest.raises(UsageError, match="must say its licence"):
            pack(store, file, tmp_path)
    finally:
        file.write_text(SOURCE, encoding="utf-8")


def test_a_good_entry_has_no_faults(good: Path) -> None:
    assert faults_of_files(good, read_submission(good)) == []
