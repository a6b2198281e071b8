"""Memory of a run before it is run: near what a run holds, and the same for `plan` and for `slurm`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main
from bench.costs import estimate
from bench.costs.estimate import CostEstimate, estimate_costs
from bench.results.store import Store
from bench.runner.executor import execute
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite


def test_what_is_predicted_is_near_what_a_run_holds(tmp_path: Path) -> None:
    specs = plan_runs(read_suite("smoke"), Selection(("denoising_score_matching",), ("two_moons",), (0,)), "cpu")
    before = estimate._forget_peak()
    if before is None:
        pytest.skip("the kernel does not say what a process holds at its peak")
    predicted = estimate_costs(specs)[specs[0].cell_id].memory
    (row,) = execute(specs, Store(tmp_path))
    assert predicted is not None
    # this process holds more than a run's, by what the tests have loaded
    assert 0.7 * row["memory"]["rss_peak"] < predicted < row["memory"]["rss_peak"] + before


def test_a_rehearsal_that_grows_the_process_is_seen() -> None:
    before, grown = estimate._forget_peak(), dict[str, float]()
    if before is None:
        pytest.skip("the kernel does not say what a process holds at its peak")
    bytearray(300_000_000)
    estimate._note_growth(grown, "a", before)
    assert 250e6 < grown["a"] < 400e6
    estimate._note_growth(grown, "nothing", None)
    assert list(grown) == ["a"]


@pytest.mark.parametrize(("memory", "asked"), [(1.4e9, "6G"), (0.2e9, "2G"), (None, None)])
def test_plan_and_slurm_say_the_same(
    memory: float | None, asked: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        estimate, "estimate_costs", lambda specs: {s.cell_id: CostEstimate(1e9, 2.0, 1.0, memory) for s in specs}
    )
    words = ["--suite", "smoke", "--objective", "denoising_score_matching", "--seed", "0", "--jobs", "3"]
    assert main.main(["plan", *words]) == 0
    planned = capsys.readouterr().out
    code = main.main(["slurm", *words, "--memory", "plan"])
    written = capsys.readouterr()
    if asked is None:
        assert "memory is not known" in planned
        assert code == 2
        assert "give a size" in written.err
    else:
        assert f"with 3 in parallel asks for {asked}" in planned
        assert f"#SBATCH --mem={asked}" in written.out
