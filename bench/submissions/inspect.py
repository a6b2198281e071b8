"""What can be said of a submission without running anything of it: files, hashes, rows, and what its source may do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bench.common import fingerprint
from bench.common.errors import UsageError
from bench.results.committed_rows import read_rows
from bench.results.integrity import file_digest
from bench.results.records import Record
from bench.results.submission_files import ABOUT, ENVIRONMENTS, ROWS, TUNING, Submission

LICENCE = "SPDX-License-Identifier:"
LARGEST = 5_000_000  # bytes of a file
MOST_LINES = 100  # of an objective
MODULES = {
    *("__future__", "bench.api", "torch", "numpy", "scipy", "math", "typing"),
    *("collections", "dataclasses", "functools", "itertools"),
}
FORBIDDEN = {"exec", "eval", "compile", "open", "__import__", "globals", "vars", "breakpoint", "input"}
# what reads or writes files, or runs code, in the modules that are allowed
REACHING = {
    *("load", "save", "hub", "jit", "ops", "classes", "package", "utils", "multiprocessing", "distributed"),
    *("fromfile", "tofile", "memmap", "loadtxt", "savetxt", "genfromtxt", "ctypeslib", "io"),
}


def licence_of(source: str) -> str:
    """The licence that a file says in its first ten lines; "" if none."""
    found = re.search(rf"{re.escape(LICENCE)}\s*(\S+)", "\n".join(source.splitlines()[:10]))
    return found[1] if found else ""


def faults_of_files(folder: Path, about: Submission) -> list[str]:
    """What is wrong with a submission's files and source; only if nothing is may its rows be read and it be run."""
    faults = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            faults.append(f"{path.name}: a submission holds plain files only")
        elif path.stat().st_size > LARGEST:
            faults.append(f"{path.name}: a file may have {LARGEST} bytes; it has {path.stat().st_size}")
    if faults:
        return faults
    present, said = {path.name for path in folder.iterdir()} - {ABOUT}, set(about.files)
    known = {about.objective, ROWS, TUNING, ENVIRONMENTS}
    faults += [f"{name}: listed, and not there" for name in sorted(said - present)]
    faults += [f"{name}: there, and not listed" for name in sorted(present - said)]
    faults += [f"{name}: no part of a submission" for name in sorted(said - known)]
    faults += [f"{name}: missing" for name in sorted({about.objective, ROWS} - said)]
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\.py", about.objective):
        faults.append(f"objective: must be the name of a Python file; got '{about.objective}'")
    if faults:
        return faults
    faults += [
        f"{name}: changed since it was packed" for name, sha in about.files.items() if file_digest(folder / name) != sha
    ]
    return faults or list(_faults_of_source(folder / about.objective, about))


def _faults_of_source(path: Path, about: Submission) -> Iterator[str]:
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        yield f"{path.name}: no Python ({error})"
        return
    if len(source.splitlines()) > MOST_LINES:
        yield f"{path.name}: an objective has at most {MOST_LINES} lines; it has {len(source.splitlines())}"
    if not licence_of(source):
        yield f"{path.name}: says no licence; add '# {LICENCE} MIT', or another"
    for node in ast.walk(tree):
        line = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for module in modules:
                if module not in MODULES and module.partition(".")[0] not in MODULES - {"bench.api"}:
                    yield f"{line}: may not import {module}"
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN:
            yield f"{line}: may not use {node.id}"
        elif isinstance(node, ast.Attribute) and (node.attr in REACHING or node.attr.startswith("__")):
            yield f"{line}: may not use .{node.attr}"
    for node in tree.body:
        declares = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
        if not isinstance(node, declares) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield f"{path.name}:{node.lineno}: a plug-in only declares; this statement runs at import"
    if (found := fingerprint.code(path)) != about.code:
        yield f"{path.name}: means {found}; the rows were made with {about.code}"


def rows_of(folder: Path, about: Submission) -> tuple[list[Record], list[str]]:
    """The rows of a submission, and what is wrong with them."""
    try:
        records = read_rows(folder / ROWS)
    except UsageError as error:
        return [], [str(error)]
    faults = []
    for record in records:
        spec = record.spec
        name = f"{spec.dataset.label}, seed {spec.seed}"
        if (spec.suite, spec.suite_version or 1, spec.objective.sha) != (about.suite, about.protocol, about.code):
            faults.append(f"{name}: of another suite, protocol version or objective than {ABOUT} says")
        if spec.reference_fit or spec.classical or spec.control:
            faults.append(f"{name}: a submission has entries only")
        for key, found in record.values.items():
            if key.metric == "kl" and found.value is not None and found.value < 0:
                faults.append(f"{name}: {key.column} is {found.value:g}; no divergence is below 0")
    keys = [(r.spec.dataset.label, r.spec.seed, r.spec.objective.label, r.spec.tuned) for r in records]
    faults += [f"{key[0]}, seed {key[1]}: twice" for key in sorted({k for k in keys if keys.count(k) > 1})]
    return records, faults if records else [*faults, "it has no rows"]
