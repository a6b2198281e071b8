"""`verify` names every file of a store that was changed, cut short or deleted, and readers say so in words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.results import integrity
from bench.results.store import ARTEFACTS, Planned, Store
from tests.helpers.store_builder import Shelf
from tests.helpers.store_helpers import finished, planned
from tests.runner.test_trusted_rows import suite


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run of a suite leaves, with all of its pages."""
    folder = tmp_path_factory.mktemp("finished")
    options = ["--seed", "0-1", "--jobs", "2", "--out", str(folder / "store")]
    assert main(["run", "--suite", str(suite(folder)), *options]) == 0
    return folder / "store"


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))


def damaged(path: Path) -> Iterator[str]:
    """Damages a file in one way after the other, and puts it right after each."""
    whole = path.read_bytes()
    flips = [k for k in (0, len(whole) // 3, len(whole) // 2, len(whole) - 1) if whole]
    cuts = {"emptied": b"", "cut short": whole[:-1], "halved": whole[: len(whole) // 2]}
    changes = cuts | {f"byte {k} flipped": whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :] for k in flips}
    for name, content in changes.items():
        if content != whole:
            path.write_bytes(content)
            yield name
    path.unlink()
    yield "deleted"
    path.write_bytes(whole)


def test_verify_names_every_file_that_is_damaged_in_any_way(store: Path) -> None:
    names = {path.name for path in files(store)}
    assert {"row.json", "spec.json", "curve.jsonl", ARTEFACTS, "results.csv", "index.json", "pages.json"} <= names
    assert Store(store).verify() == []
    for path in files(store):
        for how in damaged(path):
            found = integrity.changed_files(store)
            assert path.relative_to(store).as_posix() in found, (path, how, found)
    assert Store(store).verify() == []


def test_a_damaged_store_is_read_in_words(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "copy"))
    monkeypatch.setattr("bench.report.figures.save.save", lambda figure, path: path)
    for path in files(copy):
        if path.parent != copy and path.suffix != ".png" and "s1-a1" not in path.parts:
            for how in damaged(path):
                assert main(["report", str(copy), "--out", str(tmp_path / "page.html")]) in (0, 2, 3), (path, how)
                assert "Traceback" not in capsys.readouterr().err, (path, how)


def test_a_truncated_picture_of_a_run_is_a_sentence(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "copy"))
    path = next(path for path in files(copy) if path.name == ARTEFACTS)
    path.write_bytes(path.read_bytes()[:200])
    assert main(["table", str(copy)]) == 2
    assert capsys.readouterr().err == (
        f"bench: {path} was changed since it was written; restore it, or delete its folder and run it again\n"
    )


def test_arrays_that_no_row_vouches_for_are_read_in_words(tmp_path: Path) -> None:
    attempt = Store(tmp_path).begin(planned())
    (attempt.folder / ARTEFACTS).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UsageError, match="cannot be read"):
        attempt.arrays(ARTEFACTS)


def test_stores_that_are_merged_by_copying_verify(tmp_path: Path) -> None:
    for k in range(2):
        finished(tmp_path / str(k), seed=k)
        Store(tmp_path / str(k)).write_plan([planned(k)])
    shutil.copytree(tmp_path / "1", tmp_path / "0", dirs_exist_ok=True)
    assert Store(tmp_path / "0").verify() == []
    assert {run.spec.seed for run in Store(tmp_path / "0").planned()} == {0, 1}


def test_a_run_that_adds_to_a_store_does_not_cover_up_what_was_deleted(tmp_path: Path) -> None:
    attempt = finished(tmp_path, seed=0)
    Store(tmp_path).write_plan([planned(0)])
    (attempt.folder / "row.json").unlink()
    finished(tmp_path, seed=1)
    Store(tmp_path).update_index()
    assert list(integrity.changed_files(tmp_path)) == [f"{attempt.folder.relative_to(tmp_path)}/row.json"]


def test_a_file_that_is_added_to_a_finished_run_is_named(tmp_path: Path) -> None:
    attempt = finished(tmp_path)
    (attempt.folder / ARTEFACTS).write_bytes(b"x")
    (line,) = Store(tmp_path).verify()
    assert line.endswith(f"{ARTEFACTS}: added since the row was written")


def test_the_file_of_a_suite_is_kept_watched_and_named_by_commands(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "a store")
    shelf.ran("good", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert shelf.records()[0].command == "python -m bench run --suite toy"
    shelf.store.keep_suites({"toy": b"name = 'toy'"})
    kept = shelf.store.root / "suites" / "toy.toml"
    assert shelf.records()[0].command == f"python -m bench run --suite '{kept}'"
    assert integrity.changed_files(shelf.store.root) == {}
    kept.write_text("name = 'another'", encoding="utf-8")
    assert list(integrity.changed_files(shelf.store.root)) == ["suites/toy.toml"]


@pytest.mark.parametrize("command", ["verify", "table", "report"])
@pytest.mark.parametrize("inside", ["nothing", "a file", "an empty index"])
def test_what_is_no_store_is_refused_in_one_line(
    command: str, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    if inside == "a file":
        (folder / "notes.txt").write_text("no store", encoding="utf-8")
    elif inside == "an empty index":
        (folder / "plans").mkdir()
        (folder / "env").mkdir()
    assert main([command, str(folder)]) == 2
    assert capsys.readouterr().err == f"bench: No runs in {folder}; run a suite with --out {folder}.\n"


@pytest.mark.parametrize("name", ["env", "plans", "derived", "plots", "Env", "env.", "results.csv", "index.json"])
def test_what_a_store_keeps_for_itself_is_no_suites_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = suite(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('name = "tiny"', f'name = "{name}"'), encoding="utf-8")
    assert main(["plan", "--suite", str(path)]) == 2
    assert f"which a store keeps for itself; got '{name}'" in capsys.readouterr().err
    if name in integrity.RESERVED:
        with pytest.raises(UsageError, match="a suite must not be named"):
            Store(tmp_path).begin(planned(suite=name))
