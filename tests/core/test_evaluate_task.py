"""`python -m sr_core evaluate` and `upscale`: from published model, shards and photographs to files."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from photos import CROP, SCALE, noise, params_for, write_folder

from sr_core import models
from sr_core.__main__ import main
from sr_core.data.images import read_rgb, write_png
from sr_core.data.shards import build
from sr_core.data.sources import dataset_name
from sr_core.errors import CheckpointError, ShardError
from sr_core.evaluate.benchmark import read_report
from sr_core.evaluate.task import evaluate_task, report_directory
from sr_core.models.card import Card
from sr_core.params import ModelParams, Params, to_dict
from sr_core.progress import QUIET
from sr_core.train.exchange import export_model
from sr_core.train.run import model_directory
from sr_core.train.weights import save_model

OPTIONS = {"num_blocks": 1, "num_features": 8}
SIZES = [(50, 61), (48, 70), (90, 55)]  # the first is held out


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Params:
    root = tmp_path_factory.mktemp("data")
    data = params_for(root, write_folder(root / "photos", SIZES))
    build(data, progress=QUIET)
    params = Params(data=data, model=ModelParams(options=OPTIONS))
    torch.manual_seed(0)
    network = models.build("edsr", scale=SCALE, preset="small", options=OPTIONS)
    card = Card(
        model="edsr",
        preset="small",
        options=OPTIONS,
        scale=SCALE,
        degradation="bicubic",
        dataset="photos",
        data_digest="d",
        params_digest=params.digest(),
        run="edsr-x2-bicubic-00000000",
        step=1,
        git_commit=None,
        protocol="benchmark-y",
        valid_psnr=None,
    )
    save_model(model_directory(params), network.state_dict(), card, {})
    return params


@pytest.fixture
def params(built: Params, tmp_path: Path) -> Params:
    """The same in a folder that this test may damage."""
    root = tmp_path / "data"
    shutil.copytree(built.data.root, root)
    data = dataclasses.replace(built.data, root=str(root))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(to_dict(dataclasses.replace(built, data=data))))
    return dataclasses.replace(built, data=data)


def test_the_verb_evaluate(params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--params", str(tmp_path / "params.yaml")]) == 0
    report = read_report(report_directory(params) / "report.json")
    assert report.models == ("bicubic", "edsr")
    assert report.images == ("00",)
    assert (report.test_set, report.scale, report.protocol.name) == (
        f"{dataset_name(params.data)} validation",
        SCALE,
        "benchmark-y",
    )
    said = capsys.readouterr().out
    assert f"{report.mean('edsr').psnr:.2f}" in said
    assert str(report_directory(params)) in said


def test_a_model_of_another_scale_is_refused(params: Params) -> None:
    other = dataclasses.replace(params, data=dataclasses.replace(params.data, scale=4))
    with pytest.raises(CheckpointError, match=r"is a model for x2, but data\.scale is 4"):
        evaluate_task(other, model_dir=model_directory(params))


def test_a_flipped_bit_in_a_validation_image_is_found(params: Params) -> None:
    (path,) = (Path(params.data.root) / "shards").rglob("valid/hr/*.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"valid/hr: 1 of 2 files are damaged"):
        evaluate_task(params)
    assert not report_directory(params).exists()


def test_no_model_is_one_sentence_and_an_exit_code(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(model_directory(params))
    assert main(["evaluate", "--params", str(tmp_path / "params.yaml")]) == CheckpointError.exit_code
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ")
    assert error.count("\n") == 1
    assert str(model_directory(params)) in error


def test_the_verb_upscale(params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "own.png"
    write_png(source, noise(CROP, 3 * CROP))
    command = ["upscale", "--params", str(tmp_path / "params.yaml"), str(source)]
    assert main(command) == 0
    target = tmp_path / "own-x2.png"
    assert read_rgb(target).shape == (SCALE * CROP, SCALE * 3 * CROP, 3)
    first = target.read_bytes()
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == f"{target}: is there already, skipped; --overwrite replaces it\n"
    assert main([*command, "--overwrite"]) == 0
    assert target.read_bytes() == first


@pytest.mark.parametrize("what", ["a name", "a single file"])
def test_any_model_is_measured_on_the_validation_images(params: Params, what: str, tmp_path: Path) -> None:
    file = tmp_path / "edsr.safetensors"
    export_model(model_directory(params), file)
    model = Path("lanczos") if what == "a name" else file
    command = ["evaluate", "--params", str(tmp_path / "params.yaml"), "--model", str(model)]
    assert main(command) == 0
    report = read_report(report_directory(params, model) / "report.json")
    assert report.models == ("bicubic", "lanczos" if what == "a name" else "edsr")
    assert report_directory(params, model) != report_directory(params)
