"""What gives way to the ranks, and what does not."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from flows import cluster

RAY = "/venv/lib/python3.11/site-packages/ray"


@pytest.mark.parametrize(
    ("command", "waits", "waits_where_ranks_may_undo_it"),
    [
        ("ray::TrainController.run", True, True),
        ("ray::SynchronizationActor", True, True),
        (f"{RAY}/core/src/ray/gcs/gcs_server --log_dir=…", True, True),
        (f"python {RAY}/dashboard/dashboard.py --host=…", True, True),
        ("python -m flows.launch --child …", True, True),
        ("ray::RayTrainWorker.run", False, False),
        ("ray::IDLE", False, True),
        (f"{RAY}/core/src/ray/raylet/raylet --raylet_socket_name=…", False, True),
        ("bash", False, False),
        ("python -m pytest", False, False),
    ],
)
def test_what_may_become_a_rank_waits_only_where_it_can_undo_that(command, waits, waits_where_ranks_may_undo_it):
    assert cluster._can_wait(command, all_wait=False) == waits
    assert cluster._can_wait(command, all_wait=True) == waits_where_ranks_may_undo_it


def test_only_the_callers_thread_keeps_its_niceness():
    code = """
import os, threading, time
from flows import cluster
other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
other.start()
niceness = os.getpriority(os.PRIO_PROCESS, 0)
cluster.go_first(own=True, niceness=niceness)
print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), os.getpriority(os.PRIO_PROCESS, other.native_id))
"""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(before), str(cluster.LAST)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="lowering a niceness takes a privilege")
def test_a_rank_that_ray_started_last_comes_first_again():
    code = """
import os, threading
from flows import cluster
os.nice(cluster.LAST)
cluster.go_first(own=True, niceness=1)
print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_the_logs_of_a_driver_that_died_are_kept_by_the_next(tmp_path):
    died = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    stale = Path(tempfile.mkdtemp(prefix=f"{cluster.SCRATCH}{died.stdout.strip()}-", dir="/tmp"))
    (stale / "session_latest" / "logs").mkdir(parents=True)
    (stale / "session_latest" / "logs" / "raylet.out").write_text("lost")
    (stale / cluster.KEPT_IN).write_text(str(tmp_path / "ray-logs"))
    with cluster._scratch(tmp_path / "next"):
        assert not stale.exists()
    assert (tmp_path / "ray-logs" / "raylet.out").read_text() == "lost"
    assert not (tmp_path / "next").exists()
