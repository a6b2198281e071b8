"""A metric's values in a row, and the key that each is found by."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import msgspec

from bench.common.run_spec import Weights
from bench.common.statistics import Better, Scale, usual_scale
from bench.results.row_index import KeptRow

SUFFIXES: dict[Weights, str] = {"last": "", "ema": "_ema", "best": "_best"}  # of a column, by the kind of weights
PREFERRED: tuple[Weights, ...] = ("best", "ema", "last")

_SHOWN = ("extractor", "images", "start", "bounds", "floor", "n_floor")  # what tables read of a value's detail
_REASON = re.compile(rb'"reason":"[^"]')
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class MetricKey(NamedTuple):
    """Which value of a run it is.

    Attributes:
        metric: the metric's name.
        part: what it was taken of where a metric has several values: a sampler, a method and noise level; else "".
        weights: of the energy.
    """

    metric: str
    part: str
    weights: Weights

    @classmethod
    @lru_cache(maxsize=4096)
    def parse(cls, name: str, weights: Weights) -> MetricKey:
        """The key of "metric" or "metric.part", as a row has it."""
        metric, _, part = name.partition(".")
        return cls(metric, part.replace(".", "_"), weights)

    @property
    def stem(self) -> str:
        """The column's name without the kind of weights."""
        return f"{self.metric}_{self.part}" if self.part else self.metric

    @property
    def column(self) -> str:
        """The name of its column in tables: "fid_own_ema"."""
        return self.stem + SUFFIXES[self.weights]


class _Shared(NamedTuple):
    """What a value has in common with that of other runs, so that thousands of runs hold it once."""

    n: int | None
    certified: bool
    reason: str
    unit: str
    better: Better
    scale: Scale


class MetricValue(msgspec.Struct, frozen=True, gc=False):
    """A value and what belongs to it; `value` is None where there is none, and then `reason` says why.

    Attributes:
        detail: of what else was measured with it, the part that tables read.
    """

    value: float | None = None
    stderr: float | None = None
    detail: Mapping[str, Any] = _NOTHING
    shared: _Shared = _Shared(None, True, "", "", "lower", "ratio")

    @property
    def n(self) -> int | None:
        """Of how many samples it was taken."""
        return self.shared.n

    @property
    def certified(self) -> bool:
        """Whether its numerical error is bounded."""
        return self.shared.certified

    @property
    def reason(self) -> str:
        """Why there is no value, or why it is not certified; "" if neither."""
        return self.shared.reason

    @property
    def unit(self) -> str:
        """Such as nats."""
        return self.shared.unit

    @property
    def better(self) -> Better:
        """Which direction is better."""
        return self.shared.better

    @property
    def scale(self) -> Scale:
        """How it is compared with another. A row of an earlier version does not say: ratio where lower is better."""
        return self.shared.scale

    @property
    def basis(self) -> str:
        """What an image metric stands on and must be read with, "n = 1000, digits-0123abcd"; "" for other metrics."""
        features = self.detail.get("extractor")
        return f"n = {self.n}, {features}" if features else ""

    @property
    def bounds(self) -> str:
        """In words, what a value bounds that is not an estimate of the thing itself; "" for other metrics."""
        return str(self.detail.get("bounds", ""))


class _Detail(msgspec.Struct, gc=False):
    """The part of a value's detail that tables read; anything else is passed over."""

    extractor: Any = None
    images: Any = None
    start: Any = None
    bounds: Any = None
    floor: Any = None
    n_floor: Any = None


_NO_DETAIL = _Detail()


class _Plain(msgspec.Struct, gc=False):
    """A value as rows have it."""

    value: float | None = None
    stderr: float | None = None
    n: int | None = None
    certified: bool | None = True
    reason: str | None = None
    value_reason: str | None = None
    unit: str = ""
    better: Better = "lower"
    detail: _Detail | None = None
    scale: Scale | None = None


_DECODER = msgspec.json.Decoder(dict[str, dict[Weights, _Plain]] | None)


def values_of_row(row: Mapping[str, Any] | None) -> dict[MetricKey, MetricValue]:
    """Every metric's values in a row."""
    if isinstance(row, KeptRow):
        with suppress(msgspec.ValidationError):
            read = _DECODER.decode(row.metrics_json()) or {}
            return {MetricKey.parse(name, w): _told(v) for name, of_name in read.items() for w, v in of_name.items()}
    found: dict[MetricKey, MetricValue] = {}
    for name, variants in ((row or {}).get("metrics") or {}).items():
        for weights, plain in variants.items():
            found[MetricKey.parse(name, cast(Weights, weights))] = _value(plain)
    return found


def _told(plain: _Plain) -> MetricValue:
    detail = plain.detail
    shown = _NOTHING
    if detail is not None and detail != _NO_DETAIL:
        shown = {name: v for name in _SHOWN if (v := getattr(detail, name)) is not None} or _NOTHING
    reason = plain.reason or plain.value_reason or ""
    scale = plain.scale or usual_scale(plain.better)
    shared = _shared(plain.n, bool(plain.certified), reason, plain.unit, plain.better, scale)
    return MetricValue(plain.value, plain.stderr, shown, shared)


def _value(plain: Mapping[str, Any]) -> MetricValue:
    better, detail = cast(Better, plain.get("better", "lower")), plain.get("detail")
    return MetricValue(
        plain.get("value"),
        plain.get("stderr"),
        ({name: detail[name] for name in _SHOWN if detail.get(name) is not None} if detail else None) or _NOTHING,
        _shared(
            plain.get("n"),
            bool(plain.get("certified", True)),
            plain.get("reason") or plain.get("value_reason") or "",
            plain.get("unit", ""),
            better,
            cast(Scale, plain.get("scale") or usual_scale(better)),
        ),
    )


@lru_cache(maxsize=4096)
def _shared(n: int | None, certified: bool, reason: str, unit: str, better: Better, scale: Scale) -> _Shared:
    return _Shared(n, certified, reason, unit, better, scale)


def reasons_of_row(row: Mapping[str, Any]) -> dict[str, list[str]]:
    """The metrics by the reason for which they lack a value."""
    if isinstance(row, KeptRow) and not _REASON.search(row.metrics_json()):
        return {}
    absent: dict[str, list[str]] = {}
    for name, variants in (row.get("metrics") or {}).items():
        for reason in dict.fromkeys(v["reason"] for v in variants.values() if v.get("reason")):
            absent.setdefault(reason, []).append(name)
    return absent


def preferred(keys: Collection[MetricKey], metric: str, part: str = "") -> MetricKey | None:
    """The key of a metric by the best weights, else by the averaged, else by the last; None if there is none."""
    wanted = (MetricKey(metric, part, weights) for weights in PREFERRED)
    return next((key for key in wanted if key in keys), None)
