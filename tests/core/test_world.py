"""Two ranks: work that takes longer than a collective may, errors that cannot be sent, and a request to stop."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RANKS = """
import threading, time
from sr_core.errors import SrError, StoppedError
from sr_core.world import open_world

class Odd(Exception):
    def __init__(self):
        super().__init__("odd")
        self.lock = threading.Lock()

def odd():
    raise Odd

def met(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

with open_world(timeout_s=3) as world:
    assert world.on_first(lambda: time.sleep(4) or "late") == "late"
    assert world.on_each_host(lambda first: time.sleep(4 if first else 0) or first) is (world.rank == 0)
    assert met(lambda: world.on_first(odd)) == ("Odd: odd" if world.is_first else "SrError: Odd: odd")
    assert "pickle" in met(lambda: world.on_first(threading.Lock))
    assert met(lambda: world.on_all(lambda: world.is_first or odd())).endswith("Odd: odd")
    begun = time.monotonic()
    pull = (lambda: time.sleep(60)) if world.is_first else None
    assert met(lambda: world.meeting(pull, should_stop=lambda: not world.is_first)).startswith("StoppedError")
    for _ in range(20):
        assert world.on_first(lambda: 1) == 1
    assert time.monotonic() - begun < 5
    assert world.meeting(lambda: world.rank) == world.rank
"""


def test_two_ranks_meet_however_long_one_works(tmp_path):
    (tmp_path / "ranks.py").write_text(RANKS)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*COMMAND, tmp_path / "ranks.py"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
