"""A network judged by NIQE: the control, those between it and its parent, the verdict, the report and its pictures."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import noise, params_for, write_folder
from rich.console import Console
from torch import nn

from sr_core import models
from sr_core.data.images import read_rgb, write_png
from sr_core.data.resize import bicubic_down
from sr_core.errors import ImageError, SrError
from sr_core.evaluate import niqe, tradeoff
from sr_core.evaluate.benchmark import EvalReport, ImageScore, evaluate, from_dict
from sr_core.evaluate.metrics import PROTOCOLS, psnr
from sr_core.evaluate.perceptual import Judge, Perceptual, fit_named, noisy, pristine_of
from sr_core.evaluate.report import evaluate_to, flat_metrics
from sr_core.evaluate.tables import table, verdict
from sr_core.params import EvaluateParams, Params

Y, WHOLE = PROTOCOLS["benchmark-y"], PROTOCOLS["whole-rgb"]
ABOUT = Perceptual(label="NIQE of mine", digest="c" * 64, crop=4, judged="srgan", parent="parent", control="control")


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    plane = 128 + 70 * np.sin(x / 6 + y / 17) * np.cos(y / 5)
    return np.stack([plane, plane * 0.9 + 10, plane * 0.7 + 30], axis=2).round().astype(np.uint8)


class Images:
    scale, keys, digest = 2, ("a", "b"), "d" * 64

    def __len__(self) -> int:
        return 2

    def lr(self, i: int) -> np.ndarray:
        return bicubic_down(self.hr(i), 2)

    def hr(self, i: int) -> np.ndarray:
        return waves(104 + 96 * i, 200)


def edsr(seed: int, **options: int) -> nn.Module:
    torch.manual_seed(seed)
    return models.build("edsr", scale=2, preset="small", options={"num_blocks": 1, "num_features": 8} | options).eval()


def judge(**fields: str) -> Judge:
    return Judge(pristine=niqe.fit([("noise", lambda: noise(400, 400))]), **fields)


def report_of(about: Perceptual | None = ABOUT, **scores: tuple[float, float | None]) -> EvalReport:
    """A report on one image: (PSNR, NIQE) by network."""
    return EvalReport(
        protocol=Y,
        scale=4,
        test_set="sample",
        test_set_digest="d" * 64,
        precision="float32",
        scores=tuple(
            ImageScore(model=model, image="a", psnr=value, ssim=0.8, seconds=0.1, niqe=looks)
            for model, (value, looks) in {"bicubic": (27.0, 12.0), **scores}.items()
        ),
        perceptual=about,
    )


GOOD = report_of(parent=(28.5, 10.0), srgan=(27.5, 6.0), control=(27.5, 11.0))


@pytest.mark.parametrize("protocol", [Y, WHOLE], ids=["y", "rgb"])
@pytest.mark.parametrize("lost_db", [0.05, 1.0, 12.0])
def test_the_control_has_the_networks_psnr(protocol, lost_db: float) -> None:
    hr = waves(120, 150)
    parent = (hr.astype(int) + np.random.default_rng(0).integers(-6, 7, hr.shape)).clip(0, 255).astype(np.uint8)
    before = parent.copy()
    wanted = psnr(parent, hr, protocol=protocol, scale=2) - lost_db
    made = noisy(parent, hr, psnr=wanted, key="a", protocol=protocol, scale=2)
    assert psnr(made, hr, protocol=protocol, scale=2) == pytest.approx(wanted, abs=0.002)
    assert (parent == before).all()
    assert (made == noisy(parent, hr, psnr=wanted, key="a", protocol=protocol, scale=2)).all()
    other = noisy(parent, hr, psnr=wanted, key="b", protocol=protocol, scale=2)
    assert (made != other).any()


def test_the_noise_is_gaussian_and_grey() -> None:
    hr = np.full((200, 300, 3), 128, np.uint8)
    added = noisy(hr, hr, psnr=30.0, key="a", protocol=WHOLE, scale=2).astype(float) - 128
    assert (added[..., 0] == added[..., 1]).all()
    assert (added[..., 0] == added[..., 2]).all()
    assert np.abs(added).mean() / added.std() == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)


@pytest.mark.parametrize("wanted", [40.0, math.inf])
def test_a_parent_that_is_no_better_gets_no_noise(wanted: float) -> None:
    hr = waves(60, 60)
    parent = hr ^ np.uint8(4)
    assert psnr(parent, hr, protocol=WHOLE, scale=2) < 40
    assert noisy(parent, hr, psnr=wanted, key="a", protocol=WHOLE, scale=2) is parent


def test_every_network_and_the_control_are_measured() -> None:
    parent, network = edsr(0), edsr(1)
    networks = {"parent": parent, "alpha 0.5": edsr(2), "edsr": network}
    seen = []
    by = judge(judged="edsr", parent="parent")
    report = evaluate(networks, Images(), protocol=Y, test_set="waves", judge=by, observe=seen.append)
    assert report.models == ("bicubic", "parent", "alpha 0.5", "edsr", "control")
    assert report.perceptual == by.record(2, [niqe.niqe(Images().hr(i), by.pristine, crop=2) for i in range(2)])
    assert report.perceptual.originals is not None
    for evaluated in seen:
        for model, result in evaluated.results.items():
            score = report.score(model, evaluated.image)
            assert score.niqe == niqe.niqe(result, by.pristine, crop=2)
            assert score.psnr == psnr(result, evaluated.hr, protocol=Y, scale=2)
    assert from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert report.to_dict()["means"]["edsr"]["niqe"] == report.mean("edsr").niqe


def test_without_a_parent_there_is_no_control() -> None:
    report = evaluate({"edsr": edsr(1)}, Images(), protocol=Y, test_set="waves", judge=judge(judged="edsr"))
    assert report.models == ("bicubic", "edsr")
    assert report.discriminates is None
    assert "not measured: there is no parent" in verdict(report)[0]


def test_the_mean_is_over_the_images_for_which_every_network_has_a_score() -> None:
    report = report_of(srgan=(27.0, 6.0))
    more = [
        dataclasses.replace(score, image="b", niqe=niqe) for score, niqe in zip(report.scores, (9.0, None), strict=True)
    ]
    both = dataclasses.replace(report, scores=report.scores + tuple(more))
    assert both.mean("bicubic").niqe == 12.0
    assert both.mean("srgan").niqe == 6.0
    assert report_of(srgan=(27.0, None)).mean("bicubic").niqe is None


@pytest.mark.parametrize(
    ("control", "expected", "words"),
    [
        (11.0, True, "NIQE discriminates: the control, parent with noise to 27.50 dB, scores 11.00, worse than srgan"),
        (8.0, False, "NIQE does NOT discriminate: .*, worse than srgan (6.00) and no worse than parent (10.00)"),
        (6.0, False, "NIQE does NOT discriminate: .* no worse than srgan (6.00) and no worse than parent (10.00)"),
        (None, None, "whether NIQE discriminates was not measured: the images are too small for it"),
    ],
)
def test_the_verdict(control: float | None, expected: bool | None, words: str) -> None:
    report = report_of(parent=(28.5, 10.0), srgan=(27.5, 6.0), control=(27.5, control))
    assert report.discriminates is expected
    start, _, end = words.partition(" .*")
    assert verdict(report)[0].startswith(start)
    assert end in verdict(report)[0]


def test_a_control_that_is_better_than_the_network_but_worse_than_its_parent_does_not_discriminate() -> None:
    assert report_of(parent=(28.5, 10.0), srgan=(27.5, 12.0), control=(27.5, 11.0)).discriminates is False


def test_the_table_has_a_row_for_each_network_and_says_what_the_score_is_worth() -> None:
    about = dataclasses.replace(ABOUT, originals=4.5)
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table(dataclasses.replace(GOOD, perceptual=about)))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["bicubic", "27.00", "0.8000", "12.00"] in rows
    assert ["srgan", "27.50", "0.8000", "+0.50", "6.00"] in rows
    said = " ".join(capture.get().split())
    assert "NIQE of mine; lower is better, the originals score 4.50" in said
    assert " ".join(verdict(GOOD)[0].split()) in said


def test_a_score_beside_psnr_is_a_column_of_the_usual_table() -> None:
    beside = dataclasses.replace(ABOUT, judged=None, parent=None, control=None)
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table(report_of(beside, edsr=(28.0, None))))
    assert ["a", "27.00", "0.8000", "12.00", "28.00", "0.8000", "-", "+1.00"] in [
        line.split() for line in capture.get().splitlines()
    ]
    assert verdict(report_of(beside, edsr=(28.0, None))) == ()


def test_metrics_are_those_of_the_judged_network() -> None:
    assert flat_metrics(GOOD) == {
        "mean_psnr": 27.5,
        "mean_ssim": 0.8,
        "mean_niqe": 6.0,
        "bicubic_psnr": 27.0,
        "bicubic_ssim": 0.8,
        "bicubic_niqe": 12.0,
        "gain_db": 0.5,
        "discriminates": True,
        "parent_psnr": 28.5,
        "parent_ssim": 0.8,
        "parent_niqe": 10.0,
        "control_psnr": 27.5,
        "control_ssim": 0.8,
        "control_niqe": 11.0,
    }


def test_the_report_has_the_tradeoff_and_pictures_of_three_networks(tmp_path: Path) -> None:
    parent, network = edsr(0), edsr(1)
    networks = {"parent": parent, "alpha 0.5": edsr(2), "edsr": network}
    by = judge(judged="edsr", parent="parent")
    report = evaluate_to(tmp_path / "task", networks, Images(), protocol=Y, test_set="waves", judge=by)
    names = {"report.json", "metrics.json", "a.png", "b.png", "comparison.png", "perception_distortion.png"}
    assert {path.name for path in (tmp_path / "task").iterdir()} == names
    drawn = read_rgb(tmp_path / "task" / "perception_distortion.png")
    assert (drawn == tradeoff.picture(report)).all()
    plain = evaluate_to(tmp_path / "plain", {"one": parent, "two": network}, Images(), protocol=Y, test_set="waves")
    assert plain.perceptual is None
    assert read_rgb(tmp_path / "plain" / "a.png").shape == read_rgb(tmp_path / "task" / "a.png").shape


def dots(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
    """The mean row and column of the pixels of `colour`."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return rows.mean(), columns.mean()


