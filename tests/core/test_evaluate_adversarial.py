"""`python -m sr_core evaluate` of a network that was trained against a discriminator, and `fit-niqe`, by real files."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from photos import params_for, write_folder

from sr_core import models
from sr_core.__main__ import main
from sr_core.data.shards import build
from sr_core.evaluate import niqe
from sr_core.evaluate.benchmark import EvalReport, read_report
from sr_core.evaluate.perceptual import pristine_of
from sr_core.evaluate.task import evaluate_task, report_directory
from sr_core.models.card import Card
from sr_core.params import AdversarialParams, EvaluateParams, ModelParams, Params, TrainParams, to_dict
from sr_core.progress import QUIET
from sr_core.train.run import PARAMS, model_directory
from sr_core.train.weights import read_card, save_model

OPTIONS = {"num_blocks": 1, "num_features": 8}
RUN = "edsr-gan-x2-bicubic-00000000"


def publish(params: Params, seed: int, directory: Path | None = None, **options: int) -> str:
    """Publishes weights made from `seed` as the model of `params`; returns their sha256."""
    torch.manual_seed(seed)
    made = OPTIONS | options
    network = models.build("edsr", scale=params.data.scale, preset="small", options=made)
    card = Card(model="edsr", preset="small", options=made, scale=params.data.scale, run=RUN)
    return save_model(directory or model_directory(params), network.state_dict(), card, {}).weights_sha256


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """An EDSR and one fine-tuned from it, with the shards and photographs of both."""
    root = tmp_path_factory.mktemp("data")
    data = params_for(root, write_folder(root / "photos", [(200, 300), (200, 208), (260, 300)]))
    build(data, progress=QUIET)
    plain = Params(data=data, model=ModelParams(options=OPTIONS))
    params = dataclasses.replace(
        plain, train=TrainParams(start="edsr"), adversarial=AdversarialParams(loss="vanilla", content="pixel")
    )
    publish(plain, 0)
    publish(params, 1)
    return params


def plain_of(params: Params) -> Params:
    """The parameters of the network that `params` begin with."""
    return dataclasses.replace(params, train=TrainParams(), adversarial=AdversarialParams())


def began_with(params: Params, sha256: str) -> Path:
    """What the run of `params` says of its start."""
    path = Path(params.data.root) / "runs" / RUN / PARAMS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"start": {"given": "edsr", "sha256": sha256}}))
    return path


def evaluated(params: Params, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> tuple[EvalReport, str]:
    """The report that the verb writes, and what it says."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(to_dict(params)))
    assert main(["evaluate", "--params", str(path)]) == 0
    said = capsys.readouterr()
    return read_report(report_directory(params) / "report.json"), said.out + said.err


def test_parent_interpolations_and_control_stand_beside_it(
    trained: Params, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    began = began_with(trained, read_card(model_directory(plain_of(trained))).weights_sha256)
    report, said = evaluated(trained, capsys, tmp_path)
    began.unlink()
    between = ("alpha 0.2", "alpha 0.4", "alpha 0.6", "alpha 0.8")
    assert report.models == ("bicubic", "parent", *between, "edsr", "control")
    assert report.perceptual is not None
    assert (report.perceptual.judged, report.perceptual.parent) == ("edsr", "parent")
    assert report.perceptual.digest == pristine_of(trained).digest
    assert report.perceptual.label.endswith(": 01, 02")
    assert report.weights == {
        "parent": read_card(model_directory(plain_of(trained))).weights_sha256,
        "edsr": read_card(model_directory(trained)).weights_sha256,
    }
    assert report.mean("control").niqe is not None
    assert (report_directory(trained) / "perception_distortion.png").exists()
    assert "NIQE fitted on 2 photographs" in said
    assert len({report.mean(name).psnr for name in ("parent", *between, "edsr")}) == 6
    parent = evaluate_task(plain_of(trained))
    assert parent.perceptual is None
    assert parent.mean("edsr").psnr == report.mean("parent").psnr


@pytest.mark.parametrize(
    ("start", "sha256", "reason"),
    [
        (None, None, "train.start is null"),
        ("edsr", "0" * 64, "was trained again since edsr began with it"),
        ("srresnet", None, "srresnet means the model in .*, which is not there"),
        ("models:/sr-edsr-x2-bicubic@champion", None, "is in MLflow's registry"),
    ],
)
def test_without_its_parent_it_is_measured_alone_and_says_why(
    trained: Params,
    start: str | None,
    sha256: str | None,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    began = began_with(trained, sha256) if sha256 else None
    report, said = evaluated(dataclasses.replace(trained, train=TrainParams(start=start)), capsys, tmp_path)
    if began:
        began.unlink()
    assert report.models == ("bicubic", "edsr")
    assert report.discriminates is None
    assert "no parent" in said
    for part in reason.split(".*"):
        assert part in " ".join(said.split())


def test_a_parent_of_another_shape_has_none_between(trained: Params, tmp_path: Path) -> None:
    other = tmp_path / "other"
    publish(trained, 0, other, num_blocks=2)
    report = evaluate_task(dataclasses.replace(trained, train=TrainParams(start=str(other))))
    assert report.models == ("bicubic", "parent", "edsr", "control")


def test_a_named_pristine_model_measures_a_regression_network_too(trained: Params, tmp_path: Path) -> None:
    output = tmp_path / "niqe.json"
    photos = str(trained.data.folder)
    assert main(["fit-niqe", photos, "--output", str(output)]) == 0
    plain = dataclasses.replace(plain_of(trained), evaluate=EvaluateParams(niqe_model=str(output)))
    report = evaluate_task(plain)
    assert report.models == ("bicubic", "edsr")
    assert report.perceptual is not None
    assert (report.perceptual.judged, report.perceptual.digest) == (None, niqe.read(output).digest)
    assert report.mean("edsr").niqe is not None


def test_the_verb_fit_niqe(trained: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "params.yaml", tmp_path / "niqe.json"
    path.write_text(yaml.safe_dump(to_dict(trained)))
    assert main(["fit-niqe", "--params", str(path), "--output", str(output)]) == 0
    assert "NIQE fitted on 2 photographs at half size" in capsys.readouterr().out
    assert niqe.read(output).digest == pristine_of(trained).digest
    assert main(["fit-niqe", str(tmp_path / "nowhere"), "--params", str(path), "--output", str(output)]) == 1
    assert "nowhere: is not a folder" in capsys.readouterr().err
    assert main(["fit-niqe", "--params", str(path), "--output", str(tmp_path / "niqe.npz")]) == 1
    assert "expected a name that ends in .json" in capsys.readouterr().err


def test_photographs_too_small_for_niqe_leave_a_report_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = params_for(tmp_path, write_folder(tmp_path / "photos", [(48, 64), (64, 48)]))
    build(data, progress=QUIET)
    adversarial = AdversarialParams(loss="vanilla", content="pixel")
    params = Params(data=data, model=ModelParams(options=OPTIONS), adversarial=adversarial)
    publish(params, 1)
    report, said = evaluated(params, capsys, tmp_path)
    assert report.perceptual is None
    assert "the report has no NIQE" in said
