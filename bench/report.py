"""The leaderboard as one HTML file that needs nothing else: tables, charts, galleries and every run's particulars.

All of it comes from rows, curves, saved arrays and what other commands left beside them. The same store gives the same
bytes.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import (
    leaderboard,
    plots,
    report_charts,
    report_extras,
    report_pictures,
    report_proxies,
    report_rows,
    report_verdict,
    table,
)
from bench.errors import UsageError
from bench.leaderboard import Standing
from bench.plain import plain
from bench.store import Store
from bench.table import FAILURES, Record

TEMPLATES = Path(__file__).with_name("templates")
COLOURS = 10  # as many as the style sheet names
_MIME = {".csv": "text/csv", ".md": "text/markdown", ".tex": "application/x-tex"}


def write(root: Path, out: Path) -> None:
    """Writes the page of the store at `root` to `out`.

    Raises:
        UsageError: if there is no plan in the store, or the file cannot be written.
    """
    store = Store(root)
    records = table.read(store)
    if not records:
        raise UsageError(f"'{root}' holds no plan of any suite; run one into it first")
    page = render(store, records)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"a page needs a place to write to; '{out}': {error.strerror}: give another --out") from None


def render(store: Store, records: Sequence[Record]) -> str:
    """The page as text."""
    columns = report_rows.columns(records)
    sections = [*report_extras.denoised(store.root, records), *report_extras.extras(store.root, records)]
    costs = report_extras.times_fb(sections)
    families = sorted({plots.family(record.run) for record in records})
    colours = {family: f"f{i % COLOURS}" for i, family in enumerate(families)}
    boards = [_board(store, name, chosen, costs, colours) for name, chosen in plots.boards(records).items()]
    # the widest suite first; what has only been planned last
    boards.sort(key=lambda board: (not board["has_results"], -len(board["entries"]) * len(board["datasets"])))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain_json"] = _json
    environment.filters["words"] = plots.words
    environment.filters["little_markdown"] = _code
    ids = {(board["suite"], entry["label"]): entry["id"] for board in boards for entry in board["entries"]}
    return environment.get_template("page.html").render(
        boards=boards,
        verdicts=[
            {**v, "downloads": _downloads(v["tables"][0], f"verdict-{v['suite']}", v["tables"][1])}
            for v in report_verdict.verdicts(records, ids)
        ],
        runs=[report_rows.run(record, columns[report_rows.place(record)]) for record in records],
        mixed=report_rows.mixed(records),
        downloads_of_runs=_downloads(table.lines_of(records), "results"),
        extras=[
            {
                "id": s.id,
                "title": s.title,
                "short": s.short,
                "note": s.note,
                "made": s.made,
                "columns": list(s.table.columns),
                "lines": report_extras.shown(s.table),
                "pictures": s.pictures,
                "downloads": _downloads(s.table, s.id),
            }
            for s in sections
        ],
        about=_about(records),
        style=Markup((TEMPLATES / "style.css").read_text()),
        script=Markup("".join((TEMPLATES / name).read_text() for name in ("charts.js", "page.js"))),
    )


def _json(value: Any) -> Markup:
    """Plain values inside a script element, where `</script>` or `<!--` must not appear."""
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _about(records: Sequence[Record]) -> dict[str, Any]:
    ended = [str(end) for r in records if (end := r.get("provenance.ended"))]
    counts = pd.Series([record.status for record in records]).value_counts()
    return {
        "counts": [(str(status), int(n)) for status, n in counts.items()],
        "objectives": len({r.run.objective for r in records if not r.run.classical}),
        "datasets": len({r.run.dataset for r in records}),
        "newest": max(ended, default="")[:16].replace("T", " "),
        "commits": sorted({str(sha)[:10] for r in records if (sha := r.get("provenance.git_sha"))}),
    }


def _board(
    store: Store, name: str, records: Sequence[Record], costs: dict[str, float], colours: dict[str, str]
) -> dict[str, Any]:
    """A suite on one track and device, as the templates read it."""
    frame = table.leaderboard(records)
    order = leaderboard.standings(frame)
    first, spec = records[0], records[0].run.spec
    arrays = plots.first_arrays(store, records)
    datasets = list(dict.fromkeys(record.run.dataset for record in records))
    board = report_rows.slug(name)
    entries = [report_rows.entry(store, board, n, s, records, costs) for n, s in enumerate(order, start=1)]
    for entry in entries:
        entry["colour"] = colours[entry["family"]]
    provenance = leaderboard.provenance(records)
    drawn = report_charts.charts(store, records, order)
    proxies = report_proxies.agreement(drawn, [e["number"] for e in entries if e["control"]])
    legend = [{k: e[k] for k in ("number", "id", "name", "family", "colour", "control")} for e in entries]
    return {
        "id": board,
        "suite": first.run.suite,
        "track": str(spec["track"]).replace("_", " "),
        "device": first.run.device,
        "caption": _code(leaderboard.caption(frame)),
        "environments": [_code(text) for text in leaderboard.environments(store, records)],
        "has_results": any(record.status == "ok" for record in records),
        "mixed": bool(report_rows.mixed(records)),
        "provenance": _code(provenance),
        "caption_of_figures": re.sub("[`*]", "", provenance),
        "datasets": [{"id": d, "name": plots.words(d), **_ruler(frame, records, d)} for d in datasets],
        "families": sorted({e["family"] for e in entries}),
        "entries": entries,
        "has_fb": any(e["times_fb"] is not None for e in entries),
        "gallery": [_gallery(arrays, dataset, order, entries) for dataset in datasets],
        "charts": {**drawn, "objectives": legend, "top": plots.TOP},
        "proxies": {"columns": list(proxies), "lines": report_extras.shown(proxies)},
        "downloads_of_proxies": _downloads(proxies, f"{board}-proxies") if len(proxies) else [],
        "troubles": (troubles := leaderboard.troubles(records)),
        "failed": any(trouble.status in FAILURES for trouble in troubles),
        "downloads": _downloads(leaderboard.ranking_table(frame), board, frame.drop(columns="shown")),
    }


def _ruler(frame: pd.DataFrame, records: Sequence[Record], dataset: str) -> dict[str, Any]:
    """What a data set's column shows: metric, unit, direction, how many samples and which features it stands on."""
    first = frame[frame["dataset"] == dataset].iloc[0]
    estimates = [r.estimate(first["metric"]) for r in records if r.run.dataset == dataset and r.status == "ok"]
    samples = sorted({int(n) for e in estimates if (n := e.get("n"))})
    features = sorted({str(f) for e in estimates if (f := (e.get("detail") or {}).get("extractor"))})
    basis = [*(["n = " + "/".join(map(str, samples))] if samples else []), *features]
    return {"metric": first["metric"], "unit": first["unit"], "better": first["better"], "basis": ", ".join(basis)}


