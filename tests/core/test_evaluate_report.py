"""data/reports/<task>/: complete, flat where DVC wants it, replaced as a whole."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sr_core.data.images import read_rgb
from sr_core.data.resize import bicubic_down
from sr_core.errors import BusyError
from sr_core.evaluate.benchmark import EvalReport, ImageScore, read_report
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.report import evaluate_to, flat_metrics, write_report
from sr_core.files import lock_directory

Y = PROTOCOLS["benchmark-y"]


class Nearest(nn.Module):
    scale, receptive_field = 2, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)


class Images:
    scale, keys, digest = 2, ("a", "b"), "d" * 64

    def __len__(self) -> int:
        return 2

    def lr(self, i: int) -> np.ndarray:
        return bicubic_down(self.hr(i), 2)

    def hr(self, i: int) -> np.ndarray:
        return np.random.default_rng(i).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def report_of(*scores: tuple[str, float, float]) -> EvalReport:
    return EvalReport(
        protocol=Y,
        scale=2,
        test_set="noise",
        test_set_digest="d" * 64,
        precision="float32",
        scores=tuple(
            ImageScore(model=model, image="a", psnr=psnr, ssim=ssim, seconds=0.5) for model, psnr, ssim in scores
        ),
    )


def test_the_directory_is_complete_and_reads_back(tmp_path: Path) -> None:
    directory = tmp_path / "reports" / "edsr-x2-bicubic"
    report = evaluate_to(directory, {"nearest": Nearest()}, Images(), protocol=Y, test_set="noise")
    names = {"report.json", "metrics.json", "a.png", "b.png", "comparison.png"}
    assert {path.name for path in directory.iterdir()} == names
    assert read_report(directory / "report.json") == report
    pictures = [read_rgb(directory / f"{key}.png") for key in Images.keys]
    assert (read_rgb(directory / "comparison.png") == np.concatenate(pictures)).all()


def test_two_evaluations_differ_in_nothing_but_times(tmp_path: Path) -> None:
    for name in ("one", "two"):
        evaluate_to(tmp_path / name, {"nearest": Nearest()}, Images(), protocol=Y, test_set="noise")
    for path in sorted((tmp_path / "one").iterdir()):
        if path.name != "report.json":
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_metrics_are_flat_finite_numbers() -> None:
    report = report_of(("bicubic", 30.0, 0.8), ("edsr", 31.25, 0.9))
    assert flat_metrics(report) == {
        "mean_psnr": 31.25,
        "mean_ssim": 0.9,
        "bicubic_psnr": 30.0,
        "bicubic_ssim": 0.8,
        "gain_db": 1.25,
    }
    assert flat_metrics(report_of(("bicubic", 30.0, 0.8)))["gain_db"] == 0.0
    perfect = flat_metrics(report_of(("bicubic", 30.0, 0.8), ("edsr", math.inf, 1.0)))
    assert perfect == {"mean_ssim": 1.0, "bicubic_psnr": 30.0, "bicubic_ssim": 0.8}


def test_an_old_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    directory = tmp_path / "task"
    write_report(directory, report_of(("bicubic", 30.0, 0.8)), {"gone": np.zeros((4, 4, 3), np.uint8)})
    assert (directory / "gone.png").exists()
    write_report(directory, report_of(("bicubic", 31.0, 0.8)), {})
    assert {path.name for path in directory.iterdir()} == {"report.json", "metrics.json"}
    assert json.loads((directory / "metrics.json").read_text())["mean_psnr"] == 31.0


def test_a_failure_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "task"
    write_report(directory, report_of(("bicubic", 30.0, 0.8)), {})

    def full(path: Path, image: np.ndarray) -> None:
        raise OSError("no space")

    monkeypatch.setattr("sr_core.data.images.write_png", full)
    with pytest.raises(OSError, match="no space"):
        write_report(directory, report_of(("bicubic", 31.0, 0.8)), {"a": np.zeros((4, 4, 3), np.uint8)})
    assert read_report(directory / "report.json").mean("bicubic").psnr == 30.0
    assert {path.name for path in directory.iterdir()} == {"report.json", "metrics.json"}


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    directory = tmp_path / "task"
    with lock_directory(tmp_path / ".locks" / "task"), pytest.raises(BusyError, match="is in use by process"):
        write_report(directory, report_of(("bicubic", 30.0, 0.8)), {})
    assert not directory.exists()
