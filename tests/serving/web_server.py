"""A web page that is served, for tests: a process of its own on a port of its own."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from sr_core import models
from sr_core.models.card import Card
from sr_core.train import weights

ROOT = Path(__file__).resolve().parents[2]
SCALE, TILE = 2, 32
MAX_UPLOAD_BYTES = 200_000
MODEL = "edsr-x2-test"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a test needs of it."""

    url: str
    pid: int
    root: Path
    model: Path


def write_model(root: Path, name: str = MODEL) -> Path:
    """A network that was never trained, with small tiles, below `root`/models."""
    torch.manual_seed(0)
    options = {"num_blocks": 1, "num_features": 8}
    network = models.build("edsr", scale=SCALE, preset="small", options=options)
    card = Card(model="edsr", preset="small", options=options, scale=SCALE, precision="float32", tile=TILE)
    weights.save_model(root / "models" / name, network.state_dict(), card, {})
    return root / "models" / name


@contextlib.contextmanager
def served(root: Path, *arguments: str, cwd: Path | None = None) -> Iterator[Served]:
    """The page over `root`, until the context ends; `cwd` is where a registry's artefacts are."""
    model = write_model(root)
    command = [sys.executable, "-m", "serving.web", "--root", str(root), "--port", "0", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = root / "server.log"
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, cwd=cwd or root, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line.startswith("serving at "), log.read_text()
        yield Served(url=line.split()[-1].replace("0.0.0.0", "127.0.0.1"), pid=server.pid, root=root, model=model)
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(30)
        server.stdout.close()
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()