def _gallery(
    arrays: dict[tuple[str, str], dict[str, Any]], dataset: str, order: Sequence[Standing], entries: Sequence[Any]
) -> dict[str, Any]:
    """One data set: what is true of it, then every objective that left a picture, in the board's order."""
    on_it = {objective: a for (objective, d), a in arrays.items() if d == dataset}
    first = next(iter(on_it.values()), {})
    tiles = []
    for standing, entry in zip(order, entries, strict=True):
        shown = report_pictures.pictures(on_it.get(standing.objective, {}))
        shown = {name: uri for name, uri in shown.items() if not report_pictures.is_given(name)}
        tiles.append({"entry": entry, "pictures": shown, "cell": entry["cells"].get(dataset)})
    truth = report_pictures.truth(first)
    kinds = list(dict.fromkeys(kind for tile in tiles for kind in tile["pictures"]))
    given = {name: uri for name, uri in report_pictures.pictures(first).items() if report_pictures.is_given(name)}
    if "clean" in given and all(kind.startswith("denoised") for kind in kinds):
        given.pop("data", None)  # beside denoised images the originals are the truth
    return {
        "id": dataset,
        "name": plots.words(dataset),
        "references": {"the truth": truth} if truth else given,
        "images": truth is None,
        "kinds": kinds,
        "tiles": tiles,
    }


def _downloads(printed: pd.DataFrame, name: str, exact: pd.DataFrame | None = None) -> list[dict[str, str]]:
    """A table as files inside the page: CSV holds every digit, Markdown and LaTeX what is printed."""
    links = []
    for suffix, mime in _MIME.items():
        text = table.text(exact if suffix == ".csv" and exact is not None else printed, suffix)
        uri = f"data:{mime};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
        links.append(
            {"name": f"{name}{suffix}", "kind": {".csv": "CSV", ".md": "Markdown", ".tex": "LaTeX"}[suffix], "uri": uri}
        )
    return links


def _code(text: str) -> Markup:
    """The little Markdown that captions are written in: `code`, **strong** and *emphasis*."""
    safe = html.escape(text)
    safe = re.sub(r"`([^`]*)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*([^*]*)\*\*", r"<strong>\1</strong>", safe)
    return Markup(re.sub(r"\*([^*]*)\*", r"<em>\1</em>", safe))
