"""What this machine offers to a benchmark, and what it lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from bench.runner.worker_process import processor, processor_model

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
    instructions = torch.backends.cpu.get_cpu_capability()
    lines.append(f"processor     {', '.join(filter(None, (processor(), processor_model(), instructions)))}")
    lines += [f"noise         {sentence}" for sentence in disturbances()]
    lines += [f"numbers       {sentence}" for sentence in nondeterminism()]
    return "\n".join(lines)


def disturbances(system: Path = Path("/sys/devices/system/cpu")) -> list[str]:
    """A sentence for each thing that makes times on this machine noisy, or numbers depend on more than the seed."""
    found = []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        found.append(f"load is {load:.1f} on {cores} cores: other work lengthens seconds; wait, or use --jobs 1")
    if _line(system / "smt/active") == "1":
        found.append("two threads share a core: runs beside each other slow each other; time with half as many jobs")
    governor = _line(system / "cpu0/cpufreq/scaling_governor")
    if governor not in ("", "performance"):
        found.append(f"the frequency governor is {governor}: seconds depend on what ran before; set performance")
    if _line(system / "intel_pstate/no_turbo") == "0" or _line(system / "cpufreq/boost") == "1":
        found.append("the processor may exceed its base frequency: seconds depend on temperature")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name, "1") != "1":
            found.append(f"{name} is {os.environ[name]}: runs use one thread all the same, your own scripts do not")
    return found or ["nothing known makes this machine noisy"]


def nondeterminism() -> list[str]:
    """A sentence for each thing that makes the same seed give other numbers here than elsewhere, or than before."""
    import torch

    found = []
    if (threads := torch.get_num_threads()) > 1:
        found.append(f"torch uses {threads} threads and sums depend on it: runs use one, scripts set OMP_NUM_THREADS=1")
    blas = [name for name in ("mkl", "openblas", "accelerate") if name in torch.__config__.show().lower()]
    found.append(f"BLAS is {', '.join(blas) or 'unknown'}: another one, or another processor, rounds otherwise")
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1" or torch.backends.cuda.matmul.allow_tf32:
        found.append("TF32 is allowed: products keep 10 bits; unset NVIDIA_TF32_OVERRIDE, runs use full float32")
    if torch.backends.cudnn.benchmark:
        found.append("cuDNN measures which kernel is fastest: set torch.backends.cudnn.benchmark = False")
    if torch.cuda.is_available() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        found.append("cuBLAS may add in any order: set CUBLAS_WORKSPACE_CONFIG=:4096:8")
    return found


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


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
