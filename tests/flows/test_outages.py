"""Tracking never stops training: a real MLflow server that is down, dies, hangs, answers 500, or whose disk is full."""

import collections
import os
import shutil
import signal
import subprocess
import sys
import time

import made
import mlflow
import pytest
import training
from proxy import Proxy

from flows import follow, track
from serving import store
from sr_core.errors import TrackError
from sr_core.launch_params import TrackParams
from sr_core.train import metrics_log

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy"),
    pytest.mark.timeout(240),
]
STEPS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    """The port of a real server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), made.free_port()
    shutil.copyfile(empty_store, folder / "server.db")
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "artifacts"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        made.wait_until_healthy(f"http://127.0.0.1:{port}", timeout_s=120)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def proxy(server):
    made_proxy = Proxy(server)
    yield made_proxy
    made_proxy.close()


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return training.made(
        tmp_path_factory.mktemp("job"), steps=STEPS, log_every=1, eval_every=20, checkpoint_every=10, lr_milestones=()
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Seconds instead of tens of them: what is tested is that there is a bound."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(store, "HEALTH_TIMEOUT_S", 1.0)
    monkeypatch.setattr(follow, "FINISHED_S", 3.0)


def tracked(proxy, tmp_path):
    return TrackParams(uri=f"http://127.0.0.1:{proxy.port}", experiment=tmp_path.name)


def train(job, run_dir, track_params, at_checkpoint=lambda step: None):
    """The real loop with shipping beside it; what was said of the outage, and how long the end took."""
    said = []
    with track.shipping(run_dir, track_params, say=said.append, every_s=0.1):
        result = training.go(*job, run_dir, observe=lambda step, values: at_checkpoint(step))
        ended = time.monotonic()
    assert result.step == STEPS
    steps = [event.step for event in metrics_log.read(run_dir) if "train/loss" in event.values]
    assert steps == list(range(1, STEPS + 1))
    return said, time.monotonic() - ended


def assert_complete(run_dir, server_port, track_params):
    """The server has every (step, value) of metrics.jsonl once, in one run."""
    client = mlflow.MlflowClient(f"http://127.0.0.1:{server_port}")
    experiment = client.get_experiment_by_name(track_params.experiment)
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    written = collections.defaultdict(collections.Counter)
    for event in metrics_log.read(run_dir):
        for key, value in event.values.items():
            written[key][event.step, value] += 1
    assert written["train/loss"].total() == STEPS
    for key, points in written.items():
        history = client.get_metric_history(found.info.run_id, key)
        assert collections.Counter((point.step, point.value) for point in history) == points


@pytest.mark.parametrize("mode", ["down", "hang", "500", "healthy", "lossy"])
def test_an_outage_in_mid_training_loses_nothing(job, tmp_path, server, proxy, mode):
    given = tracked(proxy, tmp_path)

    def break_it(step):
        if step == 20:
            time.sleep(0.5)  # the first steps are shipped
            proxy.mode = mode

    said, end_s = train(job, tmp_path, given, break_it)
    assert len(said) == 1
    assert f"python -m flows.track ship {tmp_path}" in said[0]
    assert end_s < follow.FINISHED_S + 1
    proxy.mode = "pass"
    while track.ship(tmp_path, given) is None:  # the thread that was left to itself still has it
        time.sleep(0.2)
    track.ship(tmp_path, given)
    assert_complete(tmp_path, server, given)


@pytest.mark.parametrize("mode", ["down", "hang", "500"])
def test_an_outage_from_the_start_costs_one_sentence(job, tmp_path, server, proxy, mode):
    given = tracked(proxy, tmp_path)
    proxy.mode = mode
    said, end_s = train(job, tmp_path, given)
    assert len(said) == 1
    assert end_s < follow.FINISHED_S + 1
    proxy.mode = "pass"
    track.ship(tmp_path, given)
    assert_complete(tmp_path, server, given)


def test_a_full_disk_under_a_local_store(job, tmp_path, empty_store, monkeypatch):
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    given = TrackParams(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="full")
    track.ship(tmp_path, given)  # nothing there yet
    import sqlalchemy

    def limit(connection, _record):  # the store's own error, as of a disk without room
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages}")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", limit)
    try:
        said, _ = train(job, tmp_path, given)
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", limit)
    assert len(said) == 1
    assert "full" in said[0]


def test_shipping_that_is_killed_and_repeated_and_done_twice_at_once(tmp_path, server, proxy):
    given = made.params(tmp_path, f"http://127.0.0.1:{proxy.port}", track={"experiment": tmp_path.name})
    made.write_params(given, tmp_path / "params.yaml")
    run_dir = made.start_run(given)
    log = metrics_log.MetricsLog(run_dir, from_step=0)
    for step in range(1, 2501):
        log.write(step, {"train/loss": 1 / step, "train/lr": float(step)})
    command = [sys.executable, "-m", "flows.track", "ship", str(run_dir), "--params", str(tmp_path / "params.yaml")]
    proxy.mode = "lossy"  # the first batch arrives, and its answer does not
    with subprocess.Popen(command, stderr=subprocess.PIPE) as first:
        deadline = time.monotonic() + 60
        while not _points(server, given.track) and time.monotonic() < deadline:
            time.sleep(0.05)
        first.kill()
    assert _points(server, given.track) > 0
    proxy.mode = "pass"
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[1] for process in both] == [None, None]
    assert [process.returncode for process in both] == [0, 0]
    track.ship(run_dir, given.track)
    client = mlflow.MlflowClient(f"http://127.0.0.1:{server}")
    (found,) = client.search_runs([client.get_experiment_by_name(given.track.experiment).experiment_id])
    history = client.get_metric_history(found.info.run_id, "train/lr")
    assert [(point.step, point.value) for point in history] == [(step, float(step)) for step in range(1, 2501)]


def _points(server_port, track_params):
    client = mlflow.MlflowClient(f"http://127.0.0.1:{server_port}")
    experiment = client.get_experiment_by_name(track_params.experiment)
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return len(client.get_metric_history(found[0].info.run_id, "train/loss")) if found else 0


def test_a_run_that_a_slow_server_made_twice_is_one(tmp_path, server, proxy):
    given = made.params(tmp_path, f"http://127.0.0.1:{server}", track={"experiment": tmp_path.name})
    run_dir = made.start_run(given)
    made.log_steps(run_dir, 0, 20)
    run_id = track.ship(run_dir, given.track)
    client = mlflow.MlflowClient(given.track.uri)
    experiment = client.get_experiment_by_name(given.track.experiment).experiment_id
    client.create_run(experiment, tags={track.RUN_TAG: run_dir.name})
    assert track.ship(run_dir, given.track) == run_id
    assert [each.info.run_id for each in client.search_runs([experiment])] == [run_id]


def test_the_command_fails_in_one_sentence_where_a_server_answers_500(proxy, tmp_path):
    proxy.mode = "500"
    with pytest.raises(TrackError, match="no MLflow server answers"):
        track.ship(made.start_run(made.params(tmp_path)), tracked(proxy, tmp_path))
