"""A lesser precision of training: what it reaches, what it leaves alone, what it costs in accuracy, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench.cli import main
from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec
from bench.core.precision import autocast_energy
from bench.core.rng import Rng
from bench.costs import step_time
from bench.costs.precision import gradients, relative_error, scores
from bench.plugins import builders, registry
from bench.results import boards, standings, tables
from bench.results.records import group_cells, records_of
from bench.results.store import Planned
from bench.runner.single_run import run_single
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training.trainer import Learner, Trainer

CPU = torch.device("cpu")
SMALL = step_time.Setting("mlp[width=16,depth=2]", batch=64)
ROUNDING = 2.0**-8  # of a factor in bfloat16, at most


def smoke(objective: str, precision: str | None = None) -> RunSpec:
    (found,) = plan_runs(read_suite("smoke"), Selection((objective,), seeds=(0,)), "cpu", precision)
    return replace(found, budget=replace(found.budget, steps=6), evaluation=replace(found.evaluation, checkpoints=2))


def learner(objective: str) -> tuple[Learner, torch.Tensor]:
    data = step_time.training_data(SMALL, CPU)
    return step_time.learner_of(objective, SMALL.network, data, CPU), data[: SMALL.batch]


@pytest.fixture
def gpu_modes() -> Iterator[None]:
    """Leaves the modes of GPU products as they were."""
    cudnn: Any = torch.backends.cudnn
    places = torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
    before = [place.fp32_precision for place in places]
    yield
    for place, mode in zip(places, before, strict=True):
        place.fp32_precision = mode


def modes() -> tuple[str, str]:
    cudnn: Any = torch.backends.cudnn
    return torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision


def test_float32_goes_without_saying_and_any_other_precision_is_part_of_the_identity() -> None:
    plain, said, other = (smoke("denoising_score_matching", p) for p in (None, "float32", "bfloat16"))
    assert plain == said
    assert plain.cell_id == said.cell_id != other.cell_id
    assert other.to_dict()["precision"] == "bfloat16"
    assert [RunSpec.from_dict(s.to_dict()) for s in (plain, other)] == [plain, other]


def test_a_step_in_float32_is_the_step_without_an_option() -> None:
    (one, x), (two, _) = learner("contrastive_divergence"), learner("contrastive_divergence")
    assert autocast_energy(one.energy, "float32") is one.energy
    one.update(one.energy, x, Rng(0))
    two.optimiser.zero_grad()
    two.objective(two.energy, x, Rng(0)).mean(-1).sum().backward(inputs=two.trained)
    two.optimiser.step()
    assert all(map(torch.equal, one.trained, two.trained))


def test_the_score_is_as_exact_as_its_factors() -> None:
    found, x = learner("denoising_score_matching")
    assert relative_error(scores, found, x, "float32") == 0
    # a product of three layers, forward and backward, each of which rounds its factors
    assert 0.1 * ROUNDING < relative_error(scores, found, x, "bfloat16") < 6 * ROUNDING


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_every_objective_learns_in_bfloat16_what_it_learns_in_float32(name: str) -> None:
    found, x = learner(name)
    plain, other = (gradients(found, x, p) for p in ("float32", "bfloat16"))
    assert other.dtype == torch.float32
    assert not torch.equal(plain, other)
    # a difference of energies that lie close loses its digits, but hardly its direction
    assert other @ plain > 0


def test_a_chain_without_a_graph_does_not_cut_the_graph_of_what_follows() -> None:
    found, x = learner("contrastive_divergence")
    with torch.no_grad():
        autocast_energy(found.energy, "bfloat16")(x)
    found.precision = "bfloat16"
    loss = found.update(found.energy, x, Rng(0))
    assert loss.dtype == torch.float32
    assert all(w.grad is not None and bool(w.grad.any()) for w in list(found.energy.parameters())[:-1])


def test_only_training_steps_are_made_in_the_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, bool]] = set()
    phase = ["evaluation"]
    network = registry.find("networks", "mlp").target
    forward, update = network.forward, Learner.update

    def watched_forward(self: torch.nn.Module, *arguments: torch.Tensor) -> Any:
        seen.add((phase[0], torch.is_autocast_enabled("cpu")))
        return forward(self, *arguments)

    def watched_update(self: Learner, *arguments: Any) -> torch.Tensor:
        phase[0] = "training" if self.precision == "bfloat16" else "counting"
        loss = update(self, *arguments)
        phase[0] = "evaluation"
        return loss

    monkeypatch.setattr(network, "forward", watched_forward)
    monkeypatch.setattr(Learner, "update", watched_update)
    row = run_single(smoke("contrastive_divergence", "bfloat16"), tmp_path, lambda line: None)
    assert row["status"] == "ok"
    assert seen == {("training", True), ("counting", False), ("evaluation", False)}


def test_work_is_that_of_float32() -> None:
    plain, other = (Trainer(smoke("contrastive_divergence", p), 0, CPU).count() for p in ("float32", "bfloat16"))
    assert plain == other
    assert plain.flops > 0


def test_a_stack_in_bfloat16_agrees_with_its_solo_runs() -> None:
    planned = smoke("denoising_score_matching", "bfloat16")
    stack, solo = Trainer(planned, [0, 1], CPU), Trainer(planned, 1, CPU)
    for t in range(6):
        assert torch.allclose(stack.step(t)[1], solo.step(t), rtol=ROUNDING)


@pytest.mark.usefixtures("gpu_modes")
def test_tf32_holds_inside_a_step_and_never_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    builders.pick_device("auto")
    assert modes() == ("ieee", "ieee"), "torch's own default is TF32 for convolutions"
    found, x = learner("denoising_score_matching")
    found.precision, inside = "tf32", list[tuple[str, str]]()

    def energy(x: torch.Tensor) -> torch.Tensor:
        inside.append(modes())
        return torch.as_tensor(found.energy(x))

    found.update(energy, x, Rng(0))
    assert (inside, modes()) == ([("tf32", "tf32")], ("ieee", "ieee"))
    with pytest.raises(ZeroDivisionError):
        found.update(lambda x: 1 / 0, x, Rng(0))
    assert modes() == ("ieee", "ieee")


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nobjectives = ["*"]\ndatasets = ["two_moons"]\nprecision = "half"\n', encoding="utf-8"
    )
    with pytest.raises(UsageError, match="must be one of float32, tf32, bfloat16; got 'half'"):
        read_suite(str(path))
    for command in (["plan", "--suite", "smoke"], ["cost"]):
        for precision, message in (("tf32", "take float32 or bfloat16"), ("8", "must be one of")):
            assert main.main([*command, "--device", "cpu", "--precision", precision]) == 2
            assert message in capsys.readouterr().err
    assert main.main(["cost", "--precision", "bfloat16", "--overhead"]) == 2


def test_a_suite_in_two_precisions_is_two_boards_that_say_so() -> None:
    specs = [smoke("denoising_score_matching", p) for p in ("float32", "bfloat16")]
    records = records_of([(Planned.of(spec), None) for spec in specs])
    assert {key[2] for key in group_cells(records)} == {"cpu", "cpu, bfloat16"}
    assert list(tables.records_frame(records)["device"]) == ["cpu", "cpu, bfloat16"]
    assert list(boards.group_boards(records)) == ["smoke-equal_steps-cpu", "smoke-equal_steps-cpu-bfloat16"], (
        "file names"
    )
    commands = [standings.provenance([record]).split("`")[1] for record in records]
    assert (
        commands[1] == f"{commands[0]} --precision bfloat16" == "python -m bench run --suite smoke --precision bfloat16"
    )


def test_the_command_sets_seconds_beside_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "denoising_score_matching,dual_score_matching"
    options = ["--objective", names, "--network", SMALL.network, "--batch", "8", "--rounds", "6", "--device", "cpu"]
    for precision in ("float32", "bfloat16"):
        assert main.main(["cost", "--precision", precision, *options, "--out", str(tmp_path)]) == 0
        found = pd.read_csv(tmp_path / "precision.csv")
        assert list(found["precision"]) == [precision] * 2
        errors = found[["score_error", "gradient_error"]]
        assert bool((errors == 0).all(axis=None) if precision == "float32" else (errors > 0).all(axis=None))
    assert "speed_up" in capsys.readouterr().out
