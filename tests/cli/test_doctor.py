"""What `doctor` says of a machine that is noisy, and of one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import environment, main


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for name, text in (("smt/active", "0"), ("cpu0/cpufreq/scaling_governor", "performance"), ("cpufreq/boost", "0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
    return tmp_path


def test_a_quiet_machine_is_called_so(system: Path) -> None:
    assert environment.disturbances(system) == ["nothing known makes this machine noisy"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("smt/active", "1", "two threads share a core"),
        ("cpu0/cpufreq/scaling_governor", "powersave", "the frequency governor is powersave"),
        ("cpufreq/boost", "1", "may exceed its base frequency"),
    ],
)
def test_each_disturbance_is_named(system: Path, name: str, text: str, said: str) -> None:
    (system / name).write_text(text, encoding="utf-8")
    (sentence,) = environment.disturbances(system)
    assert said in sentence


def test_load_and_threads_are_named(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.0, 0.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    load, threads = environment.disturbances(system)
    assert "load is 1000.0" in load
    assert "OMP_NUM_THREADS is 8" in threads


def test_doctor_ends_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "\nnoise         " in said
    assert said.splitlines()[-1].startswith("numbers       ")
