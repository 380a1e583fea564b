"""Runs the tests as two pytests side by side: most of them either compute on one core or wait for servers.

    python tests/side_by_side.py [PYTEST ARGUMENT …]

Each half has its folders, takes about as long as the other, and keeps what it starts to itself: a session of its own.
torch computes on one core in each. What the second half prints is shown when it has ended. The exit code is 0 if both
halves' are.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("tests/flows", "tests/faults")


def main(arguments: list[str]) -> int:
    folders = sorted({str(path.parent.relative_to(ROOT)) for path in ROOT.glob("tests/*/test_*.py")})
    second = [folder for folder in folders if folder not in FIRST]
    with tempfile.TemporaryFile("w+") as said:
        halves = [_start([*FIRST, *arguments], None), _start([*second, *arguments], said)]
        try:
            codes = [half.wait() for half in halves]
        except KeyboardInterrupt:
            codes = [_interrupted(half) for half in halves]
        said.seek(0)
        print(f"\n{' '.join(second)}:")
        print(said.read(), end="")
    return 0 if not any(codes) else max(map(abs, codes))


def _start(arguments: list[str], output: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)


def _interrupted(half: "subprocess.Popen[bytes]") -> int:
    """Ctrl-C reaches only this process's session."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(half.pid, signal.SIGINT)
    return half.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    sys.exit(main(sys.argv[1:]))
