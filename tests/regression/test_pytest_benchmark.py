"""pytest-benchmark's files under the gate's rule: what is absent or too noisy is undecided, never passed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import main
from bench.common import exit_codes
from bench.regression.pytest_benchmark import judge, ratio

NAMES = ("test_speed.py::test_step[a]", "test_speed.py::test_score")


def rounds(seed: int, factor: float = 1.0, n: int = 250, spread: float = 0.05) -> list[float]:
    return list(factor * 1e-3 * np.exp(spread * np.random.default_rng(seed).normal(size=n)))


def written(path: Path, data: Mapping[str, Sequence[float]], **more: Any) -> Path:
    """A file as pytest-benchmark writes it, as far as the gate looks."""
    timer = more.pop("timer", "process_time")
    found = [{"fullname": k, "options": {"timer": timer}, "stats": {"data": list(v)}} for k, v in data.items()]
    machine = {"system": "Linux", "machine": "x86_64", "cpu": {"brand_raw": more.pop("cpu", "A")}}
    path.write_text(json.dumps({"machine_info": machine, "benchmarks": found, **more}), encoding="utf-8")
    return path


def files(folder: Path, *factors: float, **more: Any) -> list[Path]:
    """One file a factor, with noise of its own."""
    return [
        written(folder / f"{k}.json", {name: rounds(10 * k + j, factor, **more) for j, name in enumerate(NAMES)})
        for k, factor in enumerate(factors)
    ]


def run(*paths: Path) -> int:
    return main.main(["regression", *(word for path in paths for word in ("--benchmark", str(path)))])


@pytest.mark.parametrize(
    ("factors", "code"),
    [
        ((1.0, 1.0), exit_codes.GOOD),
        ((1.0, 1.0, 1.0, 1.0), exit_codes.GOOD),
        ((1.0, 1.15), exit_codes.UNDECIDED),  # one turn cannot convict
        ((1.0, 1.15, 1.15, 1.0), exit_codes.REGRESSION),
        ((1.0, 1.15, 1.3, 1.45), exit_codes.GOOD),  # a machine that slows down: dearer in the first turn only
        ((1.0, 0.5, 0.5, 1.0), exit_codes.GOOD),
    ],
)
def test_a_benchmark_is_dearer_if_it_is_so_in_both_turns(factors: tuple[float, ...], code: int, tmp_path: Path) -> None:
    assert run(*files(tmp_path, *factors)) == code


def test_equal_code_is_never_called_dearer_in_forty_comparisons_and_a_tenth_more_always() -> None:
    for k in range(40):
        equal = [({"b": rounds(8 * k + j)}, {"b": rounds(8 * k + j + 4)}) for j in range(2)]
        assert judge(equal, "process_time")[0].outcome == "pass"
        dearer = [({"b": rounds(8 * k + j)}, {"b": rounds(8 * k + j + 4, 1.1)}) for j in range(2)]
        assert judge(dearer, "process_time")[0].outcome == "regression"


def test_the_interval_of_a_ratio_covers_the_true_one() -> None:
    found = [ratio(rounds(2 * k, n=31), rounds(2 * k + 1, 1.2, n=31)) for k in range(200)]
    assert np.mean([r.low <= 1.2 <= r.high for r in found]) >= 0.98


@pytest.mark.parametrize("side", [0, 1])
def test_a_benchmark_that_is_not_in_every_file_is_undecided(
    side: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = files(tmp_path, 1.0, 1.0)
    written(paths[side], {NAMES[0]: rounds(5)})
    assert run(*paths) == exit_codes.UNDECIDED
    printed = capsys.readouterr().out
    assert NAMES[1] in printed
    assert "not in 1 of 2 files" in printed


def test_too_few_rounds_and_too_much_noise_are_undecided_with_the_least_that_could_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ({"n": 3}, {"n": 12, "spread": 0.5}):
        assert run(*files(tmp_path, 1.0, 1.0, **more)) == exit_codes.UNDECIDED
        assert "is the least that could be seen" in capsys.readouterr().out


def test_no_benchmark_at_all_is_undecided(tmp_path: Path) -> None:
    assert run(*(written(tmp_path / f"{k}.json", {}) for k in range(2))) == exit_codes.UNDECIDED


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "there is no benchmark file"),
        ('{"benchmarks": [', "is torn"),
        ("[]", "not a file of pytest-benchmark"),
        ('{"benchmarks": []}', "not a file of pytest-benchmark"),
    ],
)
def test_a_file_that_cannot_be_compared_is_exit_4_with_a_word(
    text: str | None, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = files(tmp_path, 1.0)[0], tmp_path / "bad.json"
    if text is not None:
        bad.write_text(text, encoding="utf-8")
    assert run(good, bad) == exit_codes.UNDECIDED
    error = capsys.readouterr().err
    assert word in error
    assert "--benchmark-json" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("more", [{"cpu": "B"}, {"timer": "perf_counter"}])
def test_files_of_two_machines_or_clocks_are_not_compared(
    more: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = written(tmp_path / "a.json", {NAMES[0]: rounds(0)})
    other = written(tmp_path / "b.json", {NAMES[0]: rounds(1)}, **more)
    assert run(one, other) == exit_codes.UNDECIDED
    assert "benchmarks compare on one" in capsys.readouterr().err


def test_every_verdict_names_benchmark_clock_interval_and_command(tmp_path: Path) -> None:
    report = tmp_path / "gate.json"
    paths = files(tmp_path, 1.0, 1.15, 1.15, 1.0)
    assert main.main(["regression", *(w for p in paths for w in ("--benchmark", str(p))), "--report", str(report)]) == 1
    found = [
        check for check in json.loads(report.read_text(encoding="utf-8"))["checks"] if check["part"] == "benchmark"
    ]
    assert [check["cell"] for check in found] == sorted(NAMES)
    for check in found:
        assert check["metric"] == "process_time"
        assert check["after"].count("×") == 2
        assert " to " in check["after"]
        assert "--benchmark-json" in check["command"]
    assert "-k 'test_step and a'" in found[1]["command"]
