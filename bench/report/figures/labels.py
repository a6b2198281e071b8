"""Put labels beside points so that none covers another: places in reach are tried in turn, the nearest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from bench.report.figures.layout import width

GAP = 2.5  # points between a marker and its label
STEP = 3.0  # points by which the distance grows
FARTHEST = 80.0  # points
# directions from a point to its label, in degrees, tried in this order
ABOVE = (45, 135, 315, 225, 0, 180, 90, 270, 22, 158, 338, 202, 68, 112, 292, 248)
BELOW = (225, 180, 270, 202, 248, 45, 0, 315, 135, 90, 22, 158, 338, 68, 112, 292)
TIED = 6.0  # points beyond which a line ties a label to its point

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points


@dataclass(frozen=True)
class Label:
    """A text and the point that it belongs to, in data coordinates; `radius` is its marker's, in points."""

    text: str
    at: tuple[float, float]
    size: float
    colour: str = "0.15"
    weight: str = "normal"
    radius: float = 3.0
    angles: tuple[int, ...] = ABOVE


def place(axis: Axes, labels: Sequence[Label], taken: Sequence[Box] = ()) -> list[Box]:
    """Writes each label at the nearest free place inside the axes; returns their boxes in points.

    Markers count as taken, so do the boxes in `taken`. The first labels choose first. The limits must be final. A label
    without a free place in reach goes where it covers the least.
    """
    figure = axis.get_figure()
    assert figure is not None
    scale = 72.0 / figure.dpi
    frame = axis.get_window_extent()
    inside: Box = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    points = axis.transData.transform([label.at for label in labels]) * scale if labels else np.empty((0, 2))
    used = [
        *taken,
        *(_around(p, (2 * label.radius, 2 * label.radius)) for p, label in zip(points, labels, strict=True)),
    ]
    placed: list[Box] = []
    for point, label in zip(points, labels, strict=True):
        box = _free(point, label, inside, used)
        _write(axis, point, label, box)
        used.append(box)
        placed.append(box)
    return placed


def overlap(first: Box, second: Box) -> float:
    """The area that two boxes share."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, wide) * max(0.0, high)


def _free(point: np.ndarray, label: Label, inside: Box, used: Sequence[Box]) -> Box:
    best, least = (0.0, 0.0, 0.0, 0.0), float("inf")
    others = np.array(used).reshape(-1, 4)
    for box in _candidates(point, label):
        outside = (box[2] - box[0]) * (box[3] - box[1]) - overlap(box, inside)
        wide = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
        high = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
        covered = 10 * outside + float((wide.clip(0) * high.clip(0)).sum())
        if covered < least - 1e-6:
            best, least = box, covered
        if least < 1e-6:
            break
    return best


def _candidates(point: np.ndarray, label: Label) -> Iterator[Box]:
    size = _extent(label)
    for distance in np.arange(label.radius + GAP, FARTHEST, STEP):
        for angle in np.deg2rad(label.angles):
            x, y = np.cos(angle), np.sin(angle)
            # the nearest point of the box, not its middle, lies at the distance
            centre = point + distance * np.array([x, y]) + 0.5 * np.array(size) * np.array([_sign(x), _sign(y)])
            yield _around(centre, size)


def _sign(value: float) -> float:
    return 0.0 if abs(value) < 0.1 else float(np.sign(value))


def _extent(label: Label) -> tuple[float, float]:
    return 72 * width(label.text, label.size, label.weight) + 1.0, 1.1 * label.size


def _around(centre: np.ndarray, size: tuple[float, float]) -> Box:
    (x, y), (wide, high) = centre, size
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def _write(axis: Axes, point: np.ndarray, label: Label, box: Box) -> None:
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    nearest = np.clip(point, box[:2], box[2:])
    if float(np.linalg.norm(nearest - point)) > label.radius + TIED:
        axis.annotate(
            "", label.at, xytext=tuple(nearest - point), textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": label.colour, "lw": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axis.annotate(
        label.text, label.at, xytext=tuple(centre - point), textcoords="offset points", ha="center", va="center",
        fontsize=label.size, color=label.colour, weight=label.weight, zorder=6,
    )  # fmt: skip
