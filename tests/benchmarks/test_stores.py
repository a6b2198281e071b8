"""Timings of what a store of many rows costs to read; `tox -e bench` fills a larger one than an ordinary test run."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.common.run_spec import RunSpec
from bench.results import efficiency, tables
from bench.results.records import read_records
from bench.results.row_index import INDEX_FILE
from bench.results.store import Store
from bench.runner.executor import execute
from tests.helpers.large_store import fill_large_store

ROUNDS = 31  # fewer than eight give no interval, and as few as eight a wide one
Filled = tuple[Store, list[RunSpec]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Filled:
    root = tmp_path_factory.mktemp("store")
    enabled = bool(request.config.getoption("benchmark_enable"))
    specs = fill_large_store(root, 10 if enabled else 2, 4 if enabled else 2, 25 if enabled else 2)
    return Store(root), specs


def test_rows_without_an_index(benchmark: BenchmarkFixture, filled: Filled) -> None:
    store, specs = filled
    remove = store.root / INDEX_FILE
    found = benchmark.pedantic(
        read_records, (store,), setup=lambda: remove.unlink(missing_ok=True), rounds=ROUNDS, warmup_rounds=1
    )
    assert len(found) == len(specs)


def test_rows_with_an_index(benchmark: BenchmarkFixture, filled: Filled) -> None:
    store, specs = filled
    read_records(store)
    assert len(benchmark.pedantic(read_records, (store,), rounds=ROUNDS, warmup_rounds=1)) == len(specs)


def test_tables(benchmark: BenchmarkFixture, filled: Filled) -> None:
    store, specs = filled

    def make() -> int:
        records = read_records(store)  # anew: a record keeps its values
        tables.summary_frame(records)
        efficiency.efficiency_frame(store, records)
        return len(tables.records_frame(records))

    assert benchmark.pedantic(make, rounds=ROUNDS, warmup_rounds=1) == len(specs)


def test_a_finished_suite(benchmark: BenchmarkFixture, filled: Filled) -> None:
    store, specs = filled
    worker = "tests.helpers.toy_workers:kill_itself"  # which is not called
    rows = benchmark.pedantic(lambda: execute(specs, store, worker=worker), rounds=ROUNDS, warmup_rounds=1)
    assert {row["status"] for row in rows} == {"ok"}
