"""What tracking costs a training: the same small job beside a healthy MLflow, a hanging one, and one answering 500.

    python benchmarks/tracking.py [--steps 8000] [--rounds 5]

The job is `python -m sr_core train` in a child process, as the flow's launch is, with the flow's shipping in this one
(flows/track.py). Each figure is the wall time of the child, interpreter and all; `none` is the same without shipping.
The servers take turns within a round, and each round begins with another. The job has a core of its own, as MLflow's
server is on another machine in earnest; server and shipping share the others. The ratio is that of the medians; the
last line's limit is 1.01.
"""

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "flows"))

import made  # noqa: E402
from deployed import write_project  # noqa: E402
from proxy import Proxy  # noqa: E402

from flows import track  # noqa: E402
from sr_core.launch_params import TrackParams  # noqa: E402

KINDS = ("none", "healthy", "hanging", "500")
CORES = sorted(os.sched_getaffinity(0))


def main() -> None:
    arguments = _arguments()
    os.sched_setaffinity(0, set(CORES[1:] or CORES))  # and of the server, which is started from here
    with tempfile.TemporaryDirectory(prefix="sr-tracking-") as scratch, _server(Path(scratch)) as port:
        base = Path(scratch)
        write_project(base, size=(96, 112), log_every=10, steps=arguments.steps, checkpoint_every=100)
        _python(base, "shard")
        proxy = Proxy(port)
        wall: dict[str, list[float]] = {kind: [] for kind in KINDS}
        ends: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for round_ in range(arguments.rounds):
            for kind in KINDS[round_ % len(KINDS) :] + KINDS[: round_ % len(KINDS)]:
                proxy.mode = {"hanging": "hang", "500": "500"}.get(kind, "pass")
                train_s, end_s = _train(base, f"seed={round_ * len(KINDS) + KINDS.index(kind)}", kind, proxy.port)
                wall[kind].append(train_s)
                ends[kind].append(end_s)
            print(f"round {round_}: " + ", ".join(f"{kind} {times[-1]:.2f} s" for kind, times in wall.items()))
        proxy.close()
    for kind in KINDS[1:]:
        ratio = statistics.median(wall[kind]) / statistics.median(wall["none"])
        print(f"{kind}: {ratio:.4f} of the time without tracking, and {max(ends[kind]):.1f} s at most after its end")
    for kind in ("healthy", "500", "hanging"):
        name = "hanging_mlflow" if kind == "hanging" else f"mlflow_{kind}"
        print(f"{name}_over_none: {statistics.median(wall[kind]) / statistics.median(wall['none']):.4f}")


def _train(base: Path, change: str, kind: str, port: int) -> tuple[float, float]:
    """Wall time of the training, and how much longer shipping took."""
    command = [sys.executable, "-m", "sr_core", "train", "--set", change]
    before = set(base.glob("data/runs/*"))
    child = subprocess.Popen(command, cwd=base, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(child.pid, {CORES[0]})
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        if kind != "none":
            while not (new := set(base.glob("data/runs/*")) - before) and child.poll() is None:
                time.sleep(0.01)
            given = TrackParams(uri=f"http://127.0.0.1:{port}", experiment="benchmark")
            stack.enter_context(track.shipping(new.pop(), given, say=lambda _: None))
        code = child.wait()
        ended = time.monotonic()
        if code:
            sys.exit(f"training ended with exit code {code}")
    return ended - begun, time.monotonic() - ended


def _python(base: Path, verb: str) -> None:
    subprocess.run([sys.executable, "-m", "sr_core", verb], cwd=base, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def _server(base: Path) -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{base}/server.db"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (base / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=base, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        made.wait_until_healthy(f"http://127.0.0.1:{port}", timeout_s=180)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