def test_in_the_plot_better_is_to_the_right_and_below() -> None:
    drawn = tradeoff.picture(GOOD)
    judged, control = dots(drawn, tradeoff.MARK), dots(drawn, tradeoff.WORSE)
    assert judged[0] > control[0]  # more natural
    assert judged[1] == pytest.approx(control[1], abs=1)  # one PSNR
    assert dots(drawn, tradeoff.PATH)[1] > judged[1]  # the parent has more


@pytest.mark.parametrize("report", [report_of(srgan=(math.inf, 5.0)), report_of(srgan=(27.0, None)), report_of()])
def test_a_plot_of_next_to_nothing_can_be_drawn(report: EvalReport) -> None:
    without = dataclasses.replace(ABOUT, judged="srgan", parent=None, control=None)
    about = without if "srgan" in report.models else dataclasses.replace(without, judged=None)
    drawn = tradeoff.picture(dataclasses.replace(report, perceptual=about))
    assert drawn.shape == (tradeoff.HEIGHT, tradeoff.WIDTH, 3)


@pytest.fixture
def photographs(tmp_path: Path) -> Params:
    """A data set of two photographs to train on, and one held out."""
    return Params(data=params_for(tmp_path / "data", write_folder(tmp_path / "photos", [(300, 300)] * 3)))


