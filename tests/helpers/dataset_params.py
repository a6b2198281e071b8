"""Data sets as test parameters."""

from __future__ import annotations

from typing import Any

import pytest

from bench.plugins import registry

ALONG = [name for name in registry.names("datasets") if registry.find("datasets", name).info.bundled]
ABSENT = sorted(set(registry.names("datasets")) - set(ALONG))
_SKIP = pytest.mark.skip(reason="does not come with the project: tests/test_user_copies.py makes tiny copies of it")
DATASETS: list[Any] = [*ALONG, *(pytest.param(name, marks=_SKIP) for name in ABSENT)]
