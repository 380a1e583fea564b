"""A child never outlives its launcher, whatever either of them does."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import MARK, alive, wait_until

from flows import child

# a child like Ray's driver: it has a worker that leads a group of its own, and neither of them heeds SIGTERM
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    from flows.child import follow_launcher
    follow_launcher()
worker = "import time; time.sleep(60)"
subprocess.Popen([sys.executable, "-c", worker], process_group=0)
print("ready", flush=True)
time.sleep(60)
"""


class Interrupted(Exception):
    pass


@pytest.fixture
def mark(monkeypatch, request):
    """The mark of everything this test starts."""
    monkeypatch.setenv(MARK, f"{os.getpid()}-{request.node.name}")
    return os.environ[MARK]


@pytest.fixture
def call(tmp_path, monkeypatch):
    """`child.run` of a Python program; what it says is in `said`, how often it was asked to stop in `asked`."""
    monkeypatch.setattr(child, "TERM_GRACE_S", 0.3)

    def run(program, *arguments, say=None, stop_grace_s=0.3, has_stopped=lambda: False, ask_to_stop=lambda: None):
        command = [sys.executable, "-c", program, *arguments]
        return child.run(
            command,
            say=said.append if say is None else say,
            errors=tmp_path / "errors.txt",
            ask_to_stop=lambda: (asked.append(time.monotonic()), ask_to_stop()),
            has_stopped=has_stopped,
            stop_grace_s=lambda: stop_grace_s,
        )

    said, asked = [], []
    run.said, run.asked = said, asked
    return run


def test_its_lines_and_its_exit_code_come_back(call, tmp_path):
    program = (
        "import os, sys; print('one'); print(os.environ['SR_LAUNCHER_PID']); print('bad', file=sys.stderr); sys.exit(5)"
    )
    assert call(program) == 5
    assert call.said == ["one", str(os.getpid())]
    assert (tmp_path / "errors.txt").read_text() == "bad\n"
    assert call.asked == []


def test_what_it_leaves_running_is_ended(call, mark):
    worker = "[sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0"
    program = f"import subprocess, sys; subprocess.Popen({worker})"
    assert call(program) == 0
    assert alive(mark) == {}


@pytest.fixture
def interrupt():
    """A `say` that interrupts the main thread at the child's first line."""

    def on_signal(number, frame):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, on_signal)
    yield lambda line: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_interrupted_it_is_asked_and_then_all_of_its_session_is_killed(call, mark, interrupt):
    with pytest.raises(Interrupted):
        call(STUBBORN, say=interrupt)
    assert len(call.asked) == 1
    assert alive(mark) == {}


def test_a_child_that_heeds_the_request_ends_by_itself(call, tmp_path, mark, interrupt):
    stop, last_words = tmp_path / "stop", tmp_path / "last_words"
    program = f"""
import pathlib, time
print("ready", flush=True)
while not pathlib.Path({str(stop)!r}).exists():
    time.sleep(0.05)
time.sleep(0.2)
pathlib.Path({str(last_words)!r}).touch()
"""
    with pytest.raises(Interrupted):
        call(program, say=interrupt, stop_grace_s=20, ask_to_stop=stop.touch)
    assert last_words.exists()
    assert alive(mark) == {}


def test_another_sigterm_does_not_cut_short_what_the_first_waits_for(call, tmp_path, mark, interrupt):
    stop, last_words = tmp_path / "stop", tmp_path / "last_words"
    program = f"""
import pathlib, time
print("ready", flush=True)
while not pathlib.Path({str(stop)!r}).exists():
    time.sleep(0.05)
time.sleep(0.2)
pathlib.Path({str(last_words)!r}).touch()
"""

    def ask_to_stop():
        stop.touch()
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        call(program, say=interrupt, stop_grace_s=20, ask_to_stop=ask_to_stop)
    assert last_words.exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_child_with_nothing_more_to_lose_is_not_waited_for(call, mark, interrupt):
    with pytest.raises(Interrupted):
        call(STUBBORN, say=interrupt, stop_grace_s=60, has_stopped=lambda: bool(call.asked))
    assert time.monotonic() - call.asked[0] < 10
    assert alive(mark) == {}


def test_a_killed_launcher_takes_the_session_with_it(tmp_path, mark):
    program = f"""
import pathlib, sys
from flows import child
child.TERM_GRACE_S = 0.3
child.run(
    [sys.executable, "-c", {STUBBORN!r}, "follow"],
    say=lambda line: print(line, flush=True),
    errors=pathlib.Path({str(tmp_path / "errors.txt")!r}),
    ask_to_stop=lambda: None,
    has_stopped=lambda: True,
    stop_grace_s=lambda: 0.0,
)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout.readline() == "ready\n"
        assert len(alive(mark)) == 3
        launcher.kill()
        wait_until(lambda: not alive(mark), 10, "the session to end")
