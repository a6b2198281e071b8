"""Plug-ins read from source say the same as when they are imported, and need no import."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.common import plugin_source
from bench.plugins import registry

CLASS = '''
import api
from nowhere import missing

@api.other(label="wrong")
@api.objective(label="A-{k}-{kind}", family="f" "amily")
class Mine(missing.Base):
    """First line.

    Second.
    """

    def __init__(self, x, rng, *, k: int = 3, kind: str = "ve", computed: float = 1 / 3) -> None: ...
'''


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_class_is_read_by_its_constructor_and_decorator(tmp_path: Path) -> None:
    found = plugin_source.summary("objectives", written(tmp_path, CLASS))
    assert found == plugin_source.Summary("mine", "A-3-ve", "family", "First line.")


@pytest.mark.parametrize(
    ("before", "after", "label"),
    [
        ('label="A-{k}-{kind}", ', "", "mine"),
        ("{k}", "{unknown}", "A-{unknown}-{kind}"),
        ("{k}", "{computed}", "A-{computed}-{kind}"),
        ("{k}", "{", "A-{-{kind}"),
    ],
)
def test_a_label_that_cannot_be_filled_in_stays(tmp_path: Path, before: str, after: str, label: str) -> None:
    assert plugin_source.summary("objectives", written(tmp_path, CLASS.replace(before, after))).label == label


def test_a_file_that_declares_nothing_is_undocumented(tmp_path: Path) -> None:
    found = plugin_source.summary("metrics", written(tmp_path, '"""A module."""\n'))
    assert found == plugin_source.Summary("mine", "mine", "", "undocumented")


@pytest.mark.parametrize("kind", plugin_source.FOLDERS)
def test_the_source_says_what_the_import_says(kind: plugin_source.Kind) -> None:
    for found in plugin_source.summaries(kind):
        plugin = registry.find(kind, found.name)
        assert found.family == getattr(plugin.info, "family", "")
        assert found.first_line == (plugin.target.__doc__ or "").splitlines()[0].strip()
        if template := getattr(plugin.info, "label", ""):
            assert found.label == template.format(**plugin.resolve())


def test_the_needs_of_every_metric_are_those_that_it_declares() -> None:
    for name in plugin_source.names("metrics"):
        assert plugin_source.declared_needs(name) == registry.find("metrics", name).info.needs
