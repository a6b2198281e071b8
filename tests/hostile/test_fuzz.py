"""Anything at all in a suite, a reference, a row, a curve or a data file is read, or refused in a sentence."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from bench.common.errors import UsageError
from bench.common.references import parse_seeds, split_list, split_reference
from bench.core.rng import Rng
from bench.data import image_files, user_images, user_points
from bench.results.attempt import Attempt
from bench.results.records import read_records
from bench.results.store import Store
from bench.suites.schema import read_suite
from tests.helpers.store_helpers import finished

KEYS = st.sampled_from(["name", "objectives", "datasets", "seeds", "budget", "network", "include", "base", "version"])
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON: SearchStrategy[Any] = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | KEYS, inner, max_size=4)
)
WORDS = st.text(alphabet="abz019[]=,.-+*{}()\\'\"\0\n \t/_é<>|", max_size=60)
TOML = st.lists(st.tuples(KEYS, st.sampled_from(["1", '"a"', '["*"]', "{}", "inf", "nan", "true", "[[]]", "1e400"])))


def quick(times: int) -> Callable[..., Any]:
    """So many examples, the same at every run."""
    aside = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=times, deadline=None, derandomize=True, database=None, suppress_health_check=aside)


def read(action: Callable[[], object]) -> None:
    """Does the action; nothing but a refusal may be raised."""
    with suppress(UsageError):
        action()


def in_file(name: str, raw: bytes, action: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(raw)
        read(lambda: action(path))


def changed(raw: bytes, at: int, value: int, cut: int) -> bytes:
    """Bytes with one replaced and the end cut off."""
    raw = bytearray(raw)
    raw[at % len(raw)] = value
    return bytes(raw[: cut % (2 * len(raw))])


EDITS = st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.integers(1, 10**6))


def references(text: str) -> None:
    for parse in (split_reference, parse_seeds, split_list):
        read(lambda parse=parse: parse(text))


def suites(lines: list[tuple[str, str]]) -> None:
    in_file("s.toml", "\n".join(f"{k} = {v}" for k, v in dict(lines).items()).encode(), lambda p: read_suite(str(p)))


def suite_bytes(raw: bytes) -> None:
    in_file("s.toml", raw, lambda path: read_suite(str(path)))


def rows(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        attempt = finished(root)
        row = json.loads((attempt.folder / "row.json").read_text(encoding="utf-8"))
        (attempt.folder / "row.json").write_text(json.dumps(value), encoding="utf-8")
        read(lambda: read_records(Store(root)))
        read(attempt.row)
        assert Store(root).verify() or value == row


def curves(raw: bytes) -> None:
    in_file("curve.jsonl", raw, lambda path: Attempt(path.parent).curve())


def plans(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plans").mkdir()
        (Path(folder) / "plans" / "a-0.json").write_text(json.dumps({"created": "x", "runs": value}), encoding="utf-8")
        read(lambda: Store(Path(folder)).planned())


def points(raw: bytes) -> None:
    in_file("p.csv", raw, user_points.read_points)


def arrays(edit: tuple[int, int, int]) -> None:
    with tempfile.TemporaryFile() as file:
        np.save(file, np.arange(24.0).reshape(12, 2))
        file.seek(0)
        raw = changed(file.read(), *edit)
    in_file("p.npy", raw, user_points.read_points)
    in_file("p.npy", raw, user_images._array)


def idx(raw: bytes) -> None:
    in_file("x", b"\0\0\x08\x03" + raw, lambda path: image_files.read_idx(path, "0"))


def pictures(edit: tuple[int, int, int]) -> None:
    from tests.hostile.test_hostile_files import good_png

    raw = changed(good_png(), *edit)
    in_file("a.png", raw, lambda path: user_images.user_images(path.parent, Rng(0, "data")))


CASES: dict[str, tuple[Callable[[Any], None], SearchStrategy[Any]]] = {
    "references": (references, WORDS),
    "suites": (suites, TOML),
    "bytes of suites": (suite_bytes, st.binary(max_size=200)),
    "rows": (rows, JSON),
    "curves": (curves, st.binary(max_size=200)),
    "plans": (plans, JSON),
    "points": (points, st.binary(max_size=200) | WORDS.map(str.encode)),
    "arrays": (arrays, EDITS),
    "idx": (idx, st.binary(max_size=40)),
    "pictures": (pictures, EDITS),
}


@pytest.mark.parametrize("kind", CASES)
def test_anything_is_read_or_refused(kind: str) -> None:
    action, strategy = CASES[kind]
    quick(20)(given(strategy)(action))()


@pytest.mark.long
@pytest.mark.parametrize("kind", CASES)
def test_a_thousand_of_anything_are_read_or_refused(kind: str) -> None:
    action, strategy = CASES[kind]
    quick(1000)(given(strategy)(action))()
