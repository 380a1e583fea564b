"""Fixtures of the flows' tests."""

import shutil

import made
import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow store without runs: MLflow takes seconds to make the tables, a copy takes none."""
    from flows.store import connect

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracked(tmp_path, empty_store, monkeypatch):
    """Parameters of a tiny job in `tmp_path`, which is the current folder and holds an empty MLflow store."""
    monkeypatch.chdir(tmp_path)  # artefacts go to ./mlruns
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return made.params(tmp_path)
