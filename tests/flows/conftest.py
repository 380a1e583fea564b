"""Fixtures of the flows' tests."""

import os
import shutil
import uuid

import made
import pytest
from deployed import Deployed
from processes import alive, wait_until

SESSION = "SR_TESTS_SESSION"


@pytest.fixture(scope="session", autouse=True)
def nothing_left():
    """Whatever these tests start has ended when they have: servers, raylets, workers."""
    os.environ[SESSION] = uuid.uuid4().hex
    yield
    wait_until(lambda: not alive(os.environ[SESSION], SESSION), 15, f"the end of {alive(os.environ[SESSION], SESSION)}")


@pytest.fixture(scope="session")
def deployed(tmp_path_factory):
    """A project folder with both deployments, its own Prefect server and a worker."""
    made = Deployed(tmp_path_factory.mktemp("project"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow store without runs: MLflow takes seconds to make the tables, a copy takes none."""
    from serving.store import connect

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracked(tmp_path, empty_store, monkeypatch):
    """Parameters of a tiny job in `tmp_path`, which is the current folder and holds an empty MLflow store."""
    monkeypatch.chdir(tmp_path)  # artefacts go to ./mlruns
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return made.params(tmp_path)
