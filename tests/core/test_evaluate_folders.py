"""Several models on several folders of test images in one call, by whatever protocol is theirs."""

import dataclasses

import numpy as np
import pytest
import torch
from photos import noise

from sr_core import models
from sr_core.__main__ import main
from sr_core.data.images import write_png
from sr_core.data.resize import bicubic_down
from sr_core.errors import CheckpointError, ConfigError, ImageError, SourceError, SrError
from sr_core.evaluate.folder import evaluate_folders
from sr_core.evaluate.metrics import psnr
from sr_core.evaluate.published import doubt
from sr_core.evaluate.records import read_report
from sr_core.evaluate.testsets import open_testset
from sr_core.models.card import Card
from sr_core.params import DataParams, EvaluateParams, Params
from sr_core.train.weights import save_model


def folder(root, name, *sizes):
    for i, (height, width) in enumerate(sizes):
        write_png(root / name / f"{i}.png", noise(height, width, seed=i))
    return root / name


def model(path, scale=2, seed=0):
    options = {"num_blocks": 1, "num_features": 8}
    torch.manual_seed(seed)
    network = models.build("edsr", scale=scale, preset="small", options=options)
    save_model(path, network.state_dict(), Card(model="edsr", preset="small", options=options, scale=scale), {})
    return path


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return folder(tmp_path, "one", (40, 40), (44, 48)), folder(tmp_path, "two", (40, 60))


def test_several_models_on_several_folders(places, tmp_path, capsys):
    first, second = model(tmp_path / "a"), model(tmp_path / "b", seed=1)
    command = ["evaluate", "--model", str(first), str(second), "lanczos", "--images", "one", "two"]
    assert main([*command, "--output", "out"]) == 0
    said = capsys.readouterr().out
    assert "mean PSNR in dB / SSIM" in said
    reports = [read_report(tmp_path / "out" / name / "report.json") for name in ("one", "two")]
    for report, place in zip(reports, places, strict=True):
        names = [name for name in report.models if name.startswith("edsr ")]
        assert report.models == ("bicubic", *names, "lanczos")
        assert {name.removeprefix("edsr ") for name in names} == {report.weights[name][:8] for name in names}
        assert report.test_set == place.name
        assert f"{report.mean('lanczos').psnr:.2f} / {report.mean('lanczos').ssim:.4f}" in said
    assert main(command) == 0
    assert len(list((tmp_path / "data" / "reports").glob("3-models-x2-one-*/report.json"))) == 1


def test_degradations_are_measured_apart(places, tmp_path):
    found = evaluate_folders(["one"], ["bicubic"], Params(), scale=2, degradations=("bicubic", "unknown"))
    assert [(report.test_set, report.degradation) for report, _ in found] == [("one", "bicubic"), ("one", "unknown")]
    assert [path.name for _, path in found] == ["bicubic-x2-one", "bicubic-x2-one-unknown"]
    images = open_testset(tmp_path / "one", 2, degradation="unknown")
    assert found[1][0].test_set_digest == images.digest
    assert "x2, one, unknown, benchmark-y" in found[1][0].describe()


def test_each_set_has_its_usual_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(5):
        write_png(tmp_path / "Set5" / f"{i}.png", noise(40, 40, seed=i))
    for key in ("0801", "0802"):
        write_png(tmp_path / "div2k" / "DIV2K_valid_HR" / f"{key}.png", noise(48, 48, seed=int(key)))
    folder(tmp_path, "mine", (40, 40))
    params = Params(evaluate=EvaluateParams(protocol="whole-rgb"))
    where = ["Set5", "div2k", "mine"]
    found = evaluate_folders(where, ["bicubic"], params, scale=2)
    assert [report.protocol.name for report, _ in found] == ["benchmark-y", "div2k-rgb", "whole-rgb"]
    assert [report.test_set for report, _ in found] == ["Set5", "DIV2K validation, 2 of 100 images", "mine"]
    forced = evaluate_folders(where, ["bicubic"], params, scale=2, protocol="div2k-rgb")
    assert {report.protocol.name for report, _ in forced} == {"div2k-rgb"}
    # noise is enlarged badly everywhere: these figures are not published ones
    assert "no published figures" in (doubt(found[0][0]) or "")


