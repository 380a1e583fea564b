"""Hand-made run directories, models and reports, in the formats that training and evaluation write."""

import contextlib
import dataclasses
import json
import socket
import time
import urllib.request
from pathlib import Path

import torch
import yaml

from sr_core import config, files, models
from sr_core.evaluate.benchmark import EvalReport, ImageScore
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.models.card import Card
from sr_core.train import metrics_log, weights
from sr_core.train.run import check_identity, model_directory, run_directory

DATA_DIGEST = "d" * 64
STEPS = 40


def params(root: Path, uri: str = "", **sections) -> config.Params:
    """Parameters of a tiny job below `root`."""
    tree = {
        "data": {"root": str(root / "data")},
        "model": {"options": {"num_blocks": 1, "num_features": 4}},
        "train": {"steps": STEPS},
        "track": {"uri": uri or f"sqlite:///{root}/mlflow.db"},
    }
    for name, values in sections.items():
        tree.setdefault(name, {}).update(values)
    return config.from_dict(tree)


def write_params(given: config.Params, path: Path) -> None:
    """A file that `config.load` reads as `given`."""
    path.write_text(yaml.safe_dump(config.to_dict(given)))


def start_run(given: config.Params) -> Path:
    """A run directory as it is after the first step; nothing logged yet."""
    run_dir = run_directory(given, DATA_DIGEST)
    check_identity(run_dir, given, DATA_DIGEST)
    return run_dir


def log_steps(run_dir: Path, start: int, stop: int) -> None:
    """Events for every 10th step in start < step <= stop, as the loop writes them."""
    log = metrics_log.MetricsLog(run_dir, from_step=start)
    for step in range(start + 10, stop + 1, 10):
        log.write(step, {"train/loss": 10.0 / step, "system/rss_bytes": 1e9})
        log.write(step, {"valid/psnr": 20 + step / 10})


def write_model(given: config.Params, seed: int = 0, *, run: str | None = None) -> Path:
    """A published model of the run called `run`; another seed makes other weights."""
    torch.manual_seed(seed)
    network = models.build("edsr", scale=given.data.scale, preset="small", options=given.model.options)
    card = Card(
        model="edsr",
        preset="small",
        options=given.model.options,
        scale=given.data.scale,
        degradation="bicubic",
        dataset="sample",
        data_digest=DATA_DIGEST,
        params_digest=given.digest(),
        run=run or f"{given.task}-{seed:08d}",
        step=STEPS,
        git_commit="c" * 40,
        protocol="benchmark-y",
        valid_psnr=28.0,
    )
    directory = model_directory(given)
    weights.save_model(directory, network.state_dict(), card, {"training.json": "[]\n"})
    return directory


def write_report(given: config.Params, psnr: float, *, protocol: str = "benchmark-y", digest: str = "e" * 64) -> Path:
    """An evaluation that found `psnr` dB."""
    bicubic = ImageScore(model="bicubic", image="chelsea", psnr=27.0, ssim=0.7, seconds=0.1)
    scores = (bicubic, dataclasses.replace(bicubic, model="edsr", psnr=psnr, ssim=0.8))
    report = EvalReport(
        protocol=PROTOCOLS[protocol],
        scale=4,
        test_set="sample",
        test_set_digest=digest,
        precision="float32",
        scores=scores,
        weights={"edsr": weights.read_card(model_directory(given)).weights_sha256},
    )
    directory = Path(given.data.root) / "reports" / given.task
    files.write_atomic(directory / "report.json", files.to_json(report.to_dict()))
    files.write_atomic(directory / "metrics.json", json.dumps({"psnr": psnr, "psnr_bicubic": 27.0}))
    files.write_atomic(directory / "comparison.png", b"a picture")
    return directory


def registered(folder: Path, *versions: tuple[int, float]) -> config.Params:
    """Parameters of `folder`, in whose store a version was registered for each seed and PSNR in dB, in this order."""
    from flows import registry
    from serving.store import connect

    given = params(folder)
    with contextlib.chdir(folder):  # artefacts go to ./mlruns
        connect(given.track.uri)
        for seed, psnr in versions:
            registry.register(given, write_model(given, seed), write_report(given, psnr))
    return given


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_healthy(uri: str, timeout_s: float) -> None:
    """Waits for an MLflow server to answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
