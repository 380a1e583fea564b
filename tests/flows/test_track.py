"""Shipping a run to MLflow: while it goes on, again, after an outage; against real sqlite stores."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import made
import mlflow
import pytest

from flows import track
from serving.store import connect
from sr_core.errors import TrackError
from sr_core.train import metrics_log

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")


@pytest.fixture
def params(tracked):
    return tracked


def history(params, run_id: str, key: str) -> list[tuple[int, int, float]]:
    """(step, milliseconds, value) of every point that the store has."""
    points = mlflow.MlflowClient(params.track.uri).get_metric_history(run_id, key)
    return [(point.step, point.timestamp, point.value) for point in points]


def runs(params) -> list:
    client = mlflow.MlflowClient(params.track.uri)
    found = client.get_experiment_by_name(params.track.experiment)
    return client.search_runs([found.experiment_id]) if found else []


def expected(run_dir: Path, key: str) -> list[tuple[int, int, float]]:
    events = metrics_log.read(run_dir)
    return [(event.step, int(event.time * 1000), event.values[key]) for event in events if key in event.values]


def test_a_training_is_one_run_with_everything_that_is_known_of_it(params):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, 20)
    run_id = track.ship(run_dir, params.track)
    (run,) = runs(params)
    assert run.info.run_id == run_id
    assert run.info.run_name == run_dir.name
    assert run.info.status == "RUNNING"
    assert run.data.params["train.steps"] == "40"
    assert run.data.params["data.folder"] == "null"
    assert run.data.params["model.options.num_blocks"] == "1"
    assert run.data.tags["sr.data_digest"] == made.DATA_DIGEST
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40
    assert run.data.tags["sr.git_dirty"] in {"true", "false"}
    assert run.inputs.dataset_inputs[0].dataset.digest == made.DATA_DIGEST[:32]
    for key in ("train/loss", "valid/psnr", "system/rss_bytes"):
        assert history(params, run_id, key) == expected(run_dir, key)


def test_a_finished_run_ends_when_its_training_did(params):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, made.STEPS)
    track.ship(run_dir, params.track)
    (run,) = runs(params)
    last = list(metrics_log.read(run_dir))[-1]
    assert (run.info.status, run.info.end_time) == ("FINISHED", int(last.time * 1000))


def test_shipping_again_sends_only_what_is_new(params):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, 20)
    first = track.ship(run_dir, params.track)
    made.log_steps(run_dir, 20, 40)
    assert track.ship(run_dir, params.track) == first
    assert len(runs(params)) == 1
    assert history(params, first, "train/loss") == expected(run_dir, "train/loss")


def test_steps_that_a_resumed_training_writes_again_are_not_sent_twice(params):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, 30)
    run_id = track.ship(run_dir, params.track)
    before = expected(run_dir, "train/loss")
    made.log_steps(run_dir, 10, 40)  # the newest checkpoint was step 10's
    track.ship(run_dir, params.track)
    assert history(params, run_id, "train/loss") == before + expected(run_dir, "train/loss")[-1:]


@pytest.mark.parametrize("lost", ["deleted", "torn", "of another store"])
def test_without_a_cursor_the_server_is_asked_what_it_has(params, lost):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, 20)
    run_id = track.ship(run_dir, params.track)
    cursor = run_dir / track.CURSOR
    if lost == "deleted":
        cursor.unlink()
    elif lost == "torn":
        cursor.write_text(cursor.read_text()[:20])
    else:
        cursor.write_text(json.dumps({"uri": "http://elsewhere", "run_id": "x", "shipped": {"train/loss": 40}}))
    made.log_steps(run_dir, 20, 40)
    track.ship(run_dir, params.track)
    assert history(params, run_id, "train/loss") == expected(run_dir, "train/loss")


def test_a_store_that_was_lost_gets_everything_again(params, empty_store, tmp_path):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, 20)
    track.ship(run_dir, params.track)
    shutil.copyfile(empty_store, tmp_path / "other.db")
    other = made.params(tmp_path, f"sqlite:///{tmp_path}/other.db")
    run_id = track.ship(run_dir, other.track)
    assert history(other, run_id, "train/loss") == expected(run_dir, "train/loss")


def test_a_relaunch_with_more_workers_is_the_same_run(params, tmp_path):
    run_dir = made.start_run(params)
    first = track.ship(run_dir, params.track)
    wider = made.params(tmp_path, launch={"num_workers": 4})
    assert made.start_run(wider) == run_dir
    (run_dir / "params.json").unlink()
    made.start_run(wider)
    assert track.ship(run_dir, params.track) == first
    assert runs(params)[0].data.params["launch.num_workers"] == "2"


def test_more_points_than_one_request_holds(params):
    run_dir = made.start_run(params)
    log = metrics_log.MetricsLog(run_dir, from_step=0)
    for step in range(track.MOST_PER_REQUEST + 5):
        log.write(step, {"train/loss": 1.0})
    run_id = track.ship(run_dir, params.track)
    assert len(history(params, run_id, "train/loss")) == track.MOST_PER_REQUEST + 5


def test_curves_arrive_while_training_goes_on(params):
    with track.shipping(run_dir := made.start_run(params), params.track, every_s=0.05):
        made.log_steps(run_dir, 0, 20)
        deadline = time.monotonic() + 20
        while not (found := runs(params)) or "valid/psnr" not in found[0].data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found[0].info.status == "RUNNING"
        made.log_steps(run_dir, 20, 40)
    (run,) = runs(params)
    assert run.info.status == "FINISHED"
    assert history(params, run.info.run_id, "train/loss") == expected(run_dir, "train/loss")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("follow-")]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_training_that_ends_badly_says_so(params, error, status):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, 10)
    with pytest.raises(error), track.shipping(run_dir, params.track):
        raise error
    (run,) = runs(params)
    assert run.info.status == status
    with track.shipping(run_dir, params.track):
        made.log_steps(run_dir, 10, 40)
    assert runs(params)[0].info.status == "FINISHED"


def test_a_training_that_was_asked_to_stop_is_not_finished(params):
    run_dir = made.start_run(params)
    with track.shipping(run_dir, params.track):
        made.log_steps(run_dir, 0, 20)
    assert runs(params)[0].info.status == "KILLED"


def test_nothing_is_shipped_before_training_has_started(params, tmp_path):
    with track.shipping(tmp_path / "data" / "runs" / "later", params.track, every_s=0.01):
        time.sleep(0.1)
    assert runs(params) == []


def test_a_server_that_is_down_costs_one_warning_and_no_time(params, tmp_path):
    down = made.params(tmp_path, f"http://127.0.0.1:{made.free_port()}")
    said = []
    begun_s = time.monotonic()
    with track.shipping(run_dir := made.start_run(down), down.track, say=said.append, every_s=0.01):
        made.log_steps(run_dir, 0, 40)
        time.sleep(0.2)
    assert time.monotonic() - begun_s < 2
    (warning,) = said
    assert "no MLflow server answers" in warning
    assert f"python -m flows.track ship {run_dir}" in warning
    run_id = track.ship(run_dir, params.track)  # the outage is over
    assert history(params, run_id, "train/loss") == expected(run_dir, "train/loss")


def test_a_server_that_hangs_does_not_hold_up_the_end(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        hung = made.params(tmp_path, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        begun_s = time.monotonic()
        with pytest.raises(TrackError, match="within 2 s"):
            track.ship(made.start_run(hung), hung.track)
    assert time.monotonic() - begun_s < 5


def test_processes_that_find_no_store_make_it_once(tmp_path):
    code = f"from serving.store import connect; connect('sqlite:///{tmp_path}/mlflow.db')"
    command = [sys.executable, "-c", code]
    children = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], errors


def test_a_password_in_the_uri_is_not_repeated(tmp_path):
    with pytest.raises(TrackError, match=r"answers at http://127\.0\.0\.1:1 within") as caught:
        connect("http://somebody:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)


def test_a_store_whose_making_was_killed_is_made_again(tmp_path):
    # alembic comes after the first tables
    code = f"""
import alembic.command, os
alembic.command.upgrade = lambda *_: os._exit(9)
from serving.store import connect
connect('sqlite:///{tmp_path}/mlflow.db')
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 9
    assert list(tmp_path.glob(".mlflow.*.tmp.db")) != []
    connect(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("usable")
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_the_command_says_in_one_sentence_that_the_server_is_down(tmp_path, capsys):
    params = made.params(tmp_path, f"http://127.0.0.1:{made.free_port()}")
    (tmp_path / "params.yaml").write_text(f"track: {{uri: '{params.track.uri}'}}\n")
    code = track.main(["ship", str(made.start_run(params)), "--params", str(tmp_path / "params.yaml")])
    assert code == TrackError.exit_code
    assert capsys.readouterr().err.startswith(f"track.uri: no MLflow server answers at {params.track.uri}")
