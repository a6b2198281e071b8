"""What git says of a source tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.common.paths import ROOT

CODE = ("bench", "objectives", "datasets")


def run_git(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs git in a folder; code 127 where there is no git."""
    command = ["git", *arguments]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"git cannot be run: {error.strerror}")


def current_commit(folder: Path = ROOT) -> str | None:
    """The hash of the checked-out commit; None outside a git checkout."""
    done = run_git("rev-parse", "HEAD", folder=folder)
    return done.stdout.strip() if done.returncode == 0 else None


def has_changes(*paths: str, folder: Path = ROOT) -> bool | None:
    """Whether the tree, or these paths of it, differ from the commit; None outside a git checkout."""
    done = run_git("status", "--porcelain", "--", *paths, folder=folder)
    return bool(done.stdout.strip()) if done.returncode == 0 else None
