"""Tables and pictures inside a Markdown page, made from a store's rows: between markers, so that nobody types a number.

<!-- bench:ranking SUITE -->    the leaderboard's table of that suite
<!-- bench:spread SUITE -->     KL of the last, the averaged and the best weights: median and range over seeds
<!-- bench:verdict SUITE -->    every objective against the suite's reference
<!-- bench:parts SUITE -->      the verdicts of a suite's parts, which stand elsewhere on the page, in one table
<!-- bench:samples SUITE -->    samples by each sampler, beside test images, a Gaussian fitted to the pixels, and noise
<!-- bench:denoising SUITE -->  denoised images: PSNR and SSIM of every objective by every method, and of the rulers
<!-- bench:picture SUITE FIGURE -->  the picture that is linked inside: a figure of that suite, or `page`
<!-- bench:end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench import denoising_table, leaderboard, readme_pictures, samples_table, table, verdict, verdict_parts
from bench.errors import UsageError
from bench.store import Store
from bench.table import Record

PICTURE = "picture"
PARTS = "parts"
_BLOCK = re.compile(r"(<!-- bench:(\w+) (\w+)(?: (\S+))? -->\n)(.*?)(<!-- bench:end -->)", re.DOTALL)
_MADE_FROM = re.compile(r"^\*(`python -m bench run --suite .*)\*$", re.MULTILINE)


def refresh(page: Path, store: Store) -> list[str]:
    """Writes every marked table and picture of the page again whose suite the store holds.

    Returns:
        A sentence for each block that stays as it was, with the reason.

    Raises:
        UsageError: if the page cannot be read, or asks for a table or picture that there is none of.
    """
    text = _read(page)
    records = table.read(store)
    stays: list[str] = []

    def block(match: re.Match[str]) -> str:
        head, kind, suite, what, inside, end = match.groups()
        if kind == PARTS:
            return match.group()
        if kind not in (*KINDS, PICTURE):
            raise UsageError(f"{page.name}: no table of kind '{kind}'; there are {', '.join((*KINDS, PARTS, PICTURE))}")
        chosen = [r for r in records if r.run.suite == suite]
        if not chosen:
            stays.append(f"{store.root} holds no run of suite {suite}: its {kind} in {page.name} stays as it was")
            return match.group()
        if len({(r.run.spec["track"], r.run.device) for r in chosen}) > 1:
            raise UsageError(f"{store.root} holds suite {suite} on several tracks or devices; a page's table is of one")
        made_from = leaderboard.provenance(chosen)
        if kind != PICTURE:
            return f"{head}\n{KINDS[kind](chosen)}\n\n{made_from}\n{end}"
        link = readme_pictures.LINK.search(inside)
        if link is None or what is None:
            raise UsageError(f"{page.name}: a picture of suite {suite} must name its figure and link a .png inside")
        path = page.parent / link.group(1)
        if reason := readme_pictures.made(store, chosen, what, path, _plain(made_from)):
            stays.append(f"{link.group(1)} stays as it was: {reason}")
            return match.group()
        return f"{head}\n{link.group()}\n\n{made_from}\n{end}"

    page.write_text(with_parts(_BLOCK.sub(block, text)))
    return stays


def with_parts(text: str) -> str:
    """A page with its tables of parts made from the verdicts that it has."""
    verdicts = {suite: inside for _, kind, suite, _, inside, _ in _BLOCK.findall(text) if kind == "verdict"}

    def block(match: re.Match[str]) -> str:
        head, kind, suite, _, _, end = match.groups()
        return f"{head}\n{verdict_parts.markdown(suite, verdicts)}\n{end}" if kind == PARTS else match.group()

    return _BLOCK.sub(block, text)


def stale(page: Path) -> list[str]:
    """What of a page is not of the runs that the page names; a sentence each, none if all is well.

    It needs no store: a picture has inside it which runs it was made from, and the block around it says so, too; a
    table of parts is made from others of the page.

    Raises:
        UsageError: if the page cannot be read, or lacks the verdict of a part.
    """
    text = _read(page)
    found = [] if with_parts(text) == text else ["a table of parts is not of the verdicts that the page has"]
    named: dict[str, set[str]] = {}
    folders = set()
    for _, kind, suite, _, inside, _ in _BLOCK.findall(text):
        made_from = [_plain(line) for line in _MADE_FROM.findall(inside)]
        named.setdefault(suite, set()).update(made_from or ["nothing"])
        for link in readme_pictures.LINK.findall(inside) if kind == PICTURE else ():
            folders.add(Path(link).parent)
            if not (path := page.parent / link).exists():
                found.append(f"{link} does not exist")
            elif (runs := readme_pictures.says(path)) not in made_from:
                found.append(f"{link} is of other runs: {runs or 'it does not say of which'}")
    outside = readme_pictures.LINK.findall(_BLOCK.sub("", text))
    # what other commands draw lies in folders of its own
    found += [f"{link} stands in no block" for link in outside if Path(link).parent in folders]
    found += [
        f"{suite} is of several sets of runs: {' / '.join(sorted(v))}" for suite, v in named.items() if len(v) > 1
    ]
    return found


def spread(records: Sequence[Record]) -> str:
    """Median and range over seeds of the KL of the last, averaged and best weights, one line an objective and set."""
    lines = []
    for (_, _, _, objective, dataset), cell in table.cells(records).items():
        lines.append(
            {
                "objective": objective,
                "data set": dataset,
                **{
                    f"KL, {weights}": _median_and_range(cell.numbers(column)) or cell.word(column)
                    for weights, column in (("last", "kl"), ("averaged", "kl_ema"), ("best by validation", "kl_best"))
                },
                "mode-weight error": _median_and_range(cell.numbers("mode_weight_error_best")) or "n/a",
            }
        )
    return table.markdown(pd.DataFrame(lines).sort_values(["data set", "objective"]))


def _read(page: Path) -> str:
    try:
        return page.read_text()
    except OSError as error:
        raise UsageError(f"a page must be a readable file; '{page}': {error.strerror}") from None


def _plain(provenance: str) -> str:
    """A caption without the little Markdown that it is written in."""
    return re.sub("[`*]", "", provenance)


def _median_and_range(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


KINDS: dict[str, Callable[[Sequence[Record]], str]] = {
    "ranking": leaderboard.ranking,
    "spread": spread,
    "verdict": verdict.markdown,
    "denoising": denoising_table.markdown,
    "samples": samples_table.beside_rulers,
}
