"""A metric's values in a row, and the key that each is found by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from bench.common.run_spec import Weights
from bench.common.statistics import Better, Scale, usual_scale

SUFFIXES: dict[Weights, str] = {"last": "", "ema": "_ema", "best": "_best"}  # of a column, by the kind of weights
PREFERRED: tuple[Weights, ...] = ("best", "ema", "last")

_SHOWN = ("extractor", "images", "start", "bounds", "floor", "n_floor")  # what tables read of a value's detail
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


class MetricValue(NamedTuple):
    """A value and what belongs to it; `value` is None where there is none, and then `reason` says why.

    Attributes:
        detail: of what else was measured with it, the part that tables read.
        scale: how it is compared with another. A row of an earlier version does not say: ratio where lower is better.
    """

    value: float | None = None
    stderr: float | None = None
    n: int | None = None
    certified: bool = True
    reason: str = ""
    unit: str = ""
    better: Better = "lower"
    detail: Mapping[str, Any] = _NOTHING
    scale: Scale = "ratio"

    @property
    def basis(self) -> str:
        """What an image metric stands on and must be read with, "n = 1000, digits-0123abcd"; "" for other metrics."""
        features = self.detail.get("extractor")
        return f"n = {self.n}, {features}" if features else ""

    @property
    def bounds(self) -> str:
        """In words, what a value bounds that is not an estimate of the thing itself; "" for other metrics."""
        return str(self.detail.get("bounds", ""))


def values_of_row(row: Mapping[str, Any] | None) -> dict[MetricKey, MetricValue]:
    """Every metric's values in a row."""
    found: dict[MetricKey, MetricValue] = {}
    for name, variants in ((row or {}).get("metrics") or {}).items():
        for weights, plain in variants.items():
            found[MetricKey.parse(name, cast(Weights, weights))] = _value(plain)
    return found


def _value(plain: Mapping[str, Any]) -> MetricValue:
    better, detail = cast(Better, plain.get("better", "lower")), plain.get("detail")
    return MetricValue(
        plain.get("value"),
        plain.get("stderr"),
        plain.get("n"),
        bool(plain.get("certified", True)),
        plain.get("reason") or plain.get("value_reason") or "",
        plain.get("unit", ""),
        better,
        ({name: detail[name] for name in _SHOWN if name in detail} if detail else None) or _NOTHING,
        cast(Scale, plain.get("scale") or usual_scale(better)),
    )


def preferred(keys: Collection[MetricKey], metric: str, part: str = "") -> MetricKey | None:
    """The key of a metric by the best weights, else by the averaged, else by the last; None if there is none."""
    wanted = (MetricKey(metric, part, weights) for weights in PREFERRED)
    return next((key for key in wanted if key in keys), None)
