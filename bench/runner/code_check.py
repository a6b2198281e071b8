"""Whether the code that makes a run's numbers is still that of its plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.common import fingerprint
from bench.common.data_paths import names_data_path, reader_of
from bench.common.paths import HARNESS
from bench.common.plugin_source import FOLDERS, Kind
from bench.common.references import split_reference
from bench.common.run_spec import DENOISER, RunSpec

_known: dict[Path, tuple[tuple[tuple[Path, int], ...], str]] = {}


def changed_code(spec: RunSpec) -> str:
    """The file of a run's code that was edited since it was planned; "" if none was, or the plan does not say."""
    for path, sha in _parts(spec):
        if sha and not _is_code(path, sha):
            return _newest(path)
    return ""


def _is_code(path: Path, sha: str) -> bool:
    try:
        return path.is_file() and _code(path) == sha
    except (SyntaxError, ValueError, FileNotFoundError):  # it was edited to what is no Python, or goes just now
        return False


def _code(path: Path) -> str:
    """`fingerprint.code`, computed again only once a file that it stands on has another age."""
    known = _known.get(path)
    if known is None or any(not file.is_file() or file.stat().st_mtime_ns != age for file, age in known[0]):
        ages = tuple((file, file.stat().st_mtime_ns) for file in fingerprint.closure(path))
        known = _known[path] = ages, fingerprint.code(path)
    return known[1]


def _parts(spec: RunSpec) -> Iterator[tuple[Path, str]]:
    """Each file whose code is in the run's identity, with its hash."""
    yield HARNESS, spec.harness
    yield (
        _path("denoisers" if spec.objective.kind == DENOISER else "objectives", spec.objective.ref),
        spec.objective.sha,
    )
    yield _path("datasets", spec.dataset.ref), spec.dataset.sha
    yield _path("networks", spec.network.ref), spec.network.sha
    for metric, sha in spec.evaluation.metrics.items():
        yield _path("metrics", metric), sha


def _path(kind: Kind, ref: str) -> Path:
    name = split_reference(ref)[0] if ref else ""
    if kind == "datasets" and names_data_path(name):
        return reader_of(Path(name))
    return Path(name) if name.endswith(".py") else FOLDERS[kind] / f"{name}.py"


def _newest(path: Path) -> str:
    """The file that was changed last, of a plug-in and what it uses; a plug-in that is gone by its own name."""
    try:
        return str(max(fingerprint.closure(path), key=lambda file: file.stat().st_mtime_ns))
    except (SyntaxError, ValueError, FileNotFoundError):
        return str(path)
