"""Runs in TensorBoard, MLflow and Weights & Biases: what arrives there is what the store has, once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bench.api import UsageError
from bench.cli.main import main
from bench.common.run_spec import NetworkSpec
from bench.results.metric_values import values_of_row
from bench.results.store import Attempt, Planned, Store
from bench.tracking.follower import Follower
from bench.tracking.tracked_run import TrackedRun, tracked
from bench.tracking.trackers import MLflow
from tests.helpers.toy_workers import toy_spec

SUITE = """
name = "tiny"
objectives = ["denoising_score_matching"]
datasets = ["two_moons"]
seeds = "0-1"
[network]
name = "mlp"
width = 8
[budget]
steps = 20
[evaluation]
checkpoints = 2
samples = 50
[data]
n_train = 200
n_test = 100
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracking") / "tiny.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def store(suite: Path) -> Store:
    root = suite.parent / "store"
    assert main(["run", "--suite", str(suite), "--jobs", "1", "--log", "tensorboard", "--out", str(root)]) == 0
    return Store(root)


def attempts(store: Store) -> list[Attempt]:
    found = [store.newest_attempt(run) for run in store.planned()]
    return [attempt for attempt in found if attempt is not None]


def finals(attempt: Attempt) -> dict[str, float]:
    return {k.column: v.value for k, v in values_of_row(attempt.row()).items() if v.value is not None}


def test_tensorboard_has_curves_values_and_pictures_of_runs_as_they_went(store: Store) -> None:
    folders = sorted((store.root / "tensorboard").glob("*/*/*/*"))
    assert len(folders) == 2
    for folder, attempt in zip(folders, attempts(store), strict=True):
        events = EventAccumulator(str(folder))
        events.Reload()
        seen = [(event.step, event.value) for event in events.Scalars("curve/loss")]
        assert seen == [(line["step"], pytest.approx(line["loss"])) for line in attempt.curve()]
        for name, value in finals(attempt).items():
            assert events.Scalars(f"final/{name}")[0].value == pytest.approx(value)
        assert "density" in events.Tags()["images"]
        image = events.Images("density")[0]
        assert (image.width, image.height) == (96, 96)


def test_what_was_sent_is_not_sent_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(store.root), "--to", "tensorboard"]) == 0
    assert "0 of 2 runs sent" in capsys.readouterr().out
    assert store.verify() == []


def test_mlflow_has_settings_curves_and_values(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    for _ in range(2):
        assert main(["track", str(store.root), "--to", "mlflow", "--uri", uri]) == 0
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ebm-bench tiny")
    assert experiment is not None
    runs = {run.data.tags["ebm_bench.run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 2
    for attempt in attempts(store):
        run = runs[attempt.intent()["run_id"]]
        assert run.info.status == "FINISHED"
        assert run.data.params["budget.steps"] == "20"
        assert run.data.metrics["final/kl_ema"] == pytest.approx(finals(attempt)["kl_ema"])
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(m.step, m.value) for m in history] == [
            (line["step"], pytest.approx(line["loss"])) for line in attempt.curve()
        ]
        assert "density.png" in [file.path for file in client.list_artifacts(run.info.run_id)]


def test_wandb_offline_has_a_run_for_each(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path)), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert main(["track", str(store.root), "--to", "wandb", "--uri", "mine"]) == 0
    wandb.teardown()
    for attempt in attempts(store):
        run_id = re.sub(r"[^\w-]", "-", attempt.intent()["run_id"])
        (file,) = tmp_path.rglob(f"run-{run_id}.wandb")
        written = file.read_bytes()
        assert all(str(line["loss"])[:12].encode() in written for line in attempt.curve())
        assert str(finals(attempt)["kl_ema"])[:12].encode() in written


def test_a_place_that_refuses_is_named_and_costs_no_run(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(UsageError, match="MLflow does not take 'file:///nowhere'"):
        MLflow("file:///nowhere")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "tensorboard").write_text("a file where a folder must be", encoding="utf-8")
    run = ["run", "--suite", str(suite), "--seed", "0", "--jobs", "1", "--out", str(tmp_path / "store")]
    assert main([*run, "--log", "tensorboard"]) == 0
    assert "nothing more was sent, tensorboard" in capsys.readouterr().err


def test_lines_are_sent_while_a_run_trains(store: Store, tmp_path: Path) -> None:
    class Told:
        destination = "told"

        def __init__(self) -> None:
            self.steps: list[float] = []

        def send(self, run: TrackedRun, curve: list[dict[str, float]], *, last: bool) -> None:
            self.steps += [line["step"] for line in curve]

        def close(self) -> None:
            self.steps.append(-1)

    other, told = Store(tmp_path), Told()
    run = store.planned()[0]
    attempt = other.begin(run)
    follower = Follower(other, told, every=0.01)
    follower("start", run.spec, None, 0, 1)
    for step in (5, 10):
        attempt.append({"step": step, "loss": 1.0, "kl_ema": None})
        for _ in range(200):
            if told.steps and told.steps[-1] == step:
                break
            follower._over.wait(0.01)
        assert told.steps[-1] == step
    assert tracked(attempt).status == ""
    follower.close()
    assert told.steps == [5, 10, -1]


def test_runs_of_one_seed_that_differ_otherwise_have_folders_of_their_own(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    wide = NetworkSpec(name="mlp", label="mlp[width=7]", params={"width": 7})
    several = [{}, {"tuned": True}, {"precision": "bfloat16"}, {"network": wide, "other_network": True}]
    begun = [kept.begin(Planned.of(toy_spec(0, **changes))) for changes in several]  # type: ignore[arg-type]
    begun[0].finish({"status": "error", "reason": "no luck"})
    begun.append(kept.begin(Planned.of(toy_spec(0))))
    runs = [tracked(attempt) for attempt in begun]
    assert len({run.path for run in runs}) == len({run.name for run in runs}) == 5
    assert [run.path[-1] for run in runs] == [
        *("seed 0", "seed 0, tuned", "seed 0, bfloat16", "seed 0, mlp[width=7]"),
        "seed 0, attempt 2",
    ]
