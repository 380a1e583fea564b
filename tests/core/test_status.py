"""`python -m sr_core status`: while training goes on, after it, and of whatever is damaged."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import training
from rich.console import Console

from sr_core import __main__ as core
from sr_core import files
from sr_core.errors import CheckpointError
from sr_core.train import history, metrics_log, run, status, status_page
from sr_core.train.curves import panel

DATA = "d" * 64


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return training.made(tmp_path_factory.mktemp("job"))


@pytest.fixture
def run_dir(job, tmp_path):
    """A run that never logged."""
    run.check_identity(tmp_path, job[0], DATA)
    return tmp_path


def shown(run_dir, *, unicode=True):
    stream = io.StringIO()
    Console(file=stream, width=80, highlight=False).print(status_page.page(status.look(run_dir), unicode=unicode))
    return stream.getvalue()


def log(run_dir, last):
    written = metrics_log.MetricsLog(run_dir, from_step=0)
    for step in range(1, last + 1):
        values = {"train/loss": 50.0 / step, "train/step_s": 0.5, "train/crops_per_s": 8.0, "train/lr": 1e-3}
        written.write(step, {**values, "valid/psnr": 20.0 + step, "valid/best_psnr": 20.0 + step})


def locked_by(run_dir, host, pid, *, seconds_ago=0.0):
    path = run_dir / status.LOCK
    path.write_text(json.dumps({"host": host, "pid": pid, "launcher": pid}))
    os.utime(path, (time.time() - seconds_ago,) * 2)


def test_a_run_that_never_logged(run_dir):
    text = shown(run_dir)
    assert "not running" in text
    assert "step 0/12" in text
    assert "checkpoint none yet" in text
    assert text.count("nothing logged yet") == 2


def test_a_finished_run(job, tmp_path):
    training.go(*job, tmp_path, should_stop=training.asked_at(4))
    training.go(*job, tmp_path)
    now, text = status.look(tmp_path), shown(tmp_path)
    assert (now.state, now.running, now.step, now.share, now.restarts) == ("finished", False, 12, 1.0, 1)
    assert now.best == max(now.psnr, key=lambda point: point[1])
    assert now.saved.step == 12
    for part in ("step 12/12 (100 %)", "crops/s", "learning rate", "dB at step", "checkpoint step 12", "launches: 2"):
        assert part in text
    assert "0 - 5" in text
    assert "5 - 12" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_left_at_the_present_rate(run_dir):
    log(run_dir, 4)
    assert status.look(run_dir).left_s == 8 * 0.5
    assert "8.0 crops/s, 2.00 steps/s, 4 s left" in shown(run_dir)


def test_a_run_that_goes_on_and_is_then_killed(run_dir):
    code = f"""
import time
from pathlib import Path
from sr_core import files
from sr_core.train import history
from sr_core.world import World
path = Path({str(run_dir)!r})
with files.lock_directory(path):
    with history.recorded(path, World(), from_step=3, rejected=(), step=lambda: 3, say=print):
        print("begun", flush=True)
        time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        now = status.look(run_dir)
        assert (now.running, now.state) == (True, f"running as process {child.pid} on host {socket.gethostname()}")
        assert "goes on" in shown(run_dir)
        child.send_signal(signal.SIGKILL)
    now = status.look(run_dir)
    assert not now.running
    assert now.state.startswith(f"died: process {child.pid} ")
    assert "killed or lost" in shown(run_dir)


def test_a_process_that_has_the_id_of_a_dead_owner_is_not_it(run_dir):
    locked_by(run_dir, socket.gethostname(), os.getpid(), seconds_ago=1e7)
    assert status.look(run_dir).state.startswith("died")


def test_an_owner_on_another_host_is_believed_while_it_writes(run_dir):
    locked_by(run_dir, "elsewhere", 1)
    assert status.look(run_dir).state.startswith("running, as far as this host can see, as process 1 on host elsewhere")
    locked_by(run_dir, "elsewhere", 1, seconds_ago=status.SILENT_S + 1)
    assert status.look(run_dir).state.startswith("silent")


@pytest.mark.parametrize(
    ("how", "state"), [("stopped by SIGTERM", "stopped by SIGTERM"), ("loss is nan", "failed: loss is nan")]
)
def test_how_the_last_launch_ended(run_dir, how, state):
    with files.lock_directory(run_dir):
        world = training.World()
        with history.recorded(run_dir, world, from_step=0, rejected=(), step=lambda: 3, say=print) as record:
            record.how = how
    assert status.look(run_dir).state == state


@pytest.mark.parametrize("name", [metrics_log.NAME, history.NAME, status.LOCK])
@pytest.mark.parametrize("damage", ["\0\xff{", '{"step": "x"}\n[]\n3\n', "{}", '{"host": [], "pid": "x"}'])
def test_a_damaged_file_breaks_nothing(run_dir, name, damage):
    log(run_dir, 5)
    (run_dir / name).write_text(damage)
    (run_dir / run.CHECKPOINTS / "step-x").mkdir(parents=True)
    assert "step" in shown(run_dir)


def test_what_is_no_run_directory_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run directory"):
        status.look(tmp_path)


def test_a_stream_without_unicode_gets_ascii(run_dir):
    log(run_dir, 12)
    assert shown(run_dir, unicode=False).isascii()
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "sr_core", "status", str(run_dir)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"step 12/12" in done.stdout
    assert done.stdout.isascii()


def test_to_a_pipe_watching_is_looking_once(run_dir, capsys):
    assert core.main(["status", str(run_dir), "--watch"]) == 0
    assert "step 0/12" in capsys.readouterr().out


@pytest.mark.parametrize("unicode", [True, False])
def test_a_falling_curve_falls(unicode):
    points = [(step, 100.0 - step) for step in range(101)]
    lines = panel("loss", points, x_last=100, width=39, height=8, unicode=unicode)
    assert len(lines) == 11
    assert {len(line) for line in lines} == {39}
    rows = [[i for i, char in enumerate(line[10:]) if char != " "] for line in lines[1:9]]
    assert all(rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert (rows[0][0], rows[-1][-1]) == (0, 28)


def test_values_over_a_wide_range_are_drawn_by_their_logarithm():
    points = [(step, 10.0 ** (3 - step / 25)) for step in range(101)]
    lines = panel("loss", points, x_last=100, width=39, height=8, unicode=True)
    assert lines[0].strip() == "loss (log)"


@pytest.mark.parametrize("points", [[], [(0, float("nan"))], [(3, 1.0)], [(0, 0.0), (5, 0.0)], [(0, float("inf"))]])
def test_few_points_or_none(points):
    assert len(panel("loss", points, x_last=5, width=39, height=8, unicode=True)) == 11
