"""The action that others use in CI, and the workflow that shows it: schemas, options and the commands themselves."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from bench.cli import main
from bench.common.paths import ROOT

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(WORKFLOW,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)


def gate_step() -> dict[str, str]:
    (step,) = (step for step in ACTION["runs"]["steps"] if step.get("name") == "Gate")
    return dict(step)


def test_the_documented_workflow_is_short_and_gives_inputs_that_there_are() -> None:
    assert len(WORKFLOW.splitlines()) <= 10
    steps = yaml.safe_load(WORKFLOW)["jobs"]["gate"]["steps"]
    assert steps[-1]["with"].keys() <= ACTION["inputs"].keys()
    assert {name for name, about in ACTION["inputs"].items() if about.get("required")} <= steps[-1]["with"].keys()


@pytest.mark.parametrize("code", [0, 1, 4])
@pytest.mark.parametrize("against", ["", "origin/main"])
def test_the_action_asks_for_options_that_there_are_and_ends_with_the_gates_code(
    code: int, against: str, tmp_path: Path
) -> None:
    program = tmp_path / "ebm-bench"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > words\necho "**a verdict**" > ebm-gate.md\nexit {code}\n', encoding="utf-8"
    )
    program.chmod(0o755)
    given = {"SUITE": "a suite.toml", "OBJECTIVE": "", "BASELINE": "b.json", "AGAINST": against}
    assert gate_step()["env"].keys() == given.keys()
    environment = {**os.environ, **given, "PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": "summary"}
    done = subprocess.run(["bash", "-e", "-c", gate_step()["run"]], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == code
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "**a verdict**\n"
    options = main.build_parser(main.command_modules()).parse_args(
        (tmp_path / "words").read_text(encoding="utf-8").splitlines()
    )
    assert (options.suite, options.objective, str(options.baseline)) == ("a suite.toml", None, "b.json")
    assert options.against == (against or None)
