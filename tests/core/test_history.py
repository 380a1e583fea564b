"""launches.jsonl: which groups of ranks trained in a run directory, and how each ended."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import training

from sr_core.errors import DivergedError
from sr_core.train import history, metrics_log, run
from sr_core.world import World


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return training.made(tmp_path_factory.mktemp("job"))


def recorded(run_dir, *, step=lambda: 7, from_step=3, say=print):
    return history.recorded(run_dir, World(), from_step=from_step, rejected=(), step=step, say=say)


def test_a_stop_and_the_launch_after_it(job, tmp_path):
    stop = training.asked_at(4)
    training.go(*job, tmp_path, should_stop=stop)
    training.go(*job, tmp_path)
    first, second = history.read(tmp_path)
    assert (first.from_step, first.step, first.how) == (0, 5, "stopped")
    assert (second.from_step, second.step, second.how) == (5, training.STEPS, "finished")
    assert (first.host, first.pid, first.ranks) == (socket.gethostname(), os.getpid(), 1)
    assert first.time <= first.ended <= second.time <= second.ended


def test_by_what_it_was_stopped(tmp_path):
    with recorded(tmp_path) as record:
        record.stopped("SIGTERM")
    assert history.read(tmp_path)[0].how == "stopped by SIGTERM"


def test_why_it_failed(job, tmp_path):
    class Faulty:
        by = None

        def __call__(self):
            raise DivergedError("step 3: loss is nan; lower train.lr\nand more")

    with pytest.raises(DivergedError):
        training.go(*job, tmp_path, should_stop=Faulty())
    (launch,) = history.read(tmp_path)
    assert (launch.step, launch.how) == (0, "step 3: loss is nan; lower train.lr")


@pytest.mark.parametrize(
    ("error", "how"), [(KeyboardInterrupt(), "KeyboardInterrupt"), (ValueError("bad"), "ValueError: bad")]
)
def test_what_nobody_foresaw(tmp_path, error, how):
    with pytest.raises(type(error)), recorded(tmp_path):
        raise error
    assert history.read(tmp_path)[0].how == how


def test_a_kill_leaves_no_end(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from sr_core.train import history
from sr_core.world import World
with history.recorded(Path({str(tmp_path)!r}), World(), from_step=0, rejected=(), step=lambda: 0, say=print):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with recorded(tmp_path):
        pass
    killed, after = history.read(tmp_path)
    assert (killed.ended, killed.step, killed.how) == (None, None, None)
    assert after.how == "finished"


def test_a_checkpoint_that_was_not_used_is_named(job, tmp_path):
    training.go(*job, tmp_path, should_stop=training.asked_at(7))
    newest = max((tmp_path / run.CHECKPOINTS).glob("step-*"))
    (newest / run.checkpoint.MANIFEST).write_text("{}")
    training.go(*job, tmp_path)
    (line,) = history.read(tmp_path)[1].rejected
    assert newest.name in line


def test_a_torn_last_line_is_left_out_and_spoils_no_other(tmp_path):
    with recorded(tmp_path):
        pass
    path = tmp_path / history.NAME
    whole = path.read_bytes()
    for kept in range(0, len(whole), 11):
        path.write_bytes(whole[:kept])
        with recorded(tmp_path, from_step=9):
            pass
        launches = history.read(tmp_path)
        assert (launches[-1].from_step, launches[-1].how) == (9, "finished")
        assert len(launches) == 1 + (kept >= whole.index(b"\n"))


@pytest.mark.parametrize("line", ["[]", "3", "{}", '{"event": "end", "id": "x"}', '{"event": "start", "id": []}', "\0"])
def test_damaged_lines_are_left_out(tmp_path, line):
    (tmp_path / history.NAME).write_text(f"{line}\n")
    with recorded(tmp_path):
        pass
    assert [launch.how for launch in history.read(tmp_path)] == ["finished"]


def test_a_full_disk_is_said_and_hides_no_error(tmp_path):
    (tmp_path / history.NAME).symlink_to("/dev/full")
    said = []
    with pytest.raises(DivergedError), recorded(tmp_path, say=said.append):
        raise DivergedError("at step 7")
    assert len(said) == 2
    assert "No space left on device" in said[0]


@pytest.mark.parametrize(
    "raw",
    [
        {"step": 1, "time": "noon", "values": {"a": 1.0}},
        {"step": 1, "time": 1.0, "values": {"a": "b"}},
        {"step": True, "time": 1.0, "values": {"a": 1.0}},
        {"step": 1, "time": 1.0, "values": [1.0]},
    ],
)
def test_damaged_events_are_left_out(tmp_path, raw):
    good = {"step": 2, "time": 1.0, "values": {"a": 1.0}}
    (tmp_path / metrics_log.NAME).write_text(f"{json.dumps(raw)}\n{json.dumps(good)}\n")
    assert [event.step for event in metrics_log.read(tmp_path)] == [2]
