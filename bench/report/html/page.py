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

from bench.common.errors import UsageError, no_runs
from bench.common.json_files import to_plain
from bench.report.bounds import MOST_LISTED, charted_part, drawn_part, listed_part
from bench.report.figures import curves, plots
from bench.report.html import charts, comparison, images
from bench.report.html.entries import board_entry, board_keys, differing_costs, html_id, ranking_group, run_entry
from bench.report.html.sections import denoised, fwd_bwd_ratio, page_sections, table_cells
from bench.report.markdown.sections import environments
from bench.results import labels, proxy_correlation, standings, tables
from bench.results.boards import Board, group_boards
from bench.results.records import FAILURES, Record, read_records
from bench.results.standings import Standing
from bench.results.store import Store

TEMPLATES = Path(__file__).with_name("templates")
LEAST_OF_ENTRY = 20  # runs that an entry's section lists, however many entries there are
COLOURS = 10  # as many as the style sheet names
_MIME = {".csv": "text/csv", ".md": "text/markdown", ".tex": "application/x-tex"}


def write_page(root: Path, out: Path) -> None:
    """Writes the page of the store at `root` to `out`.

    Raises:
        UsageError: if there is no plan in the store, or the file cannot be written.
    """
    store = Store(root)
    records = read_records(store)
    if not records:
        raise no_runs(root)
    page = render_page(store, records)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"a page needs a place to write to; '{out}': {error.strerror}: give another --out") from None


def render_page(store: Store, records: Sequence[Record]) -> str:
    """The page as text."""
    keys = board_keys(records)
    sections = [*denoised(store.root, records), *page_sections(store.root, records)]
    costs = fwd_bwd_ratio(sections)
    families = sorted({record.spec.objective.family for record in records})
    colours = {family: f"f{i % COLOURS}" for i, family in enumerate(families)}
    boards = [_board(store, name, board, costs, colours) for name, board in group_boards(records).items()]
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
    environment.filters["words"] = labels.display_name
    environment.filters["little_markdown"] = _code
    listed = listed_part(records)
    ids = {(board["suite"], entry["label"]): entry["id"] for board in boards for entry in board["entries"]}
    return environment.get_template("page.html").render(
        boards=boards,
        verdicts=[
            {**v, "downloads": _downloads(v["tables"][0], f"verdict-{v['suite']}", v["tables"][1])}
            for v in comparison.verdicts(records, ids)
        ],
        runs=[run_entry(record, keys[ranking_group(record)]) for record in listed.records],
        runs_left_out=listed.left_out,
        mixed=differing_costs(records),
        downloads_of_runs=_downloads(tables.records_frame(listed.records), "results"),
        extras=[
            {
                "id": s.id,
                "title": s.title,
                "short": s.short,
                "note": s.note,
                "made": s.made,
                "columns": list(s.table.columns),
                "lines": table_cells(s.table),
                "pictures": s.pictures,
                "downloads": _downloads(s.table, s.id),
            }
            for s in sections
        ],
        about=_about(records),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup("".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("charts.js", "page.js"))),
    )


