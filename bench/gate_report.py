"""What the gate found, for people (a short table, Markdown) and for machines (JUnit XML, JSON)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from bench.errors import UsageError
from bench.gate import Check, exit_code
from bench.table import markdown as table_of

WORDS = {0: "good", 1: "regression", 4: "undecided"}
MOST = 40  # lines of a table that a person reads


def verdict(checks: Sequence[Check]) -> str:
    """One line: the word, and how many checks of each part came out how."""
    if any(c.part == "self-test" and c.outcome != "pass" for c in checks):
        return "gate broken: the self-test did not catch what was planted, so nothing below can be believed"
    counts = Counter((check.part, check.outcome) for check in checks)
    said = ", ".join(f"{part} {n} {outcome}" for (part, outcome), n in sorted(counts.items()))
    accept = "; accept what is better by `python -m bench accept`" if any(c.outcome == "better" for c in checks) else ""
    return f"{WORDS[exit_code(checks)]}: {said or 'nothing was compared'}{accept}"


def markdown(checks: Sequence[Check]) -> str:
    """The verdict, then every check that did not simply pass; nothing more where all did."""
    notable = [check for check in checks if check.outcome != "pass"]
    order = {"regression": 0, "undecided": 1, "better": 2}
    notable.sort(key=lambda check: order[check.outcome])
    parts = [f"**{verdict(checks)}**"]
    if notable:
        shown = pd.DataFrame([{k: v for k, v in asdict(c).items() if k != "command"} for c in notable[:MOST]])
        parts.append(table_of(shown[["outcome", "part", "cell", "metric", "before", "after", "allowed"]]))
        if len(notable) > MOST:
            parts.append(f"and {len(notable) - MOST} more: see the JSON")
        commands = dict.fromkeys(check.command for check in notable[:MOST] if check.command)
        if commands:
            parts.append("To measure them again:\n\n" + "\n".join(f"    {command}" for command in commands))
    return "\n\n".join(parts)


def plain(checks: Sequence[Check]) -> str:
    """Everything as JSON."""
    found = {"verdict": verdict(checks), "exit_code": exit_code(checks), "checks": [asdict(c) for c in checks]}
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def junit(checks: Sequence[Check]) -> str:
    """A test suite a part; a regression is a failure, what could not be decided an error."""
    root = ElementTree.Element("testsuites", name="bench gate")
    for part in dict.fromkeys(check.part for check in checks):
        own = [check for check in checks if check.part == part]
        failures, errors = (sum(c.outcome == word for c in own) for word in ("regression", "undecided"))
        counts = {"tests": str(len(own)), "failures": str(failures), "errors": str(errors)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": part, **counts})
        for check in own:
            case = ElementTree.SubElement(suite, "testcase", classname=check.cell, name=check.metric)
            kind = {"regression": "failure", "undecided": "error"}.get(check.outcome)
            if kind:
                message = f"before {check.before}, after {check.after}, allowed {check.allowed}"
                ElementTree.SubElement(case, kind, message=message).text = check.command
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write(checks: Sequence[Check], path: Path) -> None:
    """Writes the report as the suffix says: .md, .xml (JUnit) or .json.

    Raises:
        UsageError: if it is none of these, or the place cannot be written to.
    """
    forms = {".md": markdown, ".xml": junit, ".json": plain}
    if path.suffix not in forms:
        raise UsageError(f"a gate's report is written as .md, .xml or .json; got '{path.name}'")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(forms[path.suffix](checks))
    except OSError as error:
        raise UsageError(f"a report needs a place to write to; '{path}': {error.strerror}: give another") from None
