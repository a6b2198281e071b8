"""The child's side of a run: a process of its own that runs one worker, measures its memory and reports once."""

from __future__ import annotations

import ctypes
import importlib
import json
import multiprocessing
import os
import platform
import resource
import signal
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.common.json_files import to_plain
from bench.common.machine_faults import MACHINE_ERROR, is_machine_fault
from bench.common.paths import ROOT
from bench.common.quiet_process import quieten
from bench.results.store import Attempt

OWN = "EBM_BENCH_"  # variables of the environment that a child has from its supervisor alone
PROCESSOR_MODEL = ("cpu family", "model", "stepping")  # kinds of one name round differently
_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
_ADOPT = 36  # PR_SET_CHILD_SUBREAPER of Linux


def main(
    sender: Connection, worker: str, specs: list[dict[str, Any]], folders: list[str], variables: dict[str, str]
) -> None:
    """Runs "module:function" and sends the groups of each row, as JSON; an exception becomes the status of all.

    The worker gets one spec, its folder and what adds to its curve; a list of each where there are several specs.
    `variables` are the supervisor's own of the environment.
    """
    for name in [name for name in os.environ if name.startswith(OWN)]:
        del os.environ[name]  # the server's, which may be older
    os.environ.update(variables)
    _lead()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow_supervisor, daemon=True).start()
    attempts = [Attempt(Path(folder)) for folder in folders]
    try:
        _redirect([attempt.folder / "log.txt" for attempt in attempts])
        result = json.dumps(to_plain(_measured(worker, specs, attempts)), allow_nan=False)
    except BaseException as error:
        traceback.print_exc()
        result = json.dumps(to_plain([failure(error)] * len(specs)))
    sender.send_bytes(result.encode())


def failure(error: BaseException) -> dict[str, Any]:
    """The groups of a row for an exception, with its type, text and place.

    The status is `oom` if memory ran out, `machine_error` if the machine failed in another way, else `error`.
    """
    name = type(error).__name__
    no_memory = isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(w in str(error) for w in _NO_MEMORY)
    lines = str(error).splitlines()
    return {
        "status": "oom" if no_memory else MACHINE_ERROR if is_machine_fault(error) else "error",
        "reason": f"{name}: {lines[0]}" if lines else name,
        "error": {"type": name, "message": str(error), "where": _where(error)},
    }


def environment() -> dict[str, Any]:
    """What a number may depend on beside the code."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "processor_model": processor_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _measured(worker: str, specs: list[dict[str, Any]], attempts: list[Attempt]) -> list[dict[str, Any]]:
    """The worker's groups, with the memory, the disturbance and the environment that it ran in."""
    import torch

    quieten()
    torch.set_num_interop_threads(1)
    module, _, function = worker.partition(":")
    work = getattr(importlib.import_module(module), function)
    weight = torch.ones(8, 8, requires_grad=True)
    (weight @ weight).sum().backward()  # loads what torch loads at first use, before the base is read
    method = reset_peak()
    base = status_bytes("VmRSS")
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    if len(specs) == 1:
        results = [work(specs[0], attempts[0].folder, attempts[0].append)]
    else:
        results = work(specs, [a.folder for a in attempts], [a.append for a in attempts])
    load = os.getloadavg()[0]
    disturbance = {
        "involuntary_switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches,
        "load": load,
        "noisy": load > (os.cpu_count() or 1),
    }
    memory = {"rss_base": base, "rss_peak": status_bytes("VmHWM"), "method": method}
    return [
        {
            "status": "ok",
            **result,
            "time": {**result.get("time", {}), **disturbance},
            "memory": {**memory, **result.get("memory", {})},
            "env": {**environment(), **result.get("env", {})},
        }
        for result in results
    ]


def _follow_supervisor() -> None:
    """Ends this process with its supervisor: nobody would write its row."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        with suppress(OSError):
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)  # with what it has started
        os._exit(1)


def _lead() -> None:
    """Makes this process the leader of a session, and what adopts the orphans of its descendants, where it can."""
    with suppress(OSError):
        os.setsid()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_ADOPT, 1, 0, 0, 0)


def _redirect(logs: list[Path]) -> None:
    """Sends standard output and error, of libraries in C too, to a file; more names are links to the first."""
    handle = os.open(logs[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for other in logs[1:]:
        os.link(logs[0], other)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    sys.stdout = os.fdopen(
        1, "w", buffering=1, closefd=False, encoding="utf-8"
    )  # line by line, so that a kill loses no line
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, encoding="utf-8")


def _where(error: BaseException) -> str:
    """file:line of the innermost frame outside installed libraries."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    if not own:
        return ""
    path = Path(own[-1].filename)
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{own[-1].lineno}"


def reset_peak() -> str:
    """Makes the kernel forget the peak so far; returns how the peak is to be read."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError as error:
        return f"VmHWM since the process began, imports included: clear_refs was refused ({error.strerror})"
    return "VmHWM since clear_refs, after imports"


def status_bytes(name: str) -> int | None:
    """A line of /proc/self/status, such as VmHWM, the peak of resident memory; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def processor() -> str:
    """The processor's name, as the system gives it; a virtual machine may give processors of several kinds one name."""
    return _of_processor("model name") or platform.processor() or "unknown"


def processor_model() -> str:
    """Which of the kinds with that name it is, "cpu family 25, model 17"; "" where the system does not say."""
    return ", ".join(f"{what} {found}" for what in PROCESSOR_MODEL if (found := _of_processor(what)))


def _of_processor(what: str) -> str:
    """What Linux says of the first processor; "" where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == what), "")