def test_the_sample_is_called_by_its_name(tmp_path):
    params = Params(data=DataParams(root=str(tmp_path / "data")))
    ((report, directory),) = evaluate_folders(["sample"], ["bicubic"], params, scale=4)
    assert (report.test_set, report.images, report.lr_source) == ("sample validation", ("chelsea", "coffee"), "files")
    assert report.mean("bicubic").psnr == pytest.approx(29.38, abs=0.005)
    assert directory.name == "bicubic-x4-sample-validation"


def test_everything_that_is_wrong_with_any_folder_is_said(places, tmp_path):
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "three" / "HR" / "a.png", noise(40, 40))
    write_png(tmp_path / "three" / "LR_bicubic" / "X2" / "bx2.png", noise(20, 20))
    folder(tmp_path, "small", (12, 90))
    with pytest.raises(SrError, match="4 of 5 cannot be used") as caught:
        evaluate_folders(["one", "empty", "three", "small", "gone"], ["bicubic"], Params(), scale=2)
    for line in (
        "empty: holds no test images",
        "a.png: has no LR image for x2",
        "0.png: is 90x12",
        "gone: is not a folder",
    ):
        assert line in str(caught.value)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ImageError, match="1 test images are wrong"):
        evaluate_folders(["small"], ["bicubic"], Params(), scale=2)
    with pytest.raises(SourceError, match="holds no test images"):
        evaluate_folders(["empty"], ["bicubic"], Params(), scale=2)


def test_models_that_do_not_go_together_are_refused(places, tmp_path, capsys):
    a, b = model(tmp_path / "a"), model(tmp_path / "b", scale=4)
    with pytest.raises(ConfigError, match=r"different scales, expected one; measure each by itself:\n  edsr") as caught:
        evaluate_folders(["one"], [a, b], Params())
    assert "x2" in str(caught.value)
    assert "x4" in str(caught.value)
    with pytest.raises(ConfigError, match="names one model twice"):
        evaluate_folders(["one"], [a, a], Params())
    with pytest.raises(SrError, match="2 of 3 cannot be used"):
        evaluate_folders(["one"], [a, "gone.pth", "away"], Params())
    with pytest.raises(CheckpointError, match=r"gone\.pth"):
        evaluate_folders(["one"], ["gone.pth"], Params())
    with pytest.raises(SrError, match="two test sets would be written to one folder"):
        evaluate_folders(["one", "one"], [a], Params())
    assert main(["evaluate", "--model", "a", "b"]) == ConfigError.exit_code
    assert "--model: several go with --images" in capsys.readouterr().err
    assert main(["evaluate", "--degradation", "mild", "--model", "a"]) == ConfigError.exit_code
    assert "--degradation: goes with --images" in capsys.readouterr().err


def test_one_with_every_scale_takes_that_of_the_others(places, tmp_path):
    a = model(tmp_path / "a", scale=3)
    ((report, _),) = evaluate_folders(["two"], ["lanczos", a], Params())
    assert (report.scale, report.models) == (3, ("bicubic", "lanczos", "edsr"))
    images = open_testset(tmp_path / "two", 3)
    assert report.test_set_digest == images.digest
    assert np.isfinite(report.mean("edsr").psnr)


def test_shifts_are_undone_where_the_parameters_say_so(tmp_path):
    hr = noise(4 * 40, 4 * 44, seed=3)
    hr = np.kron(hr[::8, ::8], np.ones((8, 8, 1), np.uint8))  # blocks, which survive reduction
    write_png(tmp_path / "DIV2K_valid_HR" / "0801.png", hr)
    write_png(tmp_path / "DIV2K_valid_LR_mild" / "0801x4m.png", np.roll(bicubic_down(hr, 4), (2, 1), axis=(0, 1)))
    plain, aligned = (
        open_testset(tmp_path, 4, degradation="mild", data=dataclasses.replace(DataParams(), align=align))
        for align in (False, True)
    )
    assert (plain.lr_source, aligned.lr_source) == ("files", "files, aligned")
    assert plain.digest != aligned.digest
    small = bicubic_down(hr, 4)
    near = [
        psnr(each.lr(0)[4:-4, 4:-4], small[4:-4, 4:-4], protocol=plain.protocol, scale=0) for each in (plain, aligned)
    ]
    assert near[1] > near[0] + 10
