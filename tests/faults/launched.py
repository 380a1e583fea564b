"""Training as users launch it: commands, fresh runs on shards that are there already, and a SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sr_core.train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
ONE = [sys.executable, "-m", "sr_core", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO = [*TORCHRUN, "-m", "sr_core", "train"]
RAY = [sys.executable, "-m", "flows.launch"]


def fresh_run(shards, root, overrides):
    """Its root, which has `shards` already, and the arguments of any launcher."""
    (root / "shards").symlink_to(shards)
    return root, [f for key in (*overrides, f"data.root={root}") for f in ("--set", key)]


def complete(command, root, arguments):
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def digest(root, steps):
    manifest = checkpoint.newest(run_dir(root) / "checkpoints").manifest
    assert manifest.step == steps
    assert manifest.precision == "bf16" or not has_fast_bf16()
    return manifest.files[checkpoint.STATE].sha256


def has_fast_bf16():
    return bool({"amx_bf16", "avx512_bf16"} & set(Path("/proc/cpuinfo").read_text().split()))


def run_dir(root):
    (found,) = (root / "runs").iterdir()
    return found


def start(command, root, arguments):
    return subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill_rank_0_after(process, root, step):
    """SIGKILLs the rank that owns the run directory, in the middle of training."""
    path = Path(f"checkpoints/step-{step:08d}")
    deadline = time.monotonic() + 90
    while not any((found / path).exists() for found in (root / "runs").glob("*")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(json.loads((run_dir(root) / ".lock").read_text())["pid"], signal.SIGKILL)