def test_the_pristine_model_is_of_the_training_photographs_and_is_kept(photographs: Params) -> None:
    own = pristine_of(photographs)
    assert list(own.fitted_on) == ["01", "02"]
    assert own.digest == niqe.fit([(f"0{i}", lambda i=i: noise(300, 300, seed=i)) for i in (1, 2)]).digest
    (kept,) = (Path(photographs.data.root) / "reports").glob("niqe-*.json")
    written = kept.stat().st_mtime_ns
    again = pristine_of(photographs)
    assert (again.digest, again.label) == (own.digest, own.label)
    assert kept.stat().st_mtime_ns == written
    kept.write_text("{")
    assert pristine_of(photographs).digest == own.digest
    write_png(Path(photographs.data.folder or "") / "01.png", noise(300, 300, seed=9))
    assert pristine_of(photographs).digest != own.digest


def test_a_named_model_is_taken(photographs: Params, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    given = niqe.fit([("mine", lambda: noise(400, 400))])
    niqe.write(path, given)
    named = dataclasses.replace(photographs, evaluate=EvaluateParams(niqe_model=str(path)))
    assert pristine_of(named).digest == given.digest
    gone = dataclasses.replace(photographs, evaluate=EvaluateParams(niqe_model=str(tmp_path / "gone.json")))
    with pytest.raises(SrError, match=r"gone\.json: cannot be read"):
        pristine_of(gone)


def test_a_model_of_a_folder(photographs: Params, tmp_path: Path) -> None:
    assert list(fit_named(photographs.data, str(tmp_path / "photos")).fitted_on) == ["00", "01", "02"]
    assert list(fit_named(photographs.data, None).fitted_on) == ["01", "02"]
    with pytest.raises(SrError, match="is not a folder"):
        fit_named(photographs.data, str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="0 photographs have 0 blocks"):
        fit_named(photographs.data, str(tmp_path / "empty"))


def test_a_large_data_set_is_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = Params(data=params_for(tmp_path / "data", write_folder(tmp_path / "photos", [(200, 296)] * 10)))
    monkeypatch.setattr("sr_core.evaluate.perceptual.MOST_FITTED", 3)
    assert list(pristine_of(params).fitted_on) == ["01", "04", "07"]
