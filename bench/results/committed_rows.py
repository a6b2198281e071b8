"""Rows of a suite as one CSV file that git can keep: what the tables of a page need, a line a planned run.

A column is a place in the run's specification or row, such as `spec.objective.name` or `metrics.kl.best.value`. A cell
that is empty was absent. Numbers have seven digits, more than any table shows. A file whose name ends in `.xz` or `.gz`
is compressed: a suite of thousands of runs repeats itself, and pandas reads it as it is.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec
from bench.common.statistics import usual_scale
from bench.results.records import Record, records_of
from bench.results.store import Planned

SUFFIX = ".csv.xz"  # of the rows of a suite in a folder of results
MOST_BYTES = 256_000_000  # of a file's text: some hundred thousand runs
MOST_WINDOW = 100_000_000  # bytes that unpacking .xz may take; its highest preset takes 65 million
_SPEC = (
    *("suite", "suite_version", "track", "device", "precision", "seed", "reference", "primary", "skip"),
    *("ranked", "convergence_bound", "role", "tuned", "optimiser.lr"),
    *(f"objective.{name}" for name in ("name", "label", "ref", "given", "params", "short_label", "settings")),
    *(f"objective.{name}" for name in ("family", "energy", "control", "kind", "sha")),
    *("dataset.name", "dataset.label", "network.name", "network.label", "network.params"),
    *("other_network", "network.ref", "network.given"),
    "contrasts",
    "contract",
    *("budget.steps", "budget.batch", "budget.flops", "budget.seconds"),
    *("evaluation.samples", "evaluation.metrics"),
)
_CONTRASTS = "spec.contrasts"
_PACK: dict[str, Callable[[bytes], bytes]] = {
    # without the time at which it was compressed, the same rows are the same bytes
    ".gz": partial(gzip.compress, mtime=0),
    ".xz": partial(lzma.compress, preset=9),
}
_ROW = (
    *("status", "reason", "last_step", "work.steps", "work.flops_train", "work.forwards", "work.input_gradients"),
    *("time.train_wall", "time.train_cpu", "time.noisy", "time.stack", "memory.rss_peak", "memory.cuda_allocated_peak"),
    *("model.n_params", "model.entropy", "model.kl_floor", "env.env_id", "env.torch", "env.processor", "env.device"),
    *("provenance.git_sha", "provenance.git_dirty"),
)
_VALUE = (
    *("value", "stderr", "n", "reason", "unit", "better", "scale", "certified"),
    *("detail.extractor", "detail.images", "detail.bounds", "detail.floor", "detail.n_floor", "detail.start"),
)


_SETTINGS = (
    *("track", "precision", "optimiser.lr", "objective.params", "network.name", "network.params"),
    *("budget.steps", "budget.batch", "budget.flops", "budget.seconds", "evaluation.samples"),
)


def settings_of(spec: RunSpec) -> dict[str, str]:
    """What decides the numbers of a run beside data, code and seed, as its row in a file says it."""
    plain = spec.to_dict()
    return {place: text for place in _SETTINGS for _, text in _cell(place, _at(plain, place))}


def write_rows(records: Sequence[Record], path: Path) -> None:
    """Writes the rows of one suite; the same records give the same bytes.

    Raises:
        UsageError: if the place cannot be written to.
    """
    files = _file_names(record.spec.objective.ref for record in records)
    lines = [dict(_line(record, files)) for record in records]
    for line in lines[1:]:
        line.pop(_CONTRASTS, None)  # they are the suite's: once is enough
    columns = list(dict.fromkeys(column for line in lines for column in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.getvalue().encode()
        path.write_bytes(_PACK.get(path.suffix, bytes)(content))
    except OSError as error:
        raise UsageError(f"rows need a place to write to; '{path}': {error.strerror}: give another") from None


def read_rows(path: Path) -> list[Record]:
    """The records that `write_rows` wrote.

    Raises:
        UsageError: if the file cannot be read, or is no such file.
    """
    text = _text(path)
    try:
        lines = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))
        asked = {name: value for line in lines[:1] for name, value in line.items() if name == _CONTRASTS}
        return records_of(_record(line | asked) for line in lines)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"'{path}' holds no rows of a suite ({type(error).__name__}: {error})") from None


def _text(path: Path) -> bytes:
    try:
        if path.suffix == ".xz":
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_WINDOW)
            with path.open("rb") as file:
                content = unpacker.decompress(file.read(MOST_BYTES + 1), MOST_BYTES + 1)
            if not unpacker.eof and len(content) <= MOST_BYTES:
                raise EOFError("it ends too early")
        else:
            with gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UsageError(f"rows must be a readable file; '{path}': {getattr(error, 'strerror', '') or error}") from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"'{path}' holds more than {MOST_BYTES / 1e6:.0f} MB of text, more than rows of a suite do")
    return content


def _file_names(refs: Iterable[str]) -> dict[str, str]:
    """The name of each file of somebody's own, numbered among its like: where it lay is nobody else's business."""
    files = [ref for ref in dict.fromkeys(refs) if ref.endswith(".py")]
    alike: dict[str, list[str]] = {}
    for ref in files:
        alike.setdefault(Path(ref).name, []).append(ref)
    return {
        ref: name if len(own) == 1 else f"{k}/{name}"
        for name, own in alike.items()
        for k, ref in enumerate(own, start=1)
    }


def _line(record: Record, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "cell_id", record.run.cell_id
    spec = record.spec.to_dict()
    spec["objective"]["ref"] = files.get(record.spec.objective.ref, record.spec.objective.ref)
    if record.spec.other_network:
        spec["network"]["ref"] = Path(record.spec.network.ref).name
    else:  # the suite tells its own
        spec.pop("other_network", None)
        spec["network"] |= {"ref": "", "given": ""}
    for place in _SPEC:
        yield from _cell(f"spec.{place}", _at(spec, place))
    if record.row is None:
        return
    for place in _ROW:
        yield from _cell(place, _at(record.row, place))
    for name, variants in (record.get("metrics") or {}).items():
        for weights, value in variants.items():
            for place in _VALUE:
                if place == "scale" and _at(value, place) == usual_scale(value.get("better", "lower")):
                    continue
                yield from _cell(f"metrics.{name}.{weights}.{place}", _at(value, place))


def _cell(column: str, value: Any) -> Iterator[tuple[str, str]]:
    """The value in a cell, unless it is what the reader takes where there is none."""
    absent = value is None or value == "" or value == []
    absent |= value is True and column.endswith(".certified")
    absent |= value == "lower" and column.endswith(".better")
    if not absent:
        yield column, json.dumps(_rounded(value), ensure_ascii=False) if not isinstance(value, str) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, Mapping):
        return dict(value)
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _at(value: Any, place: str) -> Any:
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _record(line: Mapping[str, str]) -> tuple[Planned, dict[str, Any] | None]:
    plain: dict[str, Any] = {}
    for column, text in line.items():
        if text != "":
            _put(plain, _keys(column), _parsed(column, text))
    spec = plain.pop("spec")
    cell_id = plain.pop("cell_id")
    return Planned(cell_id, RunSpec.from_dict(spec)), {"reason": "", "last_step": None, **plain} if plain else None


def _keys(column: str) -> list[str]:
    """The keys of a place; a metric's name may have dots of its own."""
    keys = column.split(".")
    if keys[0] != "metrics":
        return keys
    end = max(k for k, key in enumerate(keys) if key in ("last", "ema", "best"))
    return ["metrics", ".".join(keys[1:end]), *keys[end:]]


_NUMBERS = ("seed", "suite_version", "ranked", "tuned", "other_network", "convergence_bound", "optimiser.lr")
_GROUPS = ("objective.params", "network.params", "objective.control")
_TEXTS = {
    f"spec.{place}"
    for place in _SPEC
    if place not in (*_NUMBERS, *_GROUPS, "contrasts", "contract") and not place.startswith(("budget", "evaluation"))
}


def _parsed(column: str, text: str) -> Any:
    last = column.rpartition(".")[2]
    plain = ("status", "reason", "unit", "better", "scale", "extractor", "bounds", "git_sha", "cell_id")
    words = column in _TEXTS or last in plain
    return text if words or column.startswith("env.") or column == "cell_id" else json.loads(text)


def _put(plain: dict[str, Any], keys: Iterable[str], value: Any) -> None:
    *folders, name = keys
    for folder in folders:
        plain = plain.setdefault(folder, {})
    plain[name] = value
