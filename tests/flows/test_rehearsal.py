"""The rehearsal of DIV2K's download, with few images; benchmarks/rehearsal.py says how it runs at full size."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_every_phase_the_flow_ends_with_the_same_shards(tmp_path):
    command = [sys.executable, "benchmarks/rehearsal.py", "--second-order", "--train", "3", "--valid", "1"]
    done = subprocess.run(
        [*command, "--kills", "5", "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    # a phase of so few images may be over before the kill comes
    assert 3 <= int(lines[-1].removeprefix("rehearsal_identical_after_kills: ")) <= 5
