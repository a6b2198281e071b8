"""Whatever is typed ends in a documented exit code and never in a traceback: vectors drawn from every parser found.

What trains, measures or downloads is cut off where it begins; everything up to there is as it is.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bench.cli import main
from bench.cli.listing import explain_reference
from bench.common.errors import UsageError
from bench.results.store import Planned
from tests.helpers.store_builder import Shelf
from tests.runner.test_trusted_rows import objective, suite

CODES = {0, 1, 2, 3, 4, 130}
BATCH = 25
ODD = [
    *["", " ", "-", "--", "-1", "0", "1", "2.5", "1e999", "nan", "-inf", "9" * 30, "²", "٣", "0x10", "1_000", "True"],
    *["a", "*", ",", ",,", "[", "]", "[]", "a[", "a[b", "a[b=]", "a[=1]", "a[b=1]]", "a[[b=1]]", "a[b=[1,2]]", "k=v"],
    *["é😀", "\ufeffa", "a\nb", "a\tb", "%s", "{}", "{0.a}", "$HOME", "`x`", "'", '"', "\\", "a" * 300, "a" * 5000],
    *["\udcff", "~nobody/a.py", "~nobody", ".", "..", "./", "a.py", "a.toml", ".py", ".toml", "x.json", "a/b/c.csv"],
    *["FOLDER", "FOLDER/none", "FOLDER/file", "FOLDER/file/below", "FOLDER/broken.py", "FOLDER/exits.py"],
    *["FOLDER/broken.toml", "FOLDER/latin.toml", "FOLDER/list.json", "FOLDER/damaged", "FOLDER/bare.py"],
    *["/dev/null", "/nowhere/a", "0-4", "4-2", "0-999999999999", "two_moons", "digits", "cpu", "cuda:1", "float32"],
    *["denoising_score_matching", "denoising_score_matching[sigma=1e400]", "two_moons[n_train=0]", "mlp[width=1e9]"],
]
# by a part of what the help calls a value: what it may well be
PLAUSIBLE = {
    "STORE": ["FOLDER/store", "FOLDER/store", "FOLDER/damaged"],
    "A": ["FOLDER/store"],
    "B": ["FOLDER/store"],
    "FILE.toml": ["FOLDER/tiny.toml", "smoke"],
    "FILE.py": ["FOLDER/good.py", "denoising_score_matching", "FOLDER/good.py[a=1]"],
    "FILE.md": ["FOLDER/page.md"],
    "FILE.html": ["FOLDER/page.html"],
    "DIR": ["FOLDER/new", "FOLDER/empty"],
    "KIND": ["objectives", "suites"],
    "0-4": ["0", "0-1"],
    "cuda": ["cpu", "auto"],
    "float32": ["float32", "bfloat16"],
    "N": ["1", "2", "31"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad files of every kind that a command reads."""
    root = tmp_path_factory.mktemp("odd")
    for name in ("store", "damaged"):
        shelf = Shelf(root / name)
        for entry in ("usual", "better"):
            shelf.entry(entry, 1.0, reference="usual")
        shelf.store.write_plan(map(Planned.of, shelf.specs))
    next((root / "damaged").rglob("row.json")).write_text("{", encoding="utf-8")
    (root / "empty").mkdir()
    (root / "file").write_bytes(b"\xff\x00 no store")
    (root / "list.json").write_text(json.dumps([1, {"a": None}]), encoding="utf-8")
    (root / "broken.toml").write_text("name = [", encoding="utf-8")
    (root / "latin.toml").write_bytes("name = 'é'".encode("latin-1"))
    (root / "broken.py").write_text("def broken(:", encoding="utf-8")
    (root / "bare.py").write_text("x = 1\n", encoding="utf-8")
    (root / "exits.py").write_text("import sys; sys.exit(0)", encoding="utf-8")
    (root / "page.md").write_text("a\n<!-- bench:ranking toy -->\n<!-- bench:end -->\n", encoding="utf-8")
    objective(root, "return energy(x)", name="good.py")
    suite(root)
    return root


@pytest.fixture
def cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **options: object) -> NoReturn:
        raise UsageError("this is where work would begin")

    for where in (
        "bench.audit.gradient_audit.audit_gradients",
        "bench.costs.estimate.estimate_costs",
        "bench.costs.harness_overhead.overhead_lines",
        "bench.costs.precision.measure_precision",
        "bench.costs.step_time.measure_costs",
        "bench.costs.step_time.scaling",
        "bench.evaluation.reference_sets.reference_metrics",
        "bench.plugins.download._retrieve",
        "bench.regression.error_rates.error_rates",
        "bench.regression.suite.measure_suite",
        "bench.runner.executor.execute",
    ):
        monkeypatch.setattr(where, stop)
    monkeypatch.setattr("bench.contract.check.check_plugin", lambda ref, **_: stop(explain_reference(ref)))
    monkeypatch.setattr("bench.report.figures.plots.draw_figures", lambda *arguments, **options: [])
    monkeypatch.setenv("EBM_BENCH_DATA", str(folder / "data"))
    monkeypatch.chdir(folder)


def value(draw: random.Random, action: argparse.Action, odd: float) -> str:
    called = str(action.metavar or "")
    plausible = next((words for part, words in PLAUSIBLE.items() if part in called), None)
    return draw.choice(plausible if plausible and draw.random() > odd else ODD)


def words_of(draw: random.Random, parser: argparse.ArgumentParser, odd: float) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            name = draw.choice(list(action.choices))
            yield name
            yield from words_of(draw, action.choices[name], odd)
        elif not action.option_strings:
            if action.required or draw.random() < 0.8:
                yield value(draw, action, odd)
        elif draw.random() < (0.02 if action.dest == "help" else 0.95 if action.required else 0.3):
            option = draw.choice(action.option_strings)
            if action.nargs == 0:
                yield option
            elif draw.random() < 0.3:
                yield f"{option}={value(draw, action, odd)}"
            else:
                yield from (option, value(draw, action, odd))


def vector(seed: int) -> list[str]:
    draw = random.Random(seed)
    parser = main.build_parser(main.command_modules())
    words = list(words_of(draw, parser, draw.choice([0.0, 0.3, 0.8])))
    if draw.random() < 0.1:
        words.insert(draw.randint(0, len(words)), draw.choice(ODD))
    if draw.random() < 0.05 and words:
        del words[draw.randrange(len(words))]
    if draw.random() < 0.05:
        draw.shuffle(words)
    return words


@pytest.mark.parametrize("batch", [0, 1, *(pytest.param(k, marks=pytest.mark.long) for k in range(2, 60))])
def test_any_arguments_have_an_exit_code_and_no_traceback(
    batch: int, folder: Path, cut_off: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        words = [word.replace("FOLDER", str(folder)) for word in vector(seed)]
        code: Any
        try:
            code = main.main(words)
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            raise AssertionError(f"seed {seed}: {words}") from error
        captured = capsys.readouterr()
        assert code in CODES, (seed, words)
        assert "Traceback" not in captured.out + captured.err, (seed, words)
        assert code == 0 or captured.err.strip(), (seed, words)
