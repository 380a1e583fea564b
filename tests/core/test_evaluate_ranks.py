"""Images spread over ranks: the report of one process, and one sentence where a rank fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from photos import noise

from sr_core import models
from sr_core.__main__ import main
from sr_core.data.images import write_png
from sr_core.evaluate.records import read_report
from sr_core.models.card import Card
from sr_core.train.weights import save_model

ROOT = Path(__file__).resolve().parents[2]
SIZES = [(40, 44), (48, 52), (36, 60), (44, 40), (52, 36)]  # more than two ranks share evenly
BROKEN = """
import os, sys
from sr_core.errors import SrError
from sr_core.evaluate import metrics
from sr_core.__main__ import main

whole = metrics.ssim

def ssim(*arguments, **options):
    if os.environ["RANK"] == "1":
        raise SrError("rank 1 has had enough")
    return whole(*arguments, **options)

metrics.ssim = ssim
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def project(tmp_path):
    """A folder with photographs and a model."""
    for i, (height, width) in enumerate(SIZES):
        write_png(tmp_path / "photos" / f"{i}.png", noise(height, width, seed=i))
    torch.manual_seed(0)
    options = {"num_blocks": 1, "num_features": 8}
    network = models.build("edsr", scale=2, preset="small", options=options)
    card = Card(model="edsr", preset="small", options=options, scale=2, dataset="photos", degradation="bicubic")
    save_model(tmp_path / "model", network.state_dict(), card, {})
    return tmp_path


def on_two_ranks(project, *command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "sr_core.torchrun", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, *command], cwd=project, env=environment, capture_output=True, text=True, timeout=100
    )


def test_two_ranks_write_the_report_of_one(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    options = ["evaluate", "--model", "model", "--images", "photos", "--ensemble", "--output"]
    assert main([*options, "one"]) == 0
    said = capsys.readouterr().out
    done = on_two_ranks(project, "-m", "sr_core", *options, "two")
    assert done.returncode == 0, done.stderr
    one, two = (read_report(project / name / "report.json") for name in ("one", "two"))
    assert one.models == ("bicubic", "edsr", "edsr+")
    assert one.images == tuple("01234")
    measured = [[(s.model, s.image, s.psnr, s.ssim) for s in report.scores] for report in (one, two)]
    assert measured[0] == measured[1]
    names = sorted(path.name for path in (project / "one").iterdir())
    assert names == sorted(path.name for path in (project / "two").iterdir())
    for name in set(names) - {"report.json"}:
        assert (project / "one" / name).read_bytes() == (project / "two" / name).read_bytes(), name
    # printed once, and by the first rank
    assert done.stdout.count("mean over the 8 symmetries") == said.count("mean over the 8 symmetries") == 1


def test_a_rank_that_fails_ends_all_with_one_sentence(project):
    (project / "broken.py").write_text(BROKEN)
    done = on_two_ranks(project, "broken.py", "evaluate", "--model", "model", "--images", "photos", "--output", "out")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("evaluate: ")]
    assert said == ["evaluate: rank 1 has had enough"]
    assert "Traceback" not in done.stderr
    assert not (project / "out").exists()


@pytest.mark.slow
def test_what_is_wrong_with_any_image_is_said_once(project):
    for name in "14":  # whichever rank would have measured them
        path = project / "photos" / f"{name}.png"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    done = on_two_ranks(project, "-m", "sr_core", "evaluate", "--model", "model", "--images", "photos")
    assert done.returncode == 3
    assert done.stderr.count("2 images do not fit") == done.stderr.count("photos/1.png") == 1
    assert "photos/4.png" in done.stderr
    assert not (project / "data").exists()


def test_metrics_name_their_protocol(project, monkeypatch):
    monkeypatch.chdir(project)
    assert (
        main(["evaluate", "--model", "model", "--images", "photos", "--protocol", "whole-rgb", "--output", "out"]) == 0
    )
    metrics = json.loads((project / "out" / "metrics.json").read_text())
    report = read_report(project / "out" / "report.json")
    assert metrics["protocol"] == "whole-rgb (RGB, whole image)"
    assert metrics["test_set"] == f"photos ({report.test_set_digest[:8]})"
    assert report.lr_source == "made here: bicubic, border mirror"
