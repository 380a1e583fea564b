"""Registered versions by any of their names: one verified copy, also offline, and nothing but weights and card."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import made
import mlflow
import pytest

from serving.models import open_any
from serving.registered import cache_directory, fetch
from sr_core.errors import CheckpointError, ConfigError, TrackError
from sr_core.train import weights

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")

NAME = "sr-edsr-x4-bicubic"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Parameters of a folder whose store has one registered version."""
    return made.registered(tmp_path_factory.mktemp("project"), (0, 28.0))


@pytest.fixture
def opened(project, tmp_path):
    """Opens what a name means; the copies are this test's own."""

    def call(given, **options):
        return open_any(given, uri=project.track.uri, cache=tmp_path / "cache", **options)

    return call


def sha256(project) -> str:
    return weights.read_card(Path(project.data.root) / "models" / project.task).weights_sha256


def test_every_name_of_a_version_is_the_same_copy(project, opened, tmp_path):
    client = mlflow.MlflowClient(project.track.uri)
    source = client.get_model_version(NAME, "1").source
    assert source.startswith("models:/m-")
    for given in (f"models:/{NAME}@champion", f"models:/{NAME}/1", source):
        assert opened(given).card.weights_sha256 == sha256(project)
    kept = [path.name for path in (tmp_path / "cache").iterdir() if path.name not in {"names", ".locks"}]
    assert kept == [sha256(project)]
    assert sorted(path.name for path in (tmp_path / "cache" / kept[0]).iterdir()) == [weights.CARD, weights.WEIGHTS]


def test_what_is_no_version_is_one_sentence(project, opened, tmp_path):
    for called in (f"{NAME}/7", f"{NAME}@best", "nothing/1", "m-0123", NAME, ""):
        with pytest.raises(ConfigError, match=rf"^models:/{called} is no version that was registered here; expected"):
            opened(f"models:/{called}")
    with pytest.raises(TrackError, match=r"^MLFLOW_TRACKING_URI: there is no MLflow store .*other\.db; name the store"):
        open_any(f"models:/{NAME}/1", uri=f"sqlite:///{tmp_path}/other.db")
    assert not (tmp_path / "other.db").exists()


def test_a_copy_that_was_damaged_is_fetched_again(opened, tmp_path):
    given = f"models:/{NAME}@champion"
    opened(given)
    (path,) = (tmp_path / "cache").rglob(weights.WEIGHTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    opened(given)
    assert path.read_bytes() == whole


def test_weights_that_are_not_the_tags_are_refused(project, opened, tmp_path):
    """Also where the card was exchanged together with them."""
    artefact = Path(project.track.uri.removeprefix("sqlite:///")).parent / "mlruns"
    (held,) = (path.parent for path in artefact.rglob("artifacts/data/model/card.json"))
    kept = tmp_path / "kept"
    shutil.copytree(held, kept)
    other = made.params(tmp_path)
    shutil.copytree(made.write_model(other, seed=7), held, dirs_exist_ok=True)
    try:
        with pytest.raises(CheckpointError, match=r"and its tag in the registry .* the artefact was changed"):
            opened(f"models:/{NAME}@champion")
        assert not list((tmp_path / "cache").rglob(weights.WEIGHTS))
        (held / weights.CARD).unlink()
        with pytest.raises(TrackError):
            opened(f"models:/{NAME}@champion")
    finally:
        shutil.rmtree(held)
        shutil.copytree(kept, held)


def test_the_cache_is_the_users_or_the_one_that_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("SR_MODEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "sr-pipeline" / "models"
    monkeypatch.setenv("SR_MODEL_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


def test_without_its_server_the_copy_is_used_and_that_is_said(project, tmp_path):
    """A server that has answered once and then is gone."""
    folder = Path(project.track.uri.removeprefix("sqlite:///")).parent
    port = made.free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", project.track.uri, "--artifacts-destination", "mlruns"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    uri, given, said = f"http://127.0.0.1:{port}", f"models:/{NAME}@champion", list[str]()
    try:
        made.wait_until_healthy(uri, timeout_s=60)
        first = open_any(given, uri=uri, cache=tmp_path / "cache", say=said.append)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert said == []
    again = open_any(given, uri=uri, cache=tmp_path / "cache", say=said.append)
    assert again.card == first.card
    (line,) = said
    assert "no MLflow server answers" in line
    assert f"{given}: taken from {tmp_path}/cache/{sha256(project)}, as it was when the registry last answered" in line
    with pytest.raises(TrackError, match="no MLflow server answers"):
        fetch(given, uri=uri, cache=tmp_path / "cache", offline=False)
    (path,) = (tmp_path / "cache").rglob(weights.WEIGHTS)
    path.write_bytes(b"damaged")
    with pytest.raises(TrackError, match="no MLflow server answers"):  # a damaged copy is none
        open_any(given, uri=uri, cache=tmp_path / "cache", say=said.append)
