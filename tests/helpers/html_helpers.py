"""The page of a store as tests ask of it."""

from __future__ import annotations

from html.parser import HTMLParser

from bench.report.html import page
from tests.helpers.store_builder import Shelf


class Page(HTMLParser):
    """What a test asks of a page: its elements with their attributes, and the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data

    def links(self) -> list[str]:
        return [a[k] for _, a in self.elements for k in ("src", "href", "action", "data") if k in a]

    def row(self, start: str) -> list[str]:
        return next([cell.strip() for cell in row] for row in self.rows if row and row[0].strip().startswith(start))


def page_of(shelf: Shelf) -> str:
    return page.render_page(shelf.store, shelf.records())
