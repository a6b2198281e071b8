"""Kills a suite at random until it has been killed often, lets it end, and counts what that cost.

    python scripts/random_kills.py --kills 100 --keep kills

Signals go to the supervisor or to the whole group. A suite that is left in peace is the truth: every number of every
row must be the same. Printed: rows lost, repeated and torn, numbers that differ, and the most seconds of training that
any run did twice, beside the interval of its checkpoints.

A kill takes 30 s or more on two hyperthreads, so a hundred take about an hour, and several beside other work. The same
command with the same `--keep` goes on after the last store that was finished; the store that was at work then is begun
again, and its kills with it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.results.store import Store

SUITE = """
name = "kills"
objectives = ["persistent_contrastive_divergence", "noise_contrastive_estimation", "sliced_score_matching"]
datasets = ["two_moons", "eight_gaussians"]
seeds = "0-{last}"
metrics = ["kl"]
[network]
name = "mlp"
width = 16
depth = 2
[budget]
steps = {steps}
batch = 32
[evaluation]
checkpoints = 5
samples = 50
sampler_steps = 5
"""
WRONG = ("lost", "repeated", "torn", "changed")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> int:
    """Kills, compares and prints; returns 0 if nothing was lost, repeated, torn or changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="How often to kill (default: %(default)s).")
    parser.add_argument("--seeds", type=int, default=2, help="Seeds of a cell (default: %(default)s).")
    parser.add_argument("--steps", type=int, default=6000, help="Steps of a run (default: %(default)s).")
    parser.add_argument("--every", type=float, default=2.0, help="Seconds between checkpoints (default: %(default)s).")
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time (default: %(default)s).")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="Folder to go on from (default: a temporary one).")
    options = parser.parse_args()
    os.environ["EBM_BENCH_CHECKPOINT_SECONDS"] = str(options.every)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        suite, whole, finished = (folder / name for name in ("kills.toml", "whole", "finished.jsonl"))
        suite.write_text(SUITE.format(last=options.seeds - 1, steps=options.steps), encoding="utf-8")
        words = [sys.executable, "-m", "bench", "run", "--suite", str(suite), "--jobs", str(options.jobs)]
        command = [*words, "--device", "cpu", "--out"]
        subprocess.run([*command, whole], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        truth = _numbers(whole)
        finished.touch()
        stores = [json.loads(line) for line in finished.read_text(encoding="utf-8").splitlines()]
        while (kills := sum(store["kills"] for store in stores)) < options.kills:
            store = folder / f"broken-{len(stores)}"
            shutil.rmtree(store, ignore_errors=True)
            stores.append(_broken(command, store, truth, random.Random(len(stores)), kills, options.kills))
            with finished.open("a", encoding="utf-8") as file:
                file.write(json.dumps(stores[-1]) + "\n")
    counts = {name: sum(store[name] for store in stores) for name in ("kills", *WRONG)}
    words = [f"{n} {name}" for name, n in counts.items()]
    twice = max(store["twice"] for store in stores)
    print(f"{', '.join(words)}; {len(stores)} stores of {len(truth)} runs; at most {twice:.1f} s of a run's ", end="")
    print(f"training were done twice, where checkpoints are {options.every:g} s apart")
    return int(any(counts[name] for name in WRONG))


def _broken(
    command: list[str], store: Path, truth: dict[str, list[Any]], draw: random.Random, earlier: int, enough: int
) -> dict[str, float]:
    """Kills one store's suite until it ends, or there were kills enough with the earlier ones: what that cost."""
    counts: dict[str, float] = dict.fromkeys(("kills", *WRONG, "twice"), 0)
    rows: dict[str, int] = {}
    done = False
    while not done:
        kill = earlier + counts["kills"] < enough
        begun: dict[Path, float] = {}
        words = [*command, str(store)]
        done = not _killed(words, store, draw, begun) if kill else _ended(words)
        now = {str(path): path.stat().st_mtime_ns for path in store.rglob("row.json")}
        counts["lost"] += sum(now.get(path) != age for path, age in rows.items() if _is_ok(Path(path)))
        counts["kills"] += not done
        if not done:
            counts["twice"] = max(counts["twice"], _unsaved_seconds(begun))
            print(f"kill {earlier + counts['kills']}, {store.name}: {counts}", file=sys.stderr, flush=True)
        rows = now
    found = _numbers(store)
    counts["repeated"] += sum(len(each) > 1 for each in found.values())
    counts["lost"] += len(truth.keys() - found.keys())
    counts["torn"] += len(Store(store).verify())
    counts["changed"] += sum(found.get(run, [None])[-1] != numbers[0] for run, numbers in truth.items())
    return counts


def _killed(command: list[str], store: Path, draw: random.Random, begun: dict[Path, float]) -> bool:
    """Starts the suite and kills it at a random moment; returns False if it ended first.

    Args:
        begun: filled with the time of each attempt's first word of progress.
    """
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    began, left = time.time(), draw.uniform(0, 2 * float(os.environ["EBM_BENCH_CHECKPOINT_SECONDS"]))
    early = draw.random() < 0.1  # it may be killed before it trains
    deadline = time.monotonic() + left if early else None
    while process.poll() is None and (deadline is None or time.monotonic() < deadline):
        for path in store.rglob(".progress.json"):
            with suppress(OSError):
                if (age := path.stat().st_mtime) > began:
                    begun.setdefault(path, age)
                    deadline = deadline or time.monotonic() + left
        time.sleep(0.1)
    if process.poll() is not None:
        return False
    number = draw.choice(SIGNALS)
    with suppress(ProcessLookupError):
        if draw.random() < 0.5:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    process.wait()
    return True


def _ended(command: list[str]) -> bool:
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0


def _unsaved_seconds(begun: dict[Path, float]) -> float:
    """The most seconds that a run without a row had trained since its newest checkpoint, as it said itself."""
    most = 0.0
    for path, saved in begun.items():
        with suppress(OSError, ValueError):
            cell, seed = path.parent.parent, int(path.parent.name[1:].partition("-a")[0])
            if any(_is_ok(row) for row in cell.glob(f"s{seed}-a*/row.json")):
                continue
            for folder in cell.glob(".checkpoint-*"):
                runs = json.loads((folder / "runs.json").read_text(encoding="utf-8"))["runs"]
                if any(run[1] == seed for run in runs):
                    saved = max(saved, *(file.stat().st_mtime for file in folder.glob("*.checkpoint")))
            most = max(most, path.stat().st_mtime - saved)
    return most


def _is_ok(row: Path) -> bool:
    return bool(json.loads(row.read_text(encoding="utf-8"))["status"] == "ok")


def _numbers(store: Path) -> dict[str, list[Any]]:
    """The metrics of every finished row by run."""
    found: dict[str, list[Any]] = {}
    for path in sorted(store.rglob("row.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["status"] == "ok":
            name = f"{path.parent.parent.relative_to(store)}/{row['seed']}"
            found.setdefault(name, []).append([row["metrics"], row["last_step"], row["work"]])
    return found


if __name__ == "__main__":
    sys.exit(main())