def _json(value: Any) -> Markup:
    """Plain values inside a script element, where `</script>` or `<!--` must not appear."""
    text = json.dumps(to_plain(value), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _about(records: Sequence[Record]) -> dict[str, Any]:
    ended = [str(end) for r in records if (end := r.get("provenance.ended"))]
    counts = pd.Series([record.status for record in records]).value_counts()
    return {
        "counts": [(str(status), int(n)) for status, n in counts.items()],
        "objectives": len({r.objective for r in records if not r.spec.classical}),
        "datasets": len({r.dataset for r in records}),
        "newest": max(ended, default="")[:16].replace("T", " "),
        "commits": sorted({str(sha)[:10] for r in records if (sha := r.get("provenance.git_sha"))}),
    }


def _board(store: Store, name: str, board: Board, costs: dict[str, float], colours: dict[str, str]) -> dict[str, Any]:
    """A suite on one track and device, as the templates read it."""
    frame, order, records = board.frame, board.standings, board.records
    arrays = plots.first_arrays(store, drawn_part(board).records)
    datasets = list(dict.fromkeys(record.dataset for record in records))
    board_id = html_id(name)
    most = max(LEAST_OF_ENTRY, MOST_LISTED // max(len(order), 1))
    entries = [board_entry(store, board_id, n, s, records, costs, most) for n, s in enumerate(order, start=1)]
    for entry in entries:
        entry["colour"] = colours[entry["family"]]
    provenance = standings.provenance(records)
    part = charted_part(board)
    drawn = charts.charts(store, records, order, {record.spec.seed for record in part.records})
    proxies = proxy_correlation.agreement(drawn, [e["number"] for e in entries if e["control"]])
    legend = [{k: e[k] for k in ("number", "id", "name", "family", "colour", "control")} for e in entries]
    return {
        "id": board_id,
        "suite": board.key.suite,
        "track": board.key.track.replace("_", " "),
        "device": board.key.device,
        "caption": _code(standings.caption(frame)),
        "environments": [_code(text) for text in [environments(records)] if text],
        "has_results": any(record.status == "ok" for record in records),
        "mixed": bool(differing_costs(records)),
        "provenance": _code(provenance),
        "caption_of_figures": re.sub("[`*]", "", provenance),
        "datasets": [{"id": d, "name": labels.display_name(d), **_ruler(frame, records, d)} for d in datasets],
        "families": sorted({e["family"] for e in entries}),
        "entries": entries,
        "has_fb": any(e["fwd_bwd_ratio"] is not None for e in entries),
        "gallery": [_gallery(arrays, dataset, order, entries) for dataset in datasets],
        "left_out": part.left_out,
        "charts": {**drawn, "objectives": legend, "top": curves.TOP},
        "proxies": {"columns": list(proxies), "lines": table_cells(proxies)},
        "downloads_of_proxies": _downloads(proxies, f"{board_id}-proxies") if len(proxies) else [],
        "troubles": (troubles := standings.failures(records)),
        "failed": any(trouble.status in FAILURES for trouble in troubles),
        "downloads": _downloads(standings.ranking_frame(frame), board_id, frame.drop(columns=["shown", "key"])),
    }


def _ruler(frame: pd.DataFrame, records: Sequence[Record], dataset: str) -> dict[str, Any]:
    """What a data set's column shows: metric, unit, direction, how many samples and which features it stands on."""
    first = frame[frame["dataset"] == dataset].iloc[0]
    estimates = [r.value(first["key"]) for r in records if r.dataset == dataset and r.status == "ok"]
    samples = sorted({int(n) for e in estimates if (n := e.n)})
    features = sorted({str(f) for e in estimates if (f := e.detail.get("extractor"))})
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
        shown = images.pictures(on_it.get(standing.objective, {}))
        shown = {name: uri for name, uri in shown.items() if not images.is_given(name)}
        tiles.append({"entry": entry, "pictures": shown, "cell": entry["cells"].get(dataset)})
    truth = images.truth(first)
    kinds = list(dict.fromkeys(kind for tile in tiles for kind in tile["pictures"]))
    given = {name: uri for name, uri in images.pictures(first).items() if images.is_given(name)}
    if "clean" in given and all(kind.startswith("denoised") for kind in kinds):
        given.pop("data", None)  # beside denoised images the originals are the truth
    return {
        "id": dataset,
        "name": labels.display_name(dataset),
        "references": {"the truth": truth} if truth else given,
        "images": truth is None,
        "kinds": kinds,
        "scales": images.scales(kinds),
        "tiles": tiles,
    }


def _downloads(printed: pd.DataFrame, name: str, exact: pd.DataFrame | None = None) -> list[dict[str, str]]:
    """A table as files inside the page: CSV holds every digit, Markdown and LaTeX what is printed."""
    links = []
    for suffix, mime in _MIME.items():
        text = tables.table_text(exact if suffix == ".csv" and exact is not None else printed, suffix)
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
