"""MLflow's own page of a version, in a browser: its description with the picture, its tags and its signature."""

import os
import signal
import subprocess
import sys

import chromium
import made
import numpy as np
import pytest
from PIL import Image

from flows import registry
from serving.store import connect

pytestmark = [
    pytest.mark.slow,  # a browser and a server; tests/flows/test_register.py fetches the picture without them
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy"),
]


@chromium.needed
def test_the_page_of_a_version_shows_its_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = made.params(tmp_path)
    connect(params.track.uri)
    model, report = made.write_model(params), made.write_report(params, 28.0)
    Image.fromarray(np.zeros((30, 70, 3), np.uint8)).save(report / "comparison.png")
    version = registry.register(params, model, report)
    port = made.free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", params.track.uri]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        made.wait_until_healthy(f"http://127.0.0.1:{port}", timeout_s=60)
        with chromium.started() as browser:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/#/models/{version.name}/versions/1")
            drawn = "[...document.images].some(i => i.src.includes('comparison.png') && i.naturalWidth == 70)"
            page.wait_for_function(drawn, timeout=60_000)
            text = page.inner_text("body")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    for shown in ("28.0000", "champion", "sr.architecture", "sr.data_digest", "sr upscale photo.jpg"):
        assert shown in text, text
