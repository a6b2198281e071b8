"""Toy workers for the tests of execution, importable in a child process, and the toy spec that they are given."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.run_spec import BudgetSpec, DatasetSpec, NetworkSpec, ObjectiveSpec, RunSpec

Curve = Callable[[dict[str, Any]], None]


def toy_spec(
    seed: int = 0,
    objective: str | ObjectiveSpec = "descent",
    dataset: str | DatasetSpec = "line",
    *,
    seconds: float | None = None,
    **more: Any,
) -> RunSpec:
    """A planned run of toy plug-ins, which takes `seconds` where a worker sleeps."""
    about = ObjectiveSpec(name=objective, label=objective) if isinstance(objective, str) else objective
    data = DatasetSpec(name=dataset, label=dataset) if isinstance(dataset, str) else dataset
    defaults: dict[str, Any] = {"suite": "toy", "timeout_seconds": 60.0, "budget": BudgetSpec(seconds=seconds or None)}
    defaults |= {"network": NetworkSpec(name="mlp", label="mlp")}
    return RunSpec(seed=seed, objective=about, dataset=data, **defaults | more)


def succeed(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    for step in range(3):
        curve({"step": step, "loss": 1 / (1 + step)})
        time.sleep((spec["budget"]["seconds"] or 0.0) / 3)
    return {"last_step": 3, "metrics": {"kl": {"last": {"value": float(spec["seed"])}}}}


def speak(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    print("a word from python")
    os.system("echo a word from a shell >&2")
    return {}


def raise_error(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    curve({"step": 7})
    raise ValueError("energy must return shape (256,)\nand more")


def diverge(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    curve({"step": 5})
    return {"status": "diverged", "reason": "the loss is not finite at step 9", "last_step": 9, "work": {"steps": 9}}


def run_out_of_memory(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    import torch

    torch.empty(1 << 50)
    return {}


def run_out_of_memory_at_first(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    return run_out_of_memory(spec, folder, curve) if folder.name.endswith("-a1") else {}


def say_gpu(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    time.sleep(spec["budget"]["seconds"])
    return {"model": {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}}


def return_nonsense(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    return {"work": object()}


def return_not_finite(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    return {"metrics": {"kl": {"last": {"value": float("nan"), "stderr": float("inf")}}}}


def exit_early(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    os._exit(3)


def kill_itself(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    curve({"step": 5})
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def kill_itself_if_odd(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    return kill_itself(spec, folder, curve) if spec["seed"] % 2 else succeed(spec, folder, curve)


def hang(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    curve({"step": 1, "pid": os.getpid()})
    time.sleep(60)
    return {}


def hang_if_odd(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    return hang(spec, folder, curve) if spec["seed"] % 2 else succeed(spec, folder, curve)


def look_around(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    import torch

    server = Path(f"/proc/{os.getppid()}/maps").read_text(encoding="utf-8")
    main = sys.modules["__main__"]
    return {
        "server_has_torch": "libtorch" in server,
        "threads": torch.get_num_threads(),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS"),
        "main": getattr(main, "__file__", None),
    }


def use_memory(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    block = bytearray(200 << 20)
    return {"work": {"bytes": len(block)}}


def together(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[dict[str, Any]]:
    """A stack's worker: one child for all of them."""
    print("a word from the stack")
    rows = [succeed(*part) for part in zip(specs, folders, curves, strict=True)]
    return [{**row, "stacked_with": [spec["seed"] for spec in specs]} for row in rows]


def raise_error_together(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[dict[str, Any]]:
    return [raise_error(specs[0], folders[0], curves[0])]


def return_too_few_together(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[Any]:
    return []


def kill_itself_together(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[dict[str, Any]]:
    return [kill_itself(specs[0], folders[0], curves[0])]


def hang_together(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[dict[str, Any]]:
    return [hang(specs[0], folders[0], curves[0])]


def fill_the_disk(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    with Path("/dev/full").open("w", encoding="utf-8") as file:
        file.write("x")
    return {}


def open_too_many_files(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    return {"files": len([Path("/dev/null").open(encoding="utf-8") for _ in range(64)])}


def lose_the_data(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    from bench.core.rng import Rng
    from bench.plugins import builders

    builders.dataset(spec["dataset"]["name"], Rng(0, "data"))
    return {}


def open_a_file_that_never_was(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    return {"text": (folder / "none.txt").read_text(encoding="utf-8")}


def kill_the_fork_server(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
    return {}


def write_own_row_if_odd(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    if spec["seed"] % 2:
        (folder / "row.json").write_text('{"status": "ok"}', encoding="utf-8")
    return succeed(spec, folder, curve)


def write_a_bad_curve_if_odd(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    if spec["seed"] % 2:
        (folder / "curve.jsonl").write_text("5\n", encoding="utf-8")
    return {}


def write_own_spec_if_odd(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    if spec["seed"] % 2:
        (folder / "spec.json").write_text("{", encoding="utf-8")
    return {}


def use_more_memory_than_allowed(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """In a process of its own: what a run starts counts, too."""
    subprocess.run([sys.executable, "-c", "b = bytearray(600 << 20); import time; time.sleep(60)"], check=False)
    return {}


def use_more_memory_at_once(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """Faster than a supervisor looks."""
    return {"status": "ok", "bytes": len(bytearray(700 << 20))}


def leave_processes_behind(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """One without a parent leaves the session, one ignores what asks it to end; it ends as its seed says."""
    escape = "import os, time; os.fork() and os._exit(0); os.setsid(); print(os.getpid(), flush=True); time.sleep(60)"
    stay = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
    for code in (escape, stay):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        curve({"step": 1, "pid": int(process.stdout.readline())})
    if spec["seed"] == 1:
        os._exit(3)
    if spec["seed"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec["seed"] == 3:
        time.sleep(60)
    return {}


def flood_the_log(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    for _ in range(300):
        print("x" * 1000)
    time.sleep(0.5)
    for _ in range(300):
        print("x" * 1000)
    return {}


def stop_half_way(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """A real run, ended by EBM_BENCH_TEST_SIGNAL at its middle, in its first attempt alone."""
    from bench.runner import single_run

    return single_run.work(spec, folder, _stopping(spec, folder, curve))


def stop_stack_half_way(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[dict[str, Any]]:
    from bench.runner import stacked_run

    return stacked_run.work(specs, folders, [_stopping(specs[0], folders[0], curves[0]), *curves[1:]])


def stop_denoiser_half_way(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """As `stop_half_way`, of a learned denoiser, which has no curve."""
    from bench.runner import single_run
    from bench.training.denoiser import DenoiserTrainer

    number, step = os.environ.get("EBM_BENCH_TEST_SIGNAL"), DenoiserTrainer.step

    def ending(trainer: DenoiserTrainer, t: int) -> Any:
        if number and folder.name.endswith("-a1") and t == 120:
            os.kill(os.getpid(), int(number))
        return step(trainer, t)

    DenoiserTrainer.step = ending  # type: ignore[method-assign]
    return single_run.work(spec, folder, curve)


def _stopping(spec: dict[str, Any], folder: Path, curve: Curve) -> Curve:
    def add(line: dict[str, Any]) -> None:
        curve(line)
        number = os.environ.get("EBM_BENCH_TEST_SIGNAL")
        if number and folder.name.endswith("-a1") and line["step"] > spec["budget"]["steps"] // 2 + 10:
            os.kill(os.getpid(), int(number))

    return add
