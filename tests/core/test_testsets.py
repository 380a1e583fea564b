"""Folders of test images in their usual layouts, and any model measured on them without parameters."""

import shutil

import authors
import numpy as np
import pytest
import torch
from photos import noise, write_folder

from sr_core.__main__ import main
from sr_core.data.images import write_png
from sr_core.data.resize import bicubic_down
from sr_core.errors import ConfigError, ImageError, SourceError, SrError
from sr_core.evaluate.benchmark import read_report
from sr_core.evaluate.folder import evaluate_folder
from sr_core.evaluate.testsets import open_testset, scales_of
from sr_core.params import Params

SIZES = {"baby": (49, 62), "bird": (48, 61)}  # no multiples of 3 or 4
MEANS = {2: 33.679, 3: 30.406, 4: 28.432}  # bicubic, enlarged and rounded in RGB, on Set5 as it is passed around


def photographs():
    return {key: noise(height, width) for key, (height, width) in SIZES.items()}


def lr_of(image, scale):
    return bicubic_down(image, scale, border="clamp")


def cropped(image, scale):
    return image[: len(image) // scale * scale, : image.shape[1] // scale * scale]


def srf(root, scale, folder):
    for key, image in photographs().items():
        write_png(root / folder / f"{key}_SRF_{scale}_HR.png", cropped(image, scale))
        write_png(root / folder / f"{key}_SRF_{scale}_LR.png", lr_of(image, scale))


def beside(root, scale, hr, lr, suffix):
    for key, image in photographs().items():
        write_png(root / hr / f"{key}.png", image)
        write_png(root / lr / f"{key}{suffix}.png", lr_of(image, scale))


LAYOUTS = {
    "names with SRF": lambda root, scale: srf(root, scale, "."),
    "a folder for each scale": lambda root, scale: srf(root, scale, f"image_SRF_{scale}"),
    "EDSR's benchmark": lambda root, scale: beside(root, scale, "HR", f"LR_bicubic/X{scale}", f"x{scale}"),
    "BasicSR's": lambda root, scale: beside(root, scale, "GTmod12", f"LRbicx{scale}", ""),
    "DIV2K's": lambda root, scale: beside(
        root, scale, "DIV2K_valid_HR", f"DIV2K_valid_LR_bicubic/X{scale}", f"x{scale}"
    ),
    "HR below": lambda root, scale: [write_png(root / "HR" / f"{k}.png", image) for k, image in photographs().items()],
    "HR alone": lambda root, scale: [write_png(root / f"{k}.png", image) for k, image in photographs().items()],
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_images(name, scale, tmp_path):
    LAYOUTS[name](tmp_path / "Set2", scale)
    found = open_testset(tmp_path / "Set2", scale)
    assert (found.name, found.scale, list(found.keys), len(found)) == ("Set2", scale, ["baby", "bird"], 2)
    for i, image in enumerate(photographs().values()):
        np.testing.assert_array_equal(found.hr(i), cropped(image, scale))
        np.testing.assert_array_equal(found.lr(i), lr_of(image, scale))
        assert found.hr(i).shape == (*(scale * side for side in found.lr(i).shape[:2]), 3)


def test_an_image_is_decoded_once_for_its_hr_and_its_lr(tmp_path):
    images = open_testset(write_folder(tmp_path / "Own", [(40, 48), (36, 60)]), 2)
    images.lr(0)
    (tmp_path / "Own" / "00.png").unlink()
    assert images.hr(0).shape == (40, 48, 3)
    assert images.hr(1).shape == (36, 60, 3)


def test_the_digest_is_that_of_the_pixels(tmp_path):
    LAYOUTS["HR alone"](tmp_path, 2)
    first = open_testset(tmp_path, 2).digest
    assert open_testset(tmp_path, 2).digest == first != open_testset(tmp_path, 3).digest
    write_png(tmp_path / "bird.png", noise(48, 61) ^ 1)
    assert open_testset(tmp_path, 2).digest != first


def test_the_folder_of_one_scale_and_its_parent_are_the_same_set(tmp_path):
    srf(tmp_path / "Set2", 4, "image_SRF_4")
    one, parent = open_testset(tmp_path / "Set2" / "image_SRF_4", 4), open_testset(tmp_path / "Set2", 4)
    assert (one.name, one.digest) == (parent.name, parent.digest) == ("Set2", parent.digest)
    assert scales_of(tmp_path / "Set2") == scales_of(tmp_path / "Set2" / "image_SRF_4") == (4,)


def test_what_is_no_test_set_is_one_sentence(tmp_path):
    with pytest.raises(SourceError, match="is not a folder, expected one with test images"):
        open_testset(tmp_path / "absent", 2)
    with pytest.raises(SourceError, match="holds no test images, expected"):
        open_testset(tmp_path, 2)
    srf(tmp_path, 2, ".")
    with pytest.raises(SourceError, match="holds images for x2, the model is for x3"):
        open_testset(tmp_path, 3)


def test_every_pair_that_is_none_is_listed(tmp_path):
    beside(tmp_path, 2, "HR", "LR_bicubic/X2", "x2")
    (tmp_path / "LR_bicubic" / "X2" / "babyx2.png").unlink()
    write_png(tmp_path / "LR_bicubic" / "X2" / "birdx2.png", noise(12, 12))
    with pytest.raises(ImageError, match="2 test images are wrong") as caught:
        open_testset(tmp_path, 2)
    assert "baby.png: has no LR image for x2" in str(caught.value)
    assert "bird.png: is 61x48, its LR image 12x12, expected 30x24" in str(caught.value)


@pytest.mark.parametrize("scale", MEANS)
def test_bicubic_on_set5(shared, scale, tmp_path):
    report, _ = evaluate_folder(
        shared / "testsets" / "Set5", "bicubic", Params(), scale=scale, output=tmp_path / "report"
    )
    assert report.mean("bicubic").psnr == pytest.approx(MEANS[scale], abs=0.0005)
    assert report.test_set == "Set5"


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_an_authors_file_is_measured_without_parameters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    srf(tmp_path / "Set2", 3, "image_SRF_3")
    torch.save(authors.WdsrJiahui(3, "a").state_dict(), "wdsr.pt")
    assert main(["evaluate", "--model", "wdsr.pt", "--images", "Set2"]) == 0
    (path,) = (tmp_path / "data" / "reports").glob("wdsr_a-x3-Set2-*/report.json")
    report = read_report(path)
    assert (report.models, report.images, report.test_set) == (("bicubic", "wdsr_a"), ("baby", "bird"), "Set2")
    assert report.weights["wdsr_a"].startswith(path.parent.name[-8:])
    assert f"report and pictures: {path.parent.relative_to(tmp_path)}" in capsys.readouterr().out
    rgb = ["--set", "evaluate.protocol=whole-rgb", "--output", "mine"]
    assert main(["evaluate", "--model", "wdsr.pt", "--images", "Set2/image_SRF_3", *rgb]) == 0
    assert read_report(tmp_path / "mine" / "report.json").protocol.name == "whole-rgb"


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolation_is_called_by_its_name(name, tmp_path):
    srf(tmp_path / "Set2", 2, "image_SRF_2")
    report, directory = evaluate_folder(tmp_path / "Set2", name, Params(), output=tmp_path / "out")
    assert report.models == tuple(dict.fromkeys(["bicubic", name]))
    assert directory == tmp_path / "out"


def test_a_scale_that_nobody_tells_is_asked_for(tmp_path):
    LAYOUTS["HR alone"](tmp_path / "own", 2)
    with pytest.raises(ConfigError, match=r"bicubic takes any and .*own has HR images for any scale; add --set data"):
        evaluate_folder(tmp_path / "own", "bicubic", Params())
    for scale in (2, 3):
        srf(tmp_path / "Set2", scale, f"image_SRF_{scale}")
    with pytest.raises(ConfigError, match="has images for x2, x3; add --set"):
        evaluate_folder(tmp_path / "Set2", "bicubic", Params())


def test_a_folder_that_is_no_report_is_not_replaced(tmp_path):
    LAYOUTS["HR alone"](tmp_path / "own", 2)
    with pytest.raises(SrError, match="exists and is no report"):
        evaluate_folder(tmp_path / "own", "bicubic", Params(), scale=2, output=tmp_path / "own")
    for _ in range(2):
        evaluate_folder(tmp_path / "own", "bicubic", Params(), scale=2, output=tmp_path / "report")
    shutil.rmtree(tmp_path / "report")


def test_output_goes_with_images(capsys):
    assert main(["evaluate", "--output", "x"]) == ConfigError.exit_code
    assert "--output: goes with --images" in capsys.readouterr().err
