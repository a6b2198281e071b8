"""Plans are the denominator, and stores are added up by copying folders."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.common.run_spec import ObjectiveSpec
from bench.results.store import Store
from tests.helpers.store_helpers import finished, planned


def test_a_plan_is_the_denominator_whatever_has_run(tmp_path: Path) -> None:
    runs = [planned(seed) for seed in range(4)]
    Store(tmp_path).write_plan(runs)
    finished(tmp_path, 1)
    assert Store(tmp_path).planned() == runs
    Store(tmp_path).write_plan(runs)
    assert len(list((tmp_path / "plans").iterdir())) == 1


def test_running_a_part_of_a_plan_does_not_shrink_the_denominator(tmp_path: Path) -> None:
    runs = [planned(seed) for seed in range(4)]
    Store(tmp_path).write_plan(runs)
    Store(tmp_path).write_plan(runs[:1])
    assert {run.key for run in Store(tmp_path).planned()} == {run.key for run in runs}


def seconds_by_seed(store: Store) -> dict[int, float | None]:
    return {run.spec.seed: run.spec.budget.seconds for run in store.planned()}


def test_a_cell_whose_settings_changed_is_planned_once_as_it_is_now(tmp_path: Path) -> None:
    Store(tmp_path).write_plan([planned(0, seconds=1.0), planned(1, seconds=1.0)])
    Store(tmp_path).write_plan([planned(0, seconds=2.0)])
    assert seconds_by_seed(Store(tmp_path)) == {0: 2.0, 1: 1.0}
    Store(tmp_path).write_plan([planned(0, seconds=1.0), planned(1, seconds=1.0)])  # and back: the newest date counts
    assert seconds_by_seed(Store(tmp_path)) == {0: 1.0, 1: 1.0}


def test_tuned_runs_and_those_with_another_network_take_no_ones_place(tmp_path: Path) -> None:
    own = [planned(0), planned(0, tuned=True), planned(0, role="reference fit"), planned(0, other_network=True)]
    for run in own:
        Store(tmp_path).write_plan([run])
    assert sorted(run.key for run in Store(tmp_path).planned()) == sorted(run.key for run in own)
    assert len({run.spec.place for run in own}) == 2


def test_each_suite_has_a_plan_of_its_own(tmp_path: Path) -> None:
    Store(tmp_path).write_plan([planned(suite="a"), planned(suite="b")])
    assert {path.name.partition("-")[0] for path in (tmp_path / "plans").iterdir()} == {"a", "b"}
    assert {run.spec.suite for run in Store(tmp_path).planned()} == {"a", "b"}


def test_copying_folders_merges_stores(tmp_path: Path) -> None:
    for name, seeds in (("one", (0, 1)), ("two", (2, 3))):
        Store(tmp_path / name).write_plan([planned(seed) for seed in seeds])
        for seed in seeds:
            finished(tmp_path / name, seed)
        Store(tmp_path / name).keep_environment({"python": "3.11", "host": name})
    shutil.copytree(tmp_path / "two", tmp_path / "one", dirs_exist_ok=True)
    merged = Store(tmp_path / "one")
    assert sorted(run.spec.seed for run in merged.planned()) == [0, 1, 2, 3]
    assert all(row["seed"] == run.spec.seed for run in merged.planned() for row in merged.rows_of(run))
    assert len(list((merged.root / "env").iterdir())) == 2
    assert str(tmp_path) not in "".join(path.read_text(encoding="utf-8") for path in merged.root.rglob("*.json"))
    assert merged.verify() == []


def test_an_environment_is_kept_once_under_an_id_of_its_contents(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    first = kept.keep_environment({"python": "3.11", "cores": 2})
    assert kept.keep_environment({"cores": 2, "python": "3.11"}) == first
    assert kept.keep_environment({"cores": 4, "python": "3.11"}) != first
    assert kept.environment(first) == {"python": "3.11", "cores": 2}


def test_an_objective_from_somebodys_file_is_told_from_a_known_one_of_that_name() -> None:
    own = planned(objective=ObjectiveSpec(name="descent", label="descent", ref="/somewhere/mine.py"))
    assert own.spec.entry == "descent (mine.py)"
    assert planned().spec.entry == "descent"
