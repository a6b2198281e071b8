"""Writes the pages of plug-ins: a card for every objective, one page for the data sets and one for the metrics."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import plain_rst as rst

from bench.common.paths import HOME
from bench.plugins import registry
from bench.plugins.card import PARAMETER_HEADINGS, Card, card
from bench.results.boards import group_boards
from bench.results.committed_rows import read_rows
from bench.results.standings import Standing

RESULTS = HOME / "results"
COST = RESULTS / "cost" / "cost.csv"
NOT_MEASURED = "not measured"
_SHOWN_APART = ("name", "formula")  # of the facts of an objective


@dataclass(frozen=True)
class Place:
    """Where an entry stands on one board; `place` counts in the order of the table, 1 is its first line."""

    suite: str
    standing: Standing
    place: int
    entries: int

    @property
    def mean_rank(self) -> str:
        """One digit, or why there is none."""
        rank = self.standing.mean_rank
        return "not ranked" if rank is None else f"{rank:.1f}"


def write_all(folder: Path) -> None:
    """Writes every page under a folder."""
    cards = objective_cards()
    rst.write(folder / "objectives.rst", objectives_page(cards))
    for each in cards:
        rst.write(folder / "objectives" / f"{each.name}.rst", objective_page(each, folder / "objectives"))
    rst.write(folder / "datasets.rst", plugins_page("datasets", "Data sets", DATASETS))
    rst.write(folder / "metrics.rst", plugins_page("metrics", "Metrics", METRICS))


DATASETS = (
    "A data set is a function in ``datasets/``. Those of the plane know their density, score and entropy. A set that "
    "names downloads does not come with the project: ``python -m bench data list`` says what is there."
)
METRICS = (
    "A metric is a function in ``bench/metrics/``. Under *needs* stands what a data set must know, or *samples* where "
    "the metric looks at draws from the model. Where a need is not met, the row says n/a with the reason."
)


def objective_cards() -> list[Card]:
    """The card of every objective, sorted by name."""
    return [card(registry.find("objectives", name)) for name in registry.names("objectives")]


# the overview


def objectives_page(cards: list[Card]) -> str:
    """All objectives in a table, by family."""
    ordered = sorted(cards, key=lambda each: (each.fact("family"), each.name))
    names = "\n".join(f"   objectives/{each.name}" for each in ordered)
    return rst.page(
        rst.heading("Objectives"),
        f"{len(cards)} objectives, grouped by family. A card says what an objective declares, what a step costs, and "
        "where it stands in the committed tables. ``python -m bench show NAME`` prints the declared part.",
        "*Converges to* is the declared minimiser. Work is counted for an example of a training step. The mean rank is "
        "that of the committed rows of suite ``verdict_plane``.",
        *_families(ordered),
        f".. toctree::\n   :hidden:\n\n{names}",
    )


def _families(ordered: list[Card]) -> Iterator[str]:
    """A heading and a table for each family."""
    head = ("objective", "label", "converges to", "fwd+bwd", "mean rank")
    for family, members in groupby(ordered, key=lambda each: each.fact("family")):
        yield rst.heading(family, "-")
        yield rst.list_table([head, *map(_overview, members)], "46 20 14 10 10")


def _overview(each: Card) -> tuple[str, ...]:
    ranks = [place.mean_rank for place in places(each.name) if place.suite == "verdict_plane"]
    minimiser = each.fact("converges to").partition("(minimiser: ")[2].partition(")")[0]
    return (
        f":doc:`objectives/{each.name}`",
        rst.escaped(each.fact("label")),
        minimiser,
        _number(step_costs().get(each.name)),
        ranks[0] if ranks else "not run",
    )


# a card


def objective_page(each: Card, folder: Path) -> str:
    """The page of one objective."""
    return rst.page(
        rst.heading(each.name),
        rst.code_block(each.fact("formula")),
        _field_list([*((k, rst.escaped(v)) for k, v in each.facts if k not in _SHOWN_APART), _cost(each.name)]),
        rst.heading("Hyper-parameters", "-"),
        _parameters(each) or "None.",
        rst.heading("In the committed tables", "-"),
        *_tables(each.name, folder),
        rst.heading("Documentation", "-"),
        rst.docstring(each.documentation),
    )


def plugins_page(kind: registry.Kind, title: str, about: str) -> str:
    """One page for all plug-ins of a kind, a section each."""
    found = [card(registry.find(kind, name)) for name in registry.names(kind)]
    return rst.page(rst.heading(title), about, *(block for each in found for block in _section(each)))


def _section(each: Card) -> Iterator[str]:
    facts = [(k, rst.escaped(v)) for k, v in each.facts if k != "name"]
    yield from (rst.heading(each.name, "-"), _field_list(facts), rst.docstring(each.documentation), _parameters(each))


def _field_list(facts: list[tuple[str, str]]) -> str:
    return "\n".join(f":{name}: {value}" for name, value in facts)


def _parameters(each: Card) -> str:
    rows = [[f"``{p.name}``", f"``{p.default}``", rst.escaped(p.space), p.unit] for p in each.parameters]
    return rst.list_table([PARAMETER_HEADINGS, *rows]) if rows else ""


# what was measured


@cache
def step_costs() -> dict[str, float]:
    """Seconds of a training step over those of one forward and backward pass, by objective: of `bench cost`."""
    if not COST.is_file():
        return {}
    with COST.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return {line["objective"]: float(line["fwd_bwd_ratio"]) for line in lines if line["fwd_bwd_ratio"]}


def _cost(name: str) -> tuple[str, str]:
    cost = step_costs().get(name)
    words = f"{_number(cost)} forward and backward passes (CPU time; batch of 128, two hidden layers of 64)"
    return "cost of a step", NOT_MEASURED if cost is None else words


def _number(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.3g}"


@cache
def _all_places() -> tuple[Place, ...]:
    found = []
    for path in sorted((RESULTS / "data").glob("*.csv")):
        for suite, board in group_boards(read_rows(path)).items():
            standings = board.standings
            found += [Place(suite, each, k, len(standings)) for k, each in enumerate(standings, start=1)]
    return tuple(found)


def places(name: str) -> list[Place]:
    """Every entry of an objective on the committed boards."""
    return [place for place in _all_places() if name in set(place.standing.rows["name"])]


def _tables(name: str, folder: Path) -> Iterator[str]:
    found = places(name)
    if not found:
        yield "No committed table has this objective."
    for place in found:
        yield _sentence(place)
        rows = place.standing.rows
        cells = [
            [rst.escaped(str(v)) for v in line]
            for line in zip(rows["dataset"], rows["metric"], rows["shown"], strict=True)
        ]
        yield rst.list_table([("data set", "metric", "mean ± half the 95 % interval (rank)"), *cells])
    for suite in dict.fromkeys(place.suite for place in found):
        yield _pictures(suite, folder)


def _sentence(place: Place) -> str:
    shown = rst.escaped(place.standing.objective)
    ranked = "not ranked" if place.standing.mean_rank is None else f"mean rank {place.mean_rank}"
    control = " It is a control, known to be wrong, and never ranked." if place.standing.control else ""
    return (
        f"**{shown}** in suite ``{place.suite}``: line {place.place} of {place.entries}, {ranked}; "
        f"{place.standing.completed} runs completed.{control}"
    )


def _pictures(suite: str, folder: Path) -> str:
    found = sorted((RESULTS / "pictures").glob(f"{suite}-densities-*.png"))
    links = [f":download:`{path.stem.rpartition('densities-')[2]} <{rst.relative(path, folder)}>`" for path in found]
    return f"Pictures of the densities of all entries of ``{suite}``: {', '.join(links)}." if links else ""
