"""What the gate found, for people (a short table, Markdown) and for machines (JUnit XML, JSON)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from bench.common.errors import UsageError
from bench.regression.checks import Check, broken, exit_code
from bench.results.tables import markdown_table as table_of

WORDS = {0: "good", 1: "regression", 4: "undecided"}
_JUNIT = {"regression": "failure", "undecided": "error", "better": "error"}
MOST = 40  # lines of a table that a person reads


def verdict(checks: Sequence[Check], options: str = "") -> str:
    """One line: the word, and how many checks of each part came out how.

    Args:
        options: of `update-baseline`, where what is better is to become the baseline.
    """
    if broken(checks):
        return "gate broken: the self-test missed an injected fault; results below are unreliable"
    counts = Counter((check.part, check.outcome) for check in checks)
    said = ", ".join(f"{part} {n} {outcome}" for (part, outcome), n in sorted(counts.items()))
    accept = (
        f'; make the improvement the baseline: `python -m bench update-baseline{options} --reason "..."`'
        if any(c.outcome == "better" for c in checks)
        else ""
    )
    return f"{WORDS[exit_code(checks)]}: {said or 'no comparisons'}{accept}"


def gate_markdown(checks: Sequence[Check], options: str = "") -> str:
    """The verdict, then every check that did not simply pass; nothing more where all did."""
    notable = [check for check in checks if check.outcome != "pass"]
    order = {"regression": 0, "undecided": 1, "better": 2}
    notable.sort(key=lambda check: order[check.outcome])
    parts = [f"**{verdict(checks, options)}**"]
    if notable:
        shown = pd.DataFrame([{k: v for k, v in asdict(c).items() if k != "command"} for c in notable[:MOST]])
        parts.append(table_of(shown[["outcome", "part", "cell", "metric", "before", "after", "allowed"]]))
        if len(notable) > MOST:
            parts.append(f"and {len(notable) - MOST} more: see the JSON")
        commands = dict.fromkeys(check.command for check in notable[:MOST] if check.command)
        if commands:
            parts.append("To measure them again:\n\n" + "\n".join(f"    {command}" for command in commands))
    return "\n\n".join(parts)


def plain(checks: Sequence[Check], options: str = "") -> str:
    """Everything as JSON."""
    found = {"verdict": verdict(checks, options), "exit_code": exit_code(checks), "checks": [asdict(c) for c in checks]}
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def junit(checks: Sequence[Check], _: str = "") -> str:
    """A test suite a part; a regression is a failure; what is undecided, or better and not accepted, an error."""
    root = ElementTree.Element("testsuites", name="bench gate")
    for part in dict.fromkeys(check.part for check in checks):
        own = [check for check in checks if check.part == part]
        kinds = [_JUNIT.get(check.outcome) for check in own]
        counts = {"tests": len(own), "failures": kinds.count("failure"), "errors": kinds.count("error")}
        suite = ElementTree.SubElement(root, "testsuite", {"name": part, **{k: str(v) for k, v in counts.items()}})
        for check, kind in zip(own, kinds, strict=True):
            case = ElementTree.SubElement(suite, "testcase", classname=check.cell, name=check.metric)
            if kind:
                message = f"before {check.before}, after {check.after}, allowed {check.allowed}"
                ElementTree.SubElement(case, kind, message=message).text = check.command
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


REPORT_FORMATS = {".md": lambda checks, options: gate_markdown(checks, options) + "\n", ".xml": junit, ".json": plain}


def require(paths: Iterable[Path], forms: Collection[str]) -> None:
    """Goes on if every report can be written in the form that its suffix asks for.

    Raises:
        UsageError: if one cannot; better before an hour's measurements than after.
    """
    for path in paths:
        if path.suffix not in forms:
            raise UsageError(f"this report is written as {', '.join(forms)}; got '{path.name}'")


def save_reports(text: str, path: Path) -> None:
    """Writes a report.

    Raises:
        UsageError: if the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"a report needs a place to write to; '{path}': {error.strerror}: give another") from None
