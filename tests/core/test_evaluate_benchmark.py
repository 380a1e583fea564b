"""The report: bicubic beside networks, means, JSON there and back, the table."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from sr_core.data.resize import bicubic_down
from sr_core.errors import ConfigError, ImageError, SrError
from sr_core.evaluate.benchmark import EvalReport, Evaluated, ImageScore, evaluate, from_dict, read_report
from sr_core.evaluate.metrics import PROTOCOLS, psnr, ssim
from sr_core.evaluate.tables import table
from sr_core.files import to_json
from sr_core.models import build
from sr_core.models.card import Card
from sr_core.upscale import upscale, upscale_float

Y = PROTOCOLS["benchmark-y"]


class Images:
    """HR images with their bicubic LR."""

    digest = "d" * 64

    def __init__(self, hr: dict[str, np.ndarray], scale: int) -> None:
        self.scale, self.keys = scale, tuple(hr)
        self._hr = list(hr.values())
        self._lr = [bicubic_down(image, scale) for image in self._hr]

    def __len__(self) -> int:
        return len(self.keys)

    def lr(self, i: int) -> np.ndarray:
        return self._lr[i]

    def hr(self, i: int) -> np.ndarray:
        return self._hr[i]


class Nearest(nn.Module):
    scale, receptive_field = 2, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)


def waves(height: int, width: int, phase: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    plane = 128 + 90 * np.sin(y / 5 + phase) * np.cos(x / 7)
    return np.stack([plane, plane * 0.8 + 20, plane * 0.5 + 60], axis=2).round().astype(np.uint8)


IMAGES = Images({"a": waves(40, 48, 0.0), "b": waves(36, 60, 1.0)}, scale=2)


def report_of(*scores: tuple[str, str, float, float]) -> EvalReport:
    return EvalReport(
        protocol=Y,
        scale=4,
        test_set="sample",
        test_set_digest="d" * 64,
        precision="float32",
        scores=tuple(
            ImageScore(model=model, image=image, psnr=psnr, ssim=ssim, seconds=0.1 / 3)
            for model, image, psnr, ssim in scores
        ),
    )


TWO = report_of(
    ("bicubic", "a", 30.0, 0.8),
    ("edsr", "a", 31.5, 0.85),
    ("bicubic", "b", 20.0, 0.6),
    ("edsr", "b", 20.1, 0.62),
)


def test_bicubic_is_in_the_table_and_every_score_is_that_of_its_output() -> None:
    network = Nearest()
    report = evaluate({"nearest": network}, IMAGES, protocol=Y, test_set="waves")
    assert report.models == ("bicubic", "nearest")
    assert report.images == ("a", "b")
    for name, model in (("bicubic", build("bicubic", scale=2, preset="small", options={})), ("nearest", network)):
        for i, image in enumerate(IMAGES.keys):
            sr = upscale(model, IMAGES.lr(i), precision="float32")
            score = report.score(name, image)
            assert score.psnr == psnr(sr, IMAGES.hr(i), protocol=Y, scale=2)
            assert score.ssim == ssim(sr, IMAGES.hr(i), protocol=Y, scale=2)
            assert score.seconds > 0
    assert report.mean("bicubic").psnr > report.mean("nearest").psnr  # the waves are smooth
    assert report.gain_db("nearest") < 0 == report.gain_db("bicubic")


def test_the_report_says_what_makes_its_numbers_comparable() -> None:
    report = evaluate({}, IMAGES, protocol=PROTOCOLS["div2k-rgb"], test_set="waves", precision="bf16")
    assert (report.scale, report.test_set, report.test_set_digest, report.precision) == (2, "waves", "d" * 64, "bf16")
    assert report.describe() == "x2, waves, div2k-rgb (RGB, 8 pixels shaved), bf16"
    said = report.to_dict()["protocol"]
    assert {key: said[key] for key in ("name", "channel", "shave_px", "border", "rounding")} == {
        "name": "div2k-rgb",
        "channel": "rgb",
        "shave_px": 8,
        "border": "mirror",
        "rounding": "uint8",
    }
    assert said["ssim"] == {
        "window_px": 11,
        "sigma_px": 1.5,
        "k": [0.01, 0.03],
        "variance": "population",
        "valid": True,
    }
    assert evaluate({}, IMAGES, protocol=Y, test_set="waves").precision == "float32"


def test_the_self_ensemble_is_a_row_of_its_own() -> None:
    torch.manual_seed(0)
    network = build("edsr", scale=2, preset="small", options={"num_blocks": 1, "num_features": 8}).eval()
    seen: list[Evaluated] = []
    report = evaluate(
        {"edsr": network, "nearest": Nearest()},
        IMAGES,
        protocol=Y,
        test_set="waves",
        ensemble={"edsr"},
        observe=seen.append,
    )
    assert report.models == ("bicubic", "edsr", "edsr+", "nearest")
    assert [name for name, facts in report.facts.items() if facts.ensemble] == ["edsr+"]
    for i, evaluated in enumerate(seen):
        total = np.zeros(IMAGES.hr(i).shape, np.float64)
        for flips in ((), (0,), (1,), (0, 1)):
            for transposed in (False, True):
                turned = np.flip(IMAGES.lr(i), flips)
                turned = turned.transpose(1, 0, 2) if transposed else turned
                enlarged = upscale_float(network, turned, precision="float32")
                total += np.flip(enlarged.transpose(1, 0, 2) if transposed else enlarged, flips)
        mean = np.floor(total / 8 + 0.5).clip(0, 255)
        assert np.abs(evaluated.results["edsr+"].astype(int) - mean).max() <= 1  # where the mean ends in .5
        assert (evaluated.results["edsr+"] == mean).mean() > 0.999
        assert (evaluated.results["edsr+"] != evaluated.results["edsr"]).any()
        np.testing.assert_array_equal(evaluated.lr, IMAGES.lr(i))


def test_the_report_says_what_each_network_is() -> None:
    network = build("edsr", scale=2, preset="baseline", options={})
    options = {"num_blocks": 16, "num_features": 64, "res_scale": 0.5}
    card = Card(
        model="edsr",
        preset="small",  # as an imported file's, whose options say all
        options=options,
        scale=2,
        dataset="DIV2K",
        degradation="bicubic",
        weights_sha256="e" * 64,
    )
    one = evaluate({"edsr": network}, IMAGES, protocol=Y, test_set="waves", cards={"edsr": card})
    facts = one.facts["edsr"]
    assert (facts.num_parameters, facts.architecture, facts.preset) == (1_369_859, "edsr", "baseline")
    assert facts.trained_on == "DIV2K, bicubic"
    assert one.weights == {"edsr": "e" * 64}
    seconds = sum(one.score("edsr", image).seconds for image in one.images)
    megapixels = (40 * 48 + 36 * 60) / 1e6
    assert facts.seconds_per_megapixel == pytest.approx(seconds / megapixels)
    assert one.facts["bicubic"].num_parameters == 0
    assert one.facts["bicubic"].architecture == "bicubic"
    assert from_dict(json.loads(to_json(one.to_dict()))) == one


def test_a_network_without_a_preset_is_none_of_the_table_whatever_it_is_called() -> None:
    card = Card(model="edsr", preset="", options={}, scale=2, weights_sha256="e" * 64)  # an ONNX file of others
    networks = {"other": build("edsr", scale=2, preset="small", options={})}
    for name in ("edsr", "anything"):
        one = evaluate(
            networks, IMAGES, protocol=Y, test_set="waves", cards={"other": dataclasses.replace(card, model=name)}
        )
        assert (one.facts["other"].architecture, one.facts["other"].preset) == (None, None)


def test_weights_that_are_not_finite_are_refused() -> None:
    networks = {name: build("edsr", scale=2, preset="small", options={}) for name in ("good", "nan", "inf")}
    for name in ("nan", "inf"):
        with torch.no_grad():
            next(networks[name].parameters())[0] = float(name)
    with pytest.raises(ConfigError, match="weights are not finite") as caught:
        evaluate(networks, IMAGES, protocol=Y, test_set="waves")
    assert "nan: head.weight" in str(caught.value)
    assert "inf: head.weight" in str(caught.value)
    assert "good" not in str(caught.value)


def test_tiles_do_not_change_the_figures() -> None:
    torch.manual_seed(0)
    network = build("edsr", scale=2, preset="small", options={"num_blocks": 1, "num_features": 8}).eval()
    whole, tiled = (evaluate({"edsr": network}, IMAGES, protocol=Y, test_set="w", tile=tile) for tile in (None, 9))
    for a, b in zip(whole.scores, tiled.scores, strict=True):
        assert a.psnr == pytest.approx(b.psnr, abs=2e-3)  # a value near .5 may round to the other side


def test_observe_sees_each_image_once_with_all_results() -> None:
    seen = []
    report = evaluate({"nearest": Nearest()}, IMAGES, protocol=Y, test_set="waves", observe=seen.append)
    assert [evaluated.image for evaluated in seen] == ["a", "b"]
    for evaluated in seen:
        assert list(evaluated.results) == ["bicubic", "nearest"]
        assert all(result.shape == evaluated.hr.shape for result in evaluated.results.values())
        assert evaluated.scores == {model: report.score(model, evaluated.image) for model in evaluated.results}


def test_means_and_gain() -> None:
    assert TWO.mean("edsr").psnr == pytest.approx(25.8)  # the mean of the decibels
    assert TWO.mean("edsr").ssim == pytest.approx(0.735)
    assert TWO.gain_db("edsr") == pytest.approx(0.8)
    with pytest.raises(KeyError, match="wdsr"):
        TWO.mean("wdsr")


@pytest.mark.parametrize("scale", [2, 8])
def test_json_there_and_back_is_exact(tmp_path: Path, scale: int) -> None:
    report = report_of(
        ("bicubic", "ä", 0.1 + 0.2, 1 / 3),
        ("edsr", "ä", math.inf, 1.0),
        ("bicubic", "b", 1e-300, -0.2),
        ("edsr", "b", 2.5, 0.5),
    )
    report = dataclasses.replace(report, scale=scale)
    path = tmp_path / "report.json"
    path.write_text(to_json(report.to_dict()), encoding="utf-8")
    assert read_report(path) == report
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["means"]["edsr"]["psnr"] is None  # strict JSON


def test_a_report_that_is_none_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(SrError, match=r"report\.json: cannot be read .*; evaluate the model first"):
        read_report(path)
    whole = TWO.to_dict()
    wrong = [
        "{",
        "[]",
        to_json({**whole, "version": 3}),
        to_json({**whole, "protocol": {**whole["protocol"], "shave_px": 6}}),
        to_json({**whole, "protocol": {**whole["protocol"], "name": "mine"}}),
        to_json({key: value for key, value in whole.items() if key != "test_set_digest"}),
        to_json({**whole, "scores": [{"model": "edsr"}]}),
    ]
    for text in wrong:
        path.write_text(text)
        with pytest.raises(SrError, match=r"report\.json: is not a report of this version"):
            read_report(path)
    assert from_dict(whole) == TWO


def test_every_image_that_does_not_fit_is_listed_at_once() -> None:
    images = Images({"good": waves(40, 40, 0), "small": waves(14, 40, 0), "odd": waves(40, 40, 0)}, scale=2)
    images._lr[2] = images._lr[2][:-1]
    with pytest.raises(ImageError) as caught:
        evaluate({}, images, protocol=Y, test_set="waves")
    assert "2 images do not fit" in str(caught.value)
    assert "small: HR is 40x14, expected at least 15 pixels a side" in str(caught.value)
    assert "odd: HR is 40x40, LR 20x19, expected HR = 2 x LR" in str(caught.value)
    assert "good" not in str(caught.value)


def test_no_images_and_wrong_scales_are_refused() -> None:
    with pytest.raises(ImageError, match="there are no images"):
        evaluate({}, Images({}, scale=2), protocol=Y, test_set="nothing")
    images = Images({"a": waves(48, 48, 0)}, scale=4)
    with pytest.raises(ConfigError, match=r"images are for x4, expected networks of that scale:\n  nearest: x2"):
        evaluate({"nearest": Nearest()}, images, protocol=Y, test_set="waves")


def rendered(report: EvalReport, **options: int) -> list[str]:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(table(report, **options))
    return capture.get().splitlines()


def test_the_table_shows_images_means_gains_and_the_protocol() -> None:
    lines = rendered(TWO)
    assert lines[0].strip() == "PSNR in dB and SSIM"
    rows = [line.split() for line in lines]
    expected = [
        ["a", "30.00", "0.8000", "31.50", "0.8500", "+1.50"],
        ["b", "20.00", "0.6000", "20.10", "0.6200", "+0.10"],
        ["mean", "25.00", "0.7000", "25.80", "0.7350", "+0.80"],
    ]
    assert [row for row in rows if row in expected] == expected
    assert "x4, sample, float32" in "\n".join(lines)
    assert "benchmark-y (Y, 4 pixels shaved)" in "\n".join(lines)


def test_the_table_of_many_images_is_cut_but_not_its_mean() -> None:
    report = report_of(*(("bicubic", f"{i:04d}", 20.0 + i, 0.5) for i in range(100)))
    text = "\n".join(rendered(report, most=3))
    assert "0002" in text
    assert "0003" not in text
    assert "97 more images" in text
    assert "69.50" in text
