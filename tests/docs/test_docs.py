"""What the documentation promises; the build itself is `tox -e docs`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from bench import api
from bench.contract.check import check_plugin
from bench.plugins import registry
from bench.plugins.card import as_text, card

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS))
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_documented_once(reference: ModuleType) -> None:
    grouped = [name for names in reference.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(api.__all__)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_every_objective_has_a_card_with_formula_and_source(name: str) -> None:
    shown = card(registry.find("objectives", name))
    assert shown.name == name
    for heading in ("label", "family", "formula", "converges to", "source"):
        assert shown.fact(heading)
    assert shown.fact("formula") != "undocumented"
    assert all(parameter.default and parameter.space for parameter in shown.parameters)
    assert as_text(shown).endswith(shown.documentation)


def test_the_objective_of_the_tutorial_keeps_the_contract() -> None:
    findings = check_plugin(str(DOCS / "examples" / "my_objective.py"))
    assert [finding.rule for finding in findings if not finding.passed] == []
