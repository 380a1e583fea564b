"""A training as Prefect artifacts, and what becomes of a flow whose Prefect server is lost in mid-training."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid

import made
import pytest
from deployed import environment, write_project
from processes import MARK, alive, wait_until

from flows import running, watch
from sr_core.errors import TrackError
from sr_core.train import metrics_log, status


def test_keys_are_what_prefect_takes():
    assert watch.key("wdsr_a-x4-mixed") == "wdsr-a-x4-mixed"


def test_the_table_says_what_is_known(tmp_path):
    run_dir = made.start_run(made.params(tmp_path))
    rows = {row["figure"]: row["value"] for row in watch.table(status.look(run_dir))}
    assert rows == {"step": "0 of 40", "state": "not running", "restarts": "0"}
    made.log_steps(run_dir, 0, 20)
    rows = {row["figure"]: row["value"] for row in watch.table(status.look(run_dir))}
    assert (rows["step"], rows["loss"], rows["best"]) == ("20 of 40", "0.5", "22.000 dB at step 20")


def test_what_prefect_does_not_take_is_said_once(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise RuntimeError("no server\nand more")

    monkeypatch.setattr(running.Artifacts, "update", refuse)
    run_dir, said = made.start_run(made.params(tmp_path)), []
    with watch.watching(run_dir, "edsr-x4-bicubic", say=said.append, every_s=0.01):
        made.log_steps(run_dir, 0, 20)
        time.sleep(0.2)
    (line,) = said
    assert "(RuntimeError: no server)" in line


def test_updates_come_while_training_goes_on_and_at_its_end(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(running.Artifacts, "update", lambda self, percent, rows, text: seen.append(percent))
    run_dir = made.start_run(made.params(tmp_path))
    with watch.watching(run_dir, "edsr-x4-bicubic", every_s=0.01):
        made.log_steps(run_dir, 0, 20)
        wait_until(lambda: 50.0 in seen, 10)
        made.log_steps(run_dir, 20, 40)
    assert seen[-1] == 100.0


def _asked(api, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())


def _answers(api):
    try:
        return _asked(api, "/health")
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_a_server_lost_in_mid_training_costs_a_sentence(tmp_path, number):
    write_project(tmp_path, size=(96, 112), steps=1500)
    mark, port = uuid.uuid4().hex, made.free_port()
    api = f"http://127.0.0.1:{port}/api"
    given = environment(tmp_path, PREFECT_API_URL=api, PREFECT_API_REQUEST_TIMEOUT="5", **{MARK: mark})
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    options = {"cwd": tmp_path, "env": given, "text": True}
    with (tmp_path / "server.log").open("w") as log:
        quiet = {"stdout": log, "stderr": log, "start_new_session": True}
        server = subprocess.Popen([sys.executable, "-m", "prefect", *command], **options, **quiet)
    try:
        wait_until(lambda: _answers(api), 120, "Prefect's server")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        flow = subprocess.Popen([sys.executable, "-m", "flows.train", "edsr"], **options, **pipes)
        logs = tmp_path / "data" / "runs"
        wait_until(lambda: list(logs.glob(f"*/{metrics_log.NAME}")), 240, "the first step")
        os.killpg(server.pid, number)
        out, err = flow.communicate(timeout=300)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert "Traceback" not in out + err
    assert flow.returncode in {0, TrackError.exit_code}
    (run_dir,) = logs.iterdir()
    assert status.look(run_dir).state == "finished"
    assert (tmp_path / "data" / "models" / "edsr-x2-bicubic" / "card.json").exists()
    assert out.count("Prefect's server does not take the artifacts") == 1
    wait_until(lambda: not alive(mark), 15)
