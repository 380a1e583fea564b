"""What gives way to the ranks, and what does not."""

import os
import subprocess
import sys
import threading

import pytest

from flows import cluster

RAY = "/venv/lib/python3.11/site-packages/ray"


@pytest.mark.parametrize(
    ("command", "waits"),
    [
        ("ray::TrainController.run", True),
        ("ray::SynchronizationActor", True),
        (f"{RAY}/core/src/ray/gcs/gcs_server --log_dir=…", True),
        (f"python {RAY}/dashboard/dashboard.py --host=…", True),
        ("python -m flows.launch --child …", True),
        ("ray::RayTrainWorker.run", False),
        ("ray::IDLE", False),
        (f"{RAY}/core/src/ray/raylet/raylet --raylet_socket_name=…", False),
        ("bash", False),
        ("python -m pytest", False),
    ],
)
def test_what_may_become_a_rank_does_not_wait(command, waits):
    assert cluster._can_wait(command) == waits


def test_only_the_callers_thread_keeps_its_niceness():
    code = """
import os, threading, time
from flows import cluster
other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
other.start()
cluster.go_first(own=True)
print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), os.getpriority(os.PRIO_PROCESS, other.native_id))
"""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(before), str(cluster.LAST)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
