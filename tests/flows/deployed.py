"""A project folder with its own Prefect server and worker, as a user would start them."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.request import Request, urlopen

import made
import numpy as np
import yaml
from processes import MARK, alive, wait_until

from sr_core import config
from sr_core.data.images import write_png

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "true", "NO_COLOR": "1"}


def write_project(folder: Path, *, size: tuple[int, int] = (64, 72), **train) -> None:
    """params.yaml of a job of seconds, three photographs, and what Prefect reads in a project's folder."""
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    random = np.random.default_rng(0)
    for i in range(3):
        write_png(folder / "photographs" / f"{i}.png", random.integers(0, 256, (*size, 3), dtype=np.uint8))
    fields = {"steps": 300, "batch": 2, "lr_milestones": [], "log_every": 10, "eval_every": 100, "checkpoint_every": 10}
    params = made.params(
        folder,
        uri="sqlite:///mlflow.db",
        data={"root": "data", "source": "folder", "folder": "photographs", "scale": 2, "crop": 8, "num_writers": 1},
        train={**fields, "num_threads": 1, **train},
    )
    (folder / "params.yaml").write_text(yaml.safe_dump(config.to_dict(params)))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment without its Prefect, and with a Prefect of `folder`'s own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, **QUIET, "PREFECT_HOME": str(folder / "prefect"), "PATH": path, **more}


class Deployed:
    """The project's folder, and what goes on in its server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark, self._port = folder, uuid.uuid4().hex, made.free_port()
        api = f"http://127.0.0.1:{self._port}/api"
        variables = {"PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1", MARK: self.mark}
        self._api, self._environment, self._started = api, environment(folder, **variables), []

    def start(self) -> None:
        """As README.md says."""
        write_project(self.folder)
        self._start("server", "start", "--host", "127.0.0.1", "--port", str(self._port))
        wait_until(self._is_healthy, 90, "Prefect's server")
        self.prefect("work-pool", "create", "local", "--type", "process")
        self.prefect("--no-prompt", "deploy", "--all")
        self._start("worker", "start", "--pool", "local")

    def _start(self, *arguments: str) -> None:
        with (self.folder / f"{arguments[0]}.log").open("wb") as log:
            self._started.append(
                subprocess.Popen(
                    ["prefect", *arguments], cwd=self.folder, env=self._environment, stdout=log, stderr=log
                )
            )

    def stop(self) -> None:
        """Worker first; nothing that either of them started is left."""
        for program in reversed(self._started):
            program.terminate()
            program.wait(timeout=30)
        wait_until(lambda: not alive(self.mark), 15, f"the end of {alive(self.mark)}")

    def _is_healthy(self) -> bool:
        assert self._started[0].poll() is None, (self.folder / "server.log").read_text()
        try:
            return self.ask("health", method="GET") is True
        except OSError:
            return False

    def prefect(self, *arguments: str) -> str:
        """What `prefect …` prints, typed in the project's folder."""
        done = subprocess.run(
            ["prefect", *arguments], cwd=self.folder, env=self._environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, method: str = "POST", **body):
        """The server's answer."""
        data = json.dumps(body).encode() if method == "POST" else None
        request = Request(f"{self._api}/{path}", data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def run(self, deployment: str, *overrides: str, **parameters: object) -> str:
        """Starts a run of `deployment`, spelled in any way; returns its id."""
        parameters |= {"overrides": overrides} if overrides else {}
        given = [part for key, value in parameters.items() for part in ("--param", f"{key}={json.dumps(value)}")]
        printed = self.prefect("deployment", "run", deployment, *given)
        return next(line for line in printed.splitlines() if "UUID" in line).split()[-1]

    def state(self, run: str) -> str:
        """Such as Completed."""
        return self.ask(f"flow_runs/{run}", method="GET")["state_name"]

    def log(self, run: str) -> str:
        """The run's log."""
        lines = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
        return "\n".join(line["message"] for line in lines)

    def log_with(self, run: str, *sentences: str) -> str:
        """The run's log once it has these sentences: Prefect's client sends what was logged in batches."""

        def has_all() -> bool:
            log = self.log(run)
            return all(sentence in log for sentence in sentences)

        wait_until(has_all, 30, f"the log to say {' and '.join(sentences)}")
        return self.log(run)

    def run_dirs(self) -> set[Path]:
        """Every training's directory."""
        return set(self.folder.glob("data/runs/*"))

    def running(self) -> dict[int, str]:
        """What runs of flows: neither server nor worker."""
        own = {program.pid for program in self._started}
        return {pid: line for pid, line in alive(self.mark).items() if pid not in own}
