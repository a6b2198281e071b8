"""Supervisors that share a folder and nothing else never hold the same run, and outlive each other."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from bench.results import leases as lease_file
from bench.results.leases import Leases, read_lease


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell" / ".s0.lease"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is on this host: no process id can be looked up."""
    monkeypatch.setattr(lease_file, "is_here", lambda holder: False)


def test_only_one_holds_it_until_it_lets_go(path: Path) -> None:
    one, other = Leases(), Leases()
    assert one.claim(path)
    assert not other.claim(path)
    other.release(path)
    assert one.holds(path)
    one.close()
    assert other.claim(path)
    other.close()
    assert list(path.parent.iterdir()) == []


def test_of_many_who_want_it_at_once_one_gets_it(path: Path) -> None:
    wanting = [Leases() for _ in range(16)]
    got: list[Leases] = []
    gate = threading.Barrier(len(wanting))

    def want(leases: Leases) -> None:
        gate.wait()
        if leases.claim(path):
            got.append(leases)

    threads = [threading.Thread(target=want, args=(each,)) for each in wanting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_sign_of_life_keeps_it_and_silence_loses_it(path: Path, elsewhere: None) -> None:
    one, other = Leases(0.6), Leases(0.6)
    assert one.claim(path)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert not other.claim(path)
        time.sleep(0.05)
    one._stopped.set()  # the host dies
    until = time.monotonic() + 10
    while not other.claim(path):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert other.holds(path)
    assert not one.holds(path)
    one.release(path)
    assert other.holds(path), "a host that wakes up takes nothing back"
    other.close()
    assert list(path.parent.iterdir()) == []


def test_a_host_that_slept_learns_that_it_has_lost_it(path: Path, elsewhere: None) -> None:
    one, other = Leases(0.5), Leases(0.5)
    assert one.claim(path)
    path.write_text('{"token": "other"}', encoding="utf-8")
    until = time.monotonic() + 10
    while not one.lost(path):
        assert time.monotonic() < until
        time.sleep(0.02)
    other.close()


def test_of_many_who_take_it_over_one_gets_it_even_if_one_dies_of_it(path: Path, elsewhere: None) -> None:
    dead = Leases(0.1)
    assert dead.claim(path)
    dead._stopped.set()
    holder = read_lease(path)
    assert holder is not None
    path.with_name(f"{path.name}.{holder['token']}-0.takeover").touch()  # left by one that died on its way
    lease_file._seen.clear()
    wanting = [Leases(0.1) for _ in range(8)]
    until = time.monotonic() + 10
    got: list[Leases] = []
    while not got:
        assert time.monotonic() < until
        got = [each for each in wanting if each.claim(path)]
        time.sleep(0.02)
    assert len(got) == 1


def test_a_holder_of_this_host_that_has_ended_is_replaced_at_once(path: Path) -> None:
    ended = Leases()
    assert ended.claim(path)
    lease_file._living.discard(ended.token)  # as if this were another process with its id
    began = time.monotonic()
    other = Leases()
    assert other.claim(path)
    assert time.monotonic() - began < 1
    other.close()


def test_where_there_are_no_links_or_locks_it_works_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("fcntl.flock", refuse)
    one, other = Leases(), Leases()
    assert one.claim(path)
    assert not other.claim(path)
    one.close()
    assert other.claim(path)
    other.close()
