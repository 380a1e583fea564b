"""compare.json: what is written is read back, and nothing else is taken for it."""

import json
import math

import pytest

from sr_core import files
from sr_core.compare.report import (
    COMPARISON,
    ComparedImage,
    ComparedModel,
    ComparedSet,
    Comparison,
    Speed,
    Timing,
    flat_metrics,
    from_dict,
    gallery_path,
    image_path,
    read_comparison,
)
from sr_core.errors import SrError
from sr_core.evaluate.benchmark import EvalReport, ImageScore
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.upscale import Box


def model(label, *, parameters=0, speed=None):
    return ComparedModel(
        label=label,
        source=label,
        model=label,
        preset="small",
        weights_sha256="",
        degradation="unknown",
        dataset="unknown",
        num_parameters=parameters,
        speed=speed,
    )


def comparison():
    scores = [
        ImageScore(model="bicubic", image="a", psnr=28.0, ssim=0.8, seconds=0.1),
        ImageScore(model="edsr", image="a", psnr=math.inf, ssim=1.0, seconds=0.2, niqe=4.5),
    ]
    report = EvalReport(
        protocol=PROTOCOLS["benchmark-y"],
        scale=4,
        test_set="Set5",
        test_set_digest="0" * 64,
        precision="float32",
        scores=tuple(scores),
        weights={"edsr": "1" * 64},
    )
    image = ComparedImage(image="a", height=64, width=96, focus=Box(top=0, left=4, bottom=32, right=36))
    return Comparison(
        name="models",
        scale=4,
        models=(
            model("bicubic"),
            model("edsr", parameters=1000, speed=Speed(median_s=2.0, fastest_s=1.0, slowest_s=3.0, precision="bf16")),
        ),
        sets=(
            ComparedSet(
                name="Set5-x4-bicubic",
                test_set="Set5",
                degradation="bicubic",
                report=report,
                images=(image,),
            ),
        ),
        timing=Timing(rounds=5, megapixels=0.5, device="cpu", num_threads=2, torch="2.13.0"),
        remarks=("a remark",),
    )


def test_a_comparison_survives_json():
    written = comparison()
    assert from_dict(json.loads(files.to_json(written.to_dict()))) == written


def test_a_comparison_is_read_from_its_directory(tmp_path):
    files.write_atomic(tmp_path / COMPARISON, files.to_json(comparison().to_dict()))
    assert read_comparison(tmp_path) == comparison()


@pytest.mark.parametrize("change", [{"version": 99}, {"models": [{"label": "x"}]}, {"sets": 1}])
def test_what_is_no_comparison_is_refused(tmp_path, change):
    (tmp_path / COMPARISON).write_text(json.dumps(comparison().to_dict() | change))
    with pytest.raises(SrError, match=r"compare.json: is not a comparison of this version"):
        read_comparison(tmp_path)


def test_an_absent_comparison_is_said(tmp_path):
    with pytest.raises(SrError, match="compare models first"):
        read_comparison(tmp_path)


def test_metrics_are_flat_and_finite():
    values = flat_metrics(comparison())
    assert values["Set5-x4-bicubic/bicubic/psnr"] == 28.0
    assert values["edsr/s_per_megapixel"] == 2.0
    assert "Set5-x4-bicubic/edsr/psnr" not in values, "it is infinite"
    assert "Set5-x4-bicubic/edsr/niqe" not in values or math.isfinite(values["Set5-x4-bicubic/edsr/niqe"])


def test_models_and_sets_are_found_by_name():
    assert comparison().model("edsr").num_parameters == 1000
    assert comparison().on("Set5-x4-bicubic").test_set == "Set5"
    for missing in (comparison().model, comparison().on):
        with pytest.raises(KeyError):
            missing("nobody")


def test_paths_are_what_others_look_for():
    assert str(image_path("Set5-x4-bicubic", "baby", "edsr")) == "images/Set5-x4-bicubic/baby/edsr.png"
    assert str(gallery_path("Set5-x4-bicubic", "baby")) == "gallery/Set5-x4-bicubic/baby.png"
