"""Fault points: nothing without the environment; with it the asked-for signal, in processes of their own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sr_core import faults
from sr_core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "import sys\nfrom sr_core import faults\nfor name in sys.argv[1:]:\n    faults.point(name); print(name, flush=True)"
)


def passing(*names, **environment):
    """How a process that passes these points ends, and what it said until then."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, *names], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.split()


@pytest.fixture
def killed(monkeypatch):
    """The signals that this process would have sent itself."""
    sent = []
    monkeypatch.setattr(faults.os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(faults, "_passed", {})
    for name in ("RANK", "SR_FAULT", "SR_FAULT_ONCE"):
        monkeypatch.delenv(name, raising=False)
    return sent


def test_without_the_environment_no_point_does_anything(killed):
    for name in (*faults.POINTS, "no such point"):
        faults.point(name)
    assert not killed
    assert not faults._passed


def test_a_process_dies_at_the_point_and_only_there():
    assert passing("import", "forward", "backward", SR_FAULT="forward") == (-signal.SIGKILL, ["import"])


def test_passings_of_the_point_are_counted():
    points = ["forward", "backward", "forward", "forward"]
    assert passing(*points, SR_FAULT="forward@3") == (-signal.SIGKILL, points[:3])
    assert passing(*points, SR_FAULT="forward@4") == (0, points)


@pytest.mark.parametrize(("rank", "dies"), [("0", False), ("1", True), ("11", False), (None, False)])
def test_only_the_named_rank_dies(killed, monkeypatch, rank, dies):
    monkeypatch.setenv("SR_FAULT", "optimizer#1")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    faults.point("optimizer")
    assert bool(killed) is dies


def test_a_process_without_a_rank_is_rank_0(killed, monkeypatch):
    monkeypatch.setenv("SR_FAULT", "optimizer#0")
    faults.point("optimizer")
    assert len(killed) == 1


def test_another_signal_can_be_asked_for():
    assert passing("forward", SR_FAULT="TERM:forward") == (-signal.SIGTERM, [])
    assert passing("forward", SR_FAULT="USR1:forward@1#0") == (-signal.SIGUSR1, [])


def test_whoever_comes_after_the_once_file_lives(tmp_path):
    environment = {"SR_FAULT": "forward", "SR_FAULT_ONCE": str(tmp_path / "killed")}
    assert passing("forward", **environment) == (-signal.SIGKILL, [])
    assert (tmp_path / "killed").exists()
    assert passing("forward", "forward", **environment) == (0, ["forward", "forward"])


def test_every_point_can_be_asked_for(killed, monkeypatch):
    for name in faults.POINTS:
        monkeypatch.setenv("SR_FAULT", name)
        faults.point(name)
    assert [number for _, number in killed] == [signal.SIGKILL] * len(faults.POINTS)


BAD = [
    "",
    "forwards",
    "forward@0",
    "forward@x",
    "forward#",
    "@3",
    "forward#1@2",
    "kill:forward",
    "forward ",
    ":forward",
]


@pytest.mark.parametrize("asked", BAD)
def test_what_is_no_fault_is_one_sentence_naming_the_points(killed, monkeypatch, asked):
    monkeypatch.setenv("SR_FAULT", asked)
    with pytest.raises(ConfigError, match=r"SR_FAULT: is .*expected .*import, group_open"):
        faults.point("import")


def test_an_unknown_signal_is_one_sentence(killed, monkeypatch):
    monkeypatch.setenv("SR_FAULT", "NONE:forward")
    with pytest.raises(ConfigError, match="there is no signal SIGNONE"):
        faults.point("import")


def test_the_command_line_says_what_is_wrong_without_a_traceback():
    command = [sys.executable, "-m", "sr_core", "status"]
    done = subprocess.run(command, cwd=ROOT, env={"SR_FAULT": "nowhere"}, capture_output=True, text=True)
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.startswith("status: SR_FAULT: is 'nowhere', expected")
    assert done.stderr.count("\n") == 1
