"""`list` and `show`: what a person reads about plug-ins before using them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main
from bench.cli.listing import explain_reference, listing
from bench.common import plugin_source
from bench.common.errors import UsageError
from bench.plugins import registry
from bench.suites.files import suite_names

KINDS = list(plugin_source.FOLDERS)
MINE = '''
from typing import Annotated
from torch import Tensor
from bench.api import Choice, Energy, Integer, Linear, Rng, StepSize, objective

@objective(
    label="Mine-{steps}", family="test", source="A paper", note="A note.", minimiser="smoothed", bias={"sigma": 2}
)
def mine(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    steps: Annotated[int, Integer(1, 9)] = 4,
    sigma: Annotated[float, Linear(0, 1)] = 0.5,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
) -> Tensor:
    """E(x) - E(y).

    The second paragraph.
    """
    return energy(x)
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def lines_of(card: str) -> dict[str, str]:
    """The part of a card up to the documentation, by each line's first word or the words before two spaces."""
    cells = (line.strip().partition("  ") for line in card.splitlines() if line.startswith("  "))
    return {name: " ".join(rest.split()) for name, _, rest in cells}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_listed_whole_with_first_lines_of_documentation(kind: plugin_source.Kind) -> None:
    heading, *lines = listing(kind).splitlines()
    assert heading == f"{kind}:"
    assert [line.split()[0] for line in lines] == registry.names(kind)
    for line, name in zip(lines, registry.names(kind), strict=True):
        target = registry.find(kind, name).target
        assert line.endswith((target.__doc__ or "").splitlines()[0].strip())


def test_an_objective_is_listed_with_label_and_family() -> None:
    for line in listing("objectives").splitlines()[1:]:
        name, label, family = [cell.strip() for cell in line.strip().split("  ") if cell.strip()][:3]
        plugin = registry.find("objectives", name)
        assert family == plugin.info.family
        assert label == (plugin.info.label.format(**plugin.resolve()) or name)


def test_everything_is_listed_in_blocks() -> None:
    blocks = listing(None).split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"{kind}:" for kind in (*KINDS, "suites")]
    assert [line.split()[0] for line in blocks[-1].splitlines()[1:]] == suite_names()


def test_a_card_has_what_the_declaration_says(mine: Path) -> None:
    card = explain_reference(str(mine))
    assert card.startswith("mine (objective)\n\n")
    facts = lines_of(card)
    assert facts["name"] == "mine"
    assert facts["label"] == "Mine-4"
    assert facts["family"] == "test"
    assert facts["formula"] == "E(x) - E(y)."
    assert facts["source"] == "A paper"
    assert facts["note"] == "A note."
    assert facts["converges to"] == (
        "the data distribution convolved with the noise (minimiser: smoothed); gradient bias: O(sigma²)"
    )
    assert facts["steps"] == "4 [1, 9], whole"
    assert facts["sigma"] == "0.5 [0, 1]"
    assert facts["step_size"] == "0.3 [0.001, 1], logarithmic local_scale²"
    assert facts["kernel"] == "'ve' ve | vp"
    assert card.endswith("The second paragraph.")


def test_given_parameters_are_in_the_label_and_named(mine: Path) -> None:
    facts = lines_of(explain_reference(f"{mine}[steps=7]"))
    assert facts["label"] == "Mine-7"
    assert facts["given"] == "steps = 7"
    assert facts["steps"] == "4 [1, 9], whole"


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("bias={}", "gradient bias: none"),
        ("bias=None", "gradient bias: no order declared"),
        ('bias={"steps": -1}', "gradient bias: falls as steps grows"),
        ('bias={"sigma": 1, "step_size": 4}', "gradient bias: O(sigma + step_size⁴)"),
    ],
)
def test_the_order_of_the_bias_is_said_in_words(mine: Path, declared: str, words: str) -> None:
    mine.write_text(MINE.replace('bias={"sigma": 2}', declared), encoding="utf-8")
    assert lines_of(explain_reference(str(mine)))["converges to"].endswith(words)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)])
def test_every_plugin_has_a_card_with_all_that_it_declares(kind: plugin_source.Kind, name: str) -> None:
    card, plugin = explain_reference(name), registry.find(kind, name)
    assert f"{name} ({kind.removesuffix('s')})" in card
    facts = lines_of(card)
    assert plugin.parameters.keys() <= facts.keys()
    for key in ("family", "source", "note", "unit", "better", "divergence"):
        if value := getattr(plugin.info, key, ""):
            assert facts[key] == " ".join(value.split())


def test_a_suite_is_shown_as_its_file(tmp_path: Path) -> None:
    assert 'name = "smoke"' in explain_reference("smoke")
    path = tmp_path / "my.toml"
    path.write_text('name = "my"\n', encoding="utf-8")
    assert explain_reference(str(path)) == 'name = "my"'


def test_a_missing_plugin_folder_is_bad_input_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(plugin_source.FOLDERS, "objectives", tmp_path / "nowhere")
    for arguments in (["list"], ["list", "objectives"], ["show", "kl"], ["plan", "--suite", "smoke"]):
        assert main.main(arguments) == 2
        error = capsys.readouterr().err
        assert str(tmp_path / "nowhere") in error
        assert "pip install" in error


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ndef broken(:\n", encoding="utf-8")
    monkeypatch.setitem(plugin_source.FOLDERS, "denoisers", tmp_path)
    with pytest.raises(UsageError, match=r"broken\.py:2 is not valid Python"):
        listing("denoisers")
