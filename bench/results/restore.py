"""A store from committed rows, so that a suite goes on where another machine left it."""

from __future__ import annotations

from collections.abc import Iterable

from bench.results.records import Record
from bench.results.store import Store


def restore(records: Iterable[Record], store: Store, source: str) -> int:
    """Writes the rows into a store that lacks them, each as an attempt that says where it comes from; returns how many.

    A run of the restored plan is kept if it is the same run still: if its settings and the code that makes its numbers
    are. Curves and pictures are not restored; committed rows do not hold them.

    Args:
        source: the file of the rows.

    Raises:
        UsageError: if the store is held by another process or cannot be written to.
    """
    listed = list(records)
    written = 0
    with store.lock():
        store.write_plan([record.run for record in listed])
        for record in listed:
            if record.row is None or store.rows_of(record.run):
                continue
            own = {k: v for k, v in record.row.items() if k != "provenance"}
            provenance = {**(record.get("provenance") or {}), "restored_from": source}
            store.begin(record.run, provenance).finish(own)
            written += 1
    return written
