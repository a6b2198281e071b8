"""TensorBoard, MLflow and Weights & Biases as places that runs are sent to."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.tracking.tracked_run import TrackedRun, Tracker

NOT_INSTALLED = "{tool} needs {package}, which is not installed: pip install 'ebm-bench[tracking]'"
LONGEST = 500  # characters of a setting in MLflow


class TensorBoard:
    """Scalars, settings and pictures as event files, a folder a run, below `folder`."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(NOT_INSTALLED.format(tool="TensorBoard", package="tensorboard")) from None
        self.folder, self.destination = folder, f"tensorboard {folder.resolve()}"
        self._make: Callable[[str], Any] = SummaryWriter
        self._writers: dict[str, Any] = {}

    def send(self, run: TrackedRun, curve: list[dict[str, float]], *, last: bool) -> None:
        """See `Tracker`."""
        first = run.run_id not in self._writers
        if first:
            parts = [re.sub(r"[^\w.=,\[\]-]+", "_", part) for part in run.path]
            self._writers[run.run_id] = self._make(str(self.folder.joinpath(*parts)))
        writer = self._writers[run.run_id]
        if first:
            writer.add_text("settings", "\n".join(f"    {k} = {v}" for k, v in run.settings.items()))
        for line in curve:
            for name, value in line.items():
                if name != "step":
                    writer.add_scalar(f"curve/{name}", value, int(line["step"]))
        if last:
            for name, value in run.values.items():
                writer.add_scalar(f"final/{name}", value)
            for name, picture in run.pictures.items():
                writer.add_image(name, picture, dataformats="HWC")
            writer.add_text("status", run.status)
            self._writers.pop(run.run_id).close()
        else:
            writer.flush()

    def close(self) -> None:
        """See `Tracker`."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


class MLflow:
    """A run of MLflow for each, in one experiment a suite.

    Args:
        uri: of the tracking server or store; MLflow's own choice if empty, such as $MLFLOW_TRACKING_URI.

    Raises:
        UsageError: if MLflow is not installed, or does not take this address.
    """

    def __init__(self, uri: str = "") -> None:
        try:
            import mlflow
        except ImportError:
            raise UsageError(NOT_INSTALLED.format(tool="MLflow", package="mlflow-skinny")) from None
        self.uri = uri or mlflow.get_tracking_uri()
        self.destination = f"mlflow {self.uri}"
        try:
            self._client = mlflow.tracking.MlflowClient(tracking_uri=self.uri)
            self._client.search_experiments(max_results=1)
        except Exception as error:  # a server can refuse in many ways
            raise UsageError(f"MLflow does not take '{self.uri}': {_first_line(error)}; give another --uri") from None
        self._open: dict[str, str] = {}

    def send(self, run: TrackedRun, curve: list[dict[str, float]], *, last: bool) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        if run.run_id not in self._open:
            tags = {"mlflow.runName": run.name, "ebm_bench.run_id": run.run_id}
            self._open[run.run_id] = self._client.create_run(self._experiment(run.path[0]), tags=tags).info.run_id
            for name, value in run.settings.items():
                self._client.log_param(self._open[run.run_id], name, value[:LONGEST])
        theirs = self._open[run.run_id]
        metrics = [
            Metric(name, value, 0, int(line["step"]))
            for line in curve
            for name, value in line.items()
            if name != "step"
        ]
        if last:
            metrics += [Metric(f"final/{name}", value, 0, 0) for name, value in run.values.items()]
        for k in range(0, len(metrics), 1000):  # as many as a server takes at once
            self._client.log_batch(theirs, metrics=metrics[k : k + 1000])
        if last:
            for name, picture in run.pictures.items():
                self._client.log_image(theirs, picture, artifact_file=f"{name}.png")
            self._client.set_tag(theirs, "ebm_bench.status", run.status)
            self._client.set_terminated(theirs, "FINISHED" if run.status == "ok" else "FAILED")
            del self._open[run.run_id]

    def close(self) -> None:
        """See `Tracker`."""

    def _experiment(self, suite: str) -> str:
        found = self._client.get_experiment_by_name(f"ebm-bench {suite}")
        return str(found.experiment_id if found else self._client.create_experiment(f"ebm-bench {suite}"))


class WeightsAndBiases:
    """A run of Weights & Biases for each, grouped by suite; $WANDB_MODE=offline keeps them on this machine.

    Args:
        project: the project's name.

    Raises:
        UsageError: if wandb is not installed, or refuses, as it does without a key.
    """

    def __init__(self, project: str = "") -> None:
        try:
            import wandb
        except ImportError:
            raise UsageError(NOT_INSTALLED.format(tool="Weights & Biases", package="wandb")) from None
        self.project = project or "ebm-bench"
        self.destination = f"wandb {self.project}"
        self._wandb: Any = wandb
        self._open: dict[str, Any] = {}

    def send(self, run: TrackedRun, curve: list[dict[str, float]], *, last: bool) -> None:
        """See `Tracker`."""
        if run.run_id not in self._open:
            try:
                self._open[run.run_id] = self._wandb.init(
                    project=self.project,
                    id=re.sub(r"[^\w-]", "-", run.run_id),
                    name=run.name,
                    group=run.path[0],
                    config=dict(run.settings),
                    reinit="create_new",
                )
            except self._wandb.errors.Error as error:
                raise UsageError(
                    f"Weights & Biases refuses: {_first_line(error)}; `wandb login`, or set WANDB_MODE=offline"
                ) from None
        theirs = self._open[run.run_id]
        for line in curve:
            theirs.log({k: v for k, v in line.items() if k != "step"}, step=int(line["step"]))
        if last:
            theirs.log({name: self._wandb.Image(picture) for name, picture in run.pictures.items()})
            theirs.summary.update({f"final/{name}": value for name, value in run.values.items()})
            theirs.summary["status"] = run.status
            self._open.pop(run.run_id).finish(exit_code=int(run.status != "ok"))

    def close(self) -> None:
        """See `Tracker`."""
        for theirs in self._open.values():
            theirs.finish()
        self._open.clear()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


TRACKERS: dict[str, Callable[[str, Path], Tracker]] = {
    "tensorboard": lambda uri, store: TensorBoard(Path(uri) if uri else store / "tensorboard"),
    "mlflow": lambda uri, store: MLflow(uri),
    "wandb": lambda uri, store: WeightsAndBiases(uri),
}


def tracker(name: str, uri: str, store: Path) -> Tracker:
    """The place of that name.

    Args:
        uri: a folder for TensorBoard, an address for MLflow, a project for Weights & Biases; "" for its default.

    Raises:
        UsageError: if its package is not installed, or it refuses.
    """
    return TRACKERS[name](uri, store)
