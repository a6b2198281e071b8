"""Tables inside a Markdown page, made from a store's rows: between markers, so that nobody types a number.

<!-- bench:ranking SUITE -->    the leaderboard's table of that suite
<!-- bench:spread SUITE -->     KL of the last, the averaged and the best weights: median and range over seeds
<!-- bench:verdict SUITE -->    every objective against the suite's reference
<!-- bench:denoising SUITE --> denoised images: PSNR and SSIM of every objective by every method, and of the rulers
<!-- bench:end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench import denoising_table, leaderboard, table, verdict
from bench.errors import UsageError
from bench.store import Store
from bench.table import Record

_BLOCK = re.compile(r"(<!-- bench:(\w+) (\w+) -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def refresh(page: Path, store: Store) -> list[str]:
    """Writes every marked table of the page again whose suite the store holds; returns the suites that it lacks.

    Raises:
        UsageError: if the page cannot be read, or asks for a kind of table that there is none of.
    """
    try:
        text = page.read_text()
    except OSError as error:
        raise UsageError(f"a page must be a readable file; '{page}': {error.strerror}") from None
    records = table.read(store)
    absent: list[str] = []

    def block(match: re.Match[str]) -> str:
        head, kind, suite, end = match.groups()
        if kind not in KINDS:
            raise UsageError(f"{page.name}: no table of kind '{kind}'; there are {', '.join(KINDS)}")
        chosen = [r for r in records if r.run.suite == suite]
        if not chosen:
            absent.append(suite)
            return match.group()
        if len({(r.run.spec["track"], r.run.device) for r in chosen}) > 1:
            raise UsageError(f"{store.root} holds suite {suite} on several tracks or devices; a page's table is of one")
        return f"{head}\n{KINDS[kind](chosen)}\n\n{leaderboard.provenance(chosen)}\n{end}"

    page.write_text(_BLOCK.sub(block, text))
    return absent


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


def _median_and_range(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


KINDS: dict[str, Callable[[Sequence[Record]], str]] = {
    "ranking": leaderboard.ranking,
    "spread": spread,
    "verdict": verdict.markdown,
    "denoising": denoising_table.markdown,
}
