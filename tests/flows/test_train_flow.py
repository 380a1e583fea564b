"""`python -m flows.train` and `python -m flows.prepare` where no Prefect server is set up."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from types import SimpleNamespace

import made
import pytest
from deployed import environment, write_project
from processes import MARK, alive, wait_until

from flows import farewell, running
from sr_core import __main__ as core
from sr_core.errors import ConfigError, TrackError

pytestmark = pytest.mark.timeout(240)
TASK = "edsr-x2-bicubic"


class Project:
    """A project's folder with a Prefect home that nothing has run in."""

    def __init__(self, folder):
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.environment = environment(folder, **{MARK: self.mark})
        write_project(folder)

    def start(self, module, *arguments, **options):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, module, *arguments):
        """Exit code, standard output, standard error; and nothing is left."""
        child = self.start(module, *arguments)
        out, err = child.communicate()
        assert alive(self.mark) == {}
        return child.returncode, out, err


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("alone"))


@pytest.fixture
def trained(project, monkeypatch):
    """The project with its training done, by one process: what is tested here is not Ray."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert core.main(["shard"]) == core.main(["train"]) == 0
    return project


def test_the_whole_way_ends_with_the_scores_and_what_to_do_next(trained):
    code, out, err = trained.run("flows.train", "edsr")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "starting a Prefect server for this run"
    assert any(re.fullmatch(r"data/runs/edsr-x2-bicubic-\w{8} has all of its 300 steps", line) for line in lines)
    assert f"registered sr-{TASK} version 1: first: no other version holds the title" in lines
    assert "prefect" not in out.partition("Next:")[0].replace(lines[0], "")
    rows = [line.split()[0] for line in lines if line.strip()]
    assert rows.index("image") < rows.index("mean") < rows.index("picture") < rows.index("Next:")
    paths = {line.split()[0]: line.split()[1] for line in lines if line.startswith(("picture", "model", "run "))}
    assert len(paths) == 3
    assert all((trained.folder / path).exists() for path in paths.values())
    assert re.search(r"^MLflow run +[0-9a-f]{32}$", out, re.MULTILINE)
    for command in (
        "sr_core upscale photo.jpg",
        "mlflow ui --backend-store-uri sqlite:///mlflow.db",
        "profiles/div2k.yaml",
    ):
        assert command in out


def test_a_step_without_what_it_needs_is_one_sentence(project):
    code, _, err = project.run("flows.train", "edsr", "--only", "evaluate", "--set", "data.scale=4")
    assert code == 5
    assert err == "data/models/edsr-x4-bicubic/card.json: missing; expected a model directory: train first\n"


@pytest.mark.parametrize("module", [("flows.train", "edsr"), ("flows.prepare",)])
def test_a_mistake_in_the_parameters_is_said_before_any_server_starts(project, module):
    code, out, err = project.run(*module, "--set", "train.stepz=1")
    assert (code, out) == (2, "")
    assert err == "params.yaml: 1 wrong:\n  train.stepz: no such key; did you mean steps?\n"


def test_a_server_that_is_set_up_and_away_is_one_sentence(project, monkeypatch):
    url = f"http://127.0.0.1:{made.free_port()}/api"
    monkeypatch.setitem(project.environment, "PREFECT_API_URL", url)
    code, _, err = project.run("flows.prepare")
    assert code == 1
    assert err.startswith(f"PREFECT_API_URL: no Prefect server answers at {url} (")
    assert len(err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_from_the_terminal_nothing_is_left(tmp_path, number):
    """ctrl-C reaches the whole foreground group: the flow and Prefect's server, not the training."""
    project = Project(tmp_path)
    child = project.start("flows.train", "edsr", "--set", "train.steps=1000000", process_group=0)
    for line in child.stdout:
        if line.startswith("step "):
            break
    asked = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 75
    said = re.fullmatch(r"stopped at step (\d+), checkpoint written; the same command goes on from there", err.strip())
    assert said, err
    assert (newest := list(project.folder.glob("data/runs/*/checkpoints/step-*")))
    assert int(said[1]) == max(int(path.name.removeprefix("step-")) for path in newest)
    assert time.monotonic() - asked < 30
    assert "Traceback" not in out + err
    wait_until(lambda: not alive(project.mark), 5, "the rest to end")


@pytest.mark.parametrize(
    ("error", "again"),
    [(ConfigError("train.lr"), False), (TrackError("away"), True), (ConnectionError("away"), True)],
)
def test_only_what_may_pass_is_tried_again(error, again):
    assert running.may_pass(None, None, SimpleNamespace(data=error)) is again


def test_our_errors_are_logged_without_a_traceback(caplog, monkeypatch):
    running.errors_in_one_sentence()
    running.errors_in_one_sentence()
    logger = logging.getLogger("prefect.task_runs")
    monkeypatch.setattr(logger, "handlers", [])  # Prefect's own wants a run
    for error in (ConfigError("train.lr: is -1"), ZeroDivisionError("a bug")):
        logger.error("failed: %s", error, exc_info=error)
    ours, bug = caplog.records
    assert ours.exc_info is None
    assert bug.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://mlflow.lab:5000", "open http://mlflow.lab:5000"),
        ("sqlite:///a.db", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri sqlite:///a.db"),
    ],
)
def test_the_mlflow_page_is_the_stores(uri, page):
    assert farewell._mlflow_page(uri) == page
