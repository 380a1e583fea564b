"""What a version in the registry consists of: its artefact, its signature, its tags and the page that people read.

The artefact is weights.safetensors and card.json, with serving.pyfunc named as their loader: no pickle and no code. The
page is Markdown, in MLflow's own web page; its picture is a link to the report in the run, because MLflow's page shows
no picture that lies in the text itself.
"""

import base64
import contextlib
import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from flows.champion import Decision, Figures
from flows.track import RUN_TAG
from flows.versions import data_version
from serving import payloads
from serving.registered import WEIGHTS_TAG
from sr_core import config
from sr_core.data.pictures import Picture, encode_picture
from sr_core.errors import SrError
from sr_core.evaluate.benchmark import BASELINE, EvalReport
from sr_core.evaluate.report import COMPARISON
from sr_core.extras import require
from sr_core.models.card import Card
from sr_core.train import weights

MOST_CHARACTERS = 5000  # that MLflow's column of descriptions holds


def log_version(client: Any, uri: str, run_id: str, name: str, model_dir: Path, card: Card) -> int:
    """A new version of `name`, logged with `run_id`: two files, and serving.pyfunc named as their loader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own type hints
        mlflow = require("mlflow", "pipeline")
        pyfunc = require("mlflow.pyfunc", "pipeline")
    # the tag comes with the version: a crash between the two would leave one that is not found again
    tags = {WEIGHTS_TAG: card.weights_sha256}
    with tempfile.TemporaryDirectory() as folder:
        # the model directory also holds the curves, which would make other bytes of the same model
        clean = Path(folder) / "model"
        clean.mkdir()
        for file in (weights.WEIGHTS, weights.CARD):
            shutil.copyfile(model_dir / file, clean / file)
        mlflow.set_tracking_uri(uri)
        with mlflow.start_run(run_id=run_id):
            info = pyfunc.log_model(
                name=name,
                loader_module="serving.pyfunc",
                data_path=str(clean),
                signature=_signature(),
                input_example=_input_example(),
                pip_requirements=_requirements(),
                tags=tags,
            )
    _create_name(client, name)
    version = client.create_model_version(name, info.model_uri, run_id, tags=tags, model_id=info.model_id)
    return int(version.version)


def _signature() -> Any:
    """One column of objects, as which MLflow hands on arrays and base64 text as they came (see serving/pyfunc.py)."""
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    photographs = Schema([TensorSpec(np.dtype("O"), (-1,), name=payloads.COLUMN)])
    params = ParamSchema([ParamSpec("output", DataType.string, payloads.SAME)])
    return ModelSignature(inputs=photographs, outputs=photographs, params=params)


def _input_example() -> Any:
    """A picture of 8x8 pixels, as REST takes it."""
    grid = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    picture = encode_picture(Picture(pixels=grid), "png")
    pandas = require("pandas", "pipeline")  # MLflow's own
    return pandas.DataFrame({payloads.COLUMN: [base64.b64encode(picture).decode("ascii")]})


def _create_name(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _requirements() -> list[str]:
    """What loading and predicting imports, besides this package; inferred by MLflow it takes 4 s."""
    names = ("mlflow", "torch", "numpy", "pillow", "safetensors", "pyyaml", "rich")
    found = [f"{name}=={metadata.version(name)}" for name in names]
    for name in ("imagecodecs", "tifffile"):  # for pictures with 16 bits
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name}=={metadata.version(name)}")
    return found


def version_tags(card: Card, run_id: str) -> dict[str, str]:
    """Where a version comes from, and what it is for."""
    return {
        RUN_TAG: card.run,
        "sr.run_id": run_id,
        "sr.architecture": f"{card.model}/{card.preset}",
        "sr.scale": str(card.scale),
        "sr.degradation": card.degradation,
        "sr.data_digest": card.data_digest,
        "sr.git_commit": card.git_commit or "unknown",
    }


def data_tags(params: config.Params, card: Card) -> dict[str, str]:
    """DVC's hashes of the shards the model was trained on, if those are the ones that lie here."""
    try:
        found = data_version(params)
    except SrError:
        return {}
    if found.digest != card.data_digest:
        return {}
    return {f"sr.dvc.{name}": md5 for name, md5 in found.dvc.items()}


def description(card: Card, report: EvalReport, figures: Figures, decision: Decision, name: str, run_id: str) -> str:
    """The version's page: a picture, its figures beside bicubic's, how they were measured, and where it comes from."""
    picture = f"get-artifact?path=report%2F{COMPARISON}&run_uuid={run_id}"
    rows = [_row(report, BASELINE, BASELINE), _row(report, card.model, f"**version {figures.version}**")]
    facts = {
        "Weights": card.weights_sha256,
        "Data": card.data_digest,
        "Test set": report.test_set_digest,
        "Code": card.git_commit or "unknown",
        "Run": card.run,
    }
    text = [
        f"**{card.model} ({card.preset}) x{card.scale}, {card.degradation}**, trained on {card.dataset}",
        f"![bicubic, this version, the original]({picture})",
        "\n".join(["| | PSNR dB | SSIM | NIQE |", "|---|---:|---:|---:|", *rows]),
        f"Measured: {report.describe()}. When it was last registered: {decision.reason}.",
        "\n".join(f"- {key}: `{value}`" for key, value in facts.items()),
        f"    sr upscale photo.jpg --model models:/{name}/{figures.version}",
    ]
    return "\n\n".join(text)[:MOST_CHARACTERS]


def _row(report: EvalReport, model: str, shown: str) -> str:
    mean = report.mean(model)
    niqe = "" if mean.niqe is None else f"{mean.niqe:.4f}"
    return f"| {shown} | {mean.psnr:.4f} | {mean.ssim:.4f} | {niqe} |"
