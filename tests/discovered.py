"""Data sets as test parameters."""

from __future__ import annotations

from typing import Any

import pytest

from bench import load

ALONG = [name for name in load.names("datasets") if load.find("datasets", name).info.comes_along]
ABSENT = sorted(set(load.names("datasets")) - set(ALONG))
_SKIP = pytest.mark.skip(reason="does not come with the project: tests/test_user_copies.py makes tiny copies of it")
DATASETS: list[Any] = [*ALONG, *(pytest.param(name, marks=_SKIP) for name in ABSENT)]
