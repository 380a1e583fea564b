"""A registered model behind MLflow's own server, for tests: started as README.md says, in a folder of its own."""

import base64
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import made

from sr_core import files
from sr_core.config import Params
from sr_core.train import weights

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GIVEN = "models:/sr-edsr-x4-bicubic@champion"
MAX_BYTES, MAX_PIXELS = 300_000, 40_000
TILE = 32  # LR pixels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A project folder with a registered model, and the server on it."""

    folder: Path
    model: Path
    params: Params
    port: int
    environment: dict[str, str]
    log: Path

    def call(self, body, *, content_type="application/json"):
        """Status and JSON of the answer to a body, as JSON or as bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/invocations"
        request = urllib.request.Request(url, data, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def pictures(self, *data: bytes, **params):
        status, answer = self.call({"inputs": [text(each) for each in data], "params": params})
        assert status == 200, answer
        return answer["predictions"]

    def refused(self, body) -> str:
        """The sentence with which `body` is refused."""
        status, answer = self.call(body)
        assert status == 400, answer
        assert "stack_trace" not in answer
        return answer["message"]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@contextlib.contextmanager
def served(folder: Path, **sections) -> Iterator[Served]:
    """`mlflow models serve`, as README.md has it but for the port; `sections` change the model's parameters."""
    from flows import registry
    from serving.store import connect

    before = Path.cwd()
    os.chdir(folder)  # artefacts go to ./mlruns
    try:
        params = made.params(folder, **sections)
        connect(params.track.uri)
        model = made.write_model(params)
        card = dataclasses.replace(weights.read_card(model), precision="float32", tile=TILE)
        files.write_atomic(model / weights.CARD, files.to_json(dataclasses.asdict(card)))
        registry.register(params, model, made.write_report(params, 28.0))
    finally:
        os.chdir(before)
    port = made.free_port()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment = {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": params.track.uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "SR_SERVE_MAX_BYTES": str(MAX_BYTES),
        "SR_SERVE_MAX_PIXELS": str(MAX_PIXELS),
        "SR_MODEL_CACHE": str(folder / "cache"),
    }
    line = next(line for line in README.splitlines() if "mlflow models serve" in line)
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["bash", "-c", line.strip().replace("5001", str(port))],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        made.wait_until_healthy(f"http://127.0.0.1:{port}", timeout_s=90)
        yield Served(folder=folder, model=model, params=params, port=port, environment=environment, log=log)
        assert server.poll() is None, log.read_text()  # it is still there, whatever it was sent
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
