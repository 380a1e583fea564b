"""No rank makes a socket call between its first step and its last: whoever tracks a training stands beside it."""

import os
import subprocess
import sys

import pytest
import training
import yaml
from launched import TORCHRUN

from sr_core import config

# every way in which Python opens a connection or sends; gloo's own are C++ and not seen
FORBID = """
import socket, sys
from sr_core import __main__, faults

NAMES = ("connect", "connect_ex", "send", "sendall", "sendto", "sendmsg", "recv", "recv_into", "accept", "bind")
loop, point = [], faults.point

def guarded(name):
    real = getattr(socket.socket, name)
    def call(*arguments, **options):
        if loop:
            print(f"socket call in the loop: {name}", flush=True)
            raise RuntimeError(f"socket call in the loop: {name}")
        return real(*arguments, **options)
    setattr(socket.socket, name, call)

def at(name):
    if name == "first_batch":
        loop.append(name)
        print("forbidden from here", flush=True)
    if name == "shutdown":
        loop.clear()
        print("allowed again", flush=True)
    point(name)

for name in NAMES:
    guarded(name)
faults.point = at
{more}
sys.exit(__main__.main(["train", "--params", sys.argv[1]]))
"""
TRACKS = """
from sr_core.train import metrics_log
write = metrics_log.MetricsLog.write
def tracked(self, step, values):
    socket.create_connection(("127.0.0.1", 1), timeout=1)
    return write(self, step, values)
metrics_log.MetricsLog.write = tracked
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sockets")
    params, _ = training.made(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(config.to_dict(params)))
    return folder


def run(project, launcher, more=""):
    script = project / "forbidding.py"
    script.write_text(FORBID.replace("{more}", more))
    command = [*launcher, str(script), str(project / "params.yaml")]
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


def test_it_is_seen_when_somebody_tracks_in_the_loop(project):
    done = run(project, [sys.executable], TRACKS)
    assert done.returncode != 0
    assert "socket call in the loop: connect" in done.stdout


@pytest.mark.parametrize("launcher", [[sys.executable], TORCHRUN], ids=["one", "torchrun"])
def test_no_rank_makes_a_socket_call_in_the_loop(project, launcher, tmp_path):
    for old in (project / "runs").glob("*"):
        old.rename(tmp_path / old.name)  # trained anew
    done = run(project, launcher)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = 1 if launcher == [sys.executable] else 2
    assert done.stdout.count("forbidden from here") == ranks
    assert done.stdout.count("allowed again") == ranks
    assert "socket call" not in done.stdout
