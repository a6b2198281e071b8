"""The README's tables and pictures are of things that exist: a suite, objective or file that went leaves them stale."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import load, readme, samples_table, spec

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"<!-- bench:(\w+) (\w+)(?: \S+)? -->\n(.*?)<!-- bench:end -->", README, re.DOTALL)
KNOWN = {*load.names("objectives"), *load.names("denoisers")}


def test_there_are_tables() -> None:
    assert {"ranking", "verdict", readme.PARTS, "denoising", "samples", readme.PICTURE} <= {
        kind for kind, _, _ in BLOCKS
    }


@pytest.mark.parametrize(("suite", "text"), [block[1:] for block in BLOCKS if block[0] != readme.PICTURE])
def test_a_table_is_of_a_suite_and_of_objectives_that_exist(suite: str, text: str) -> None:
    assert suite in spec.suite_names()
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    rulers = {f"*{name}*" for name in samples_table.RULERS}
    names = {re.split(r"[\[ ]", row)[0] for row in rows if row != "objective" and row not in rulers}
    assert names, "the table is empty: run the suite, then: python -m bench table STORE --page README.md"
    assert names <= KNOWN


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_a_picture_or_link_leads_to_a_file(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_picture_is_of_the_runs_that_the_page_names() -> None:
    assert not readme.stale(ROOT / "README.md"), "run: python -m bench table STORE --page README.md"
