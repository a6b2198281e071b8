"""What this machine offers to a benchmark, and what it lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from bench.runner.worker_process import processor

_VISION = ("torchvision", "torch-fidelity", "scikit-image")
PACKAGES = ("torch", *_VISION, "numpy", "pandas", "scipy", "scikit-learn", "seaborn", "joblib")


def environment_report() -> str:
    """One line a fact: versions, cores, memory, CUDA, and whether peak memory can be reset between runs."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    lines = [
        f"python        {platform.python_version()} on {platform.platform()}",
        f"cores         {os.cpu_count()}, load {os.getloadavg()[0]:.1f}",
        f"memory        {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
    ]
    for package in PACKAGES:
        lines.append(f"{package:13} {_version(package)}")
    if torch.cuda.is_available():
        lines.append(f"cuda          {torch.cuda.get_device_name()}")
    else:
        lines.append("cuda          none: --device cuda is refused, auto means cpu")
    lines.append(f"peak memory   {_peak_memory()}")
    lines.append(f"processor     {processor()}")
    return "\n".join(lines)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing: install the project again"


def _peak_memory() -> str:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError as error:
        return f"cannot be reset here ({error.strerror}): a run's peak includes its start-up"
    return "can be reset: a run's peak is its own"
