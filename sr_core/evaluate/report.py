"""data/reports/<task>/: what an evaluation leaves for people, DVC and MLflow.

    report.json      every score with its protocol, scale, test set and digest; read by benchmark.read_report
    metrics.json     the means as flat numbers, for DVC's and MLflow's tables, and by which protocol they are
    <image>.png      bicubic | network | HR of one image
    comparison.png   the first of them in one picture
    perception_distortion.png   of a network trained against a discriminator: NIQE over PSNR, with those beside it

The directory is replaced as a whole: it never holds the numbers of one model and the pictures of another.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core import files
from sr_core.data import images as image_files
from sr_core.evaluate import gallery, published, tradeoff
from sr_core.evaluate.benchmark import BASELINE, EvalImages, EvalReport, Evaluated, evaluate
from sr_core.evaluate.lpips import Lpips
from sr_core.evaluate.metrics import Protocol
from sr_core.evaluate.perceptual import Judge
from sr_core.evaluate.records import ENSEMBLE
from sr_core.models.card import Card
from sr_core.progress import QUIET, Progress
from sr_core.upscale import AnyPrecision
from sr_core.world import World

REPORT, METRICS, COMPARISON = "report.json", "metrics.json", "comparison.png"
TRADEOFF = "perception_distortion.png"
MOST_STACKED = 4  # images in comparison.png


def evaluate_to(
    directory: Path,
    networks: Mapping[str, nn.Module],
    images: EvalImages,
    *,
    protocol: Protocol,
    test_set: str,
    degradation: str = "bicubic",
    lr_source: str | None = None,
    weights: Mapping[str, str] | None = None,
    cards: Mapping[str, Card] | None = None,
    precision: AnyPrecision = "float32",
    device: torch.device | None = None,
    ensemble: Collection[str] = (),
    judge: Judge | None = None,
    lpips: Lpips | None = None,
    world: World | None = None,
    progress: Progress = QUIET,
) -> EvalReport:
    """`evaluate`, with the report and a picture of every image written to `directory` by the first rank.

    `weights` are the sha256 of networks without a card, by which a report is told from another model's.

    Raises:
        ImageError, ConfigError: as `evaluate`.
        BusyError: another process writes the same directory.
    """
    group = world or World()
    subtitle = f"x{images.scale}, {test_set}, {protocol.describe(images.scale)}"
    pictures: dict[str, NDArray[np.uint8]] = {}
    # of a judged network not those between: they would make the picture too wide to see
    shown = [BASELINE, *([judge.parent] if judge.parent else []), judge.judged] if judge and judge.judged else None

    def observe(evaluated: Evaluated) -> None:
        pictures[evaluated.image] = gallery.picture(evaluated, subtitle=subtitle, shown=shown)

    report = evaluate(
        networks,
        images,
        protocol=protocol,
        test_set=test_set,
        degradation=degradation,
        lr_source=lr_source,
        precision=precision,
        device=device,
        ensemble=ensemble,
        cards=cards,
        judge=judge,
        lpips=lpips,
        world=group,
        progress=progress,
        observe=observe,
    )
    report = dataclasses.replace(report, weights={**report.weights, **(weights or {})})
    gathered = _on_first(pictures, report.images, group)
    group.on_first(lambda: write_report(directory, report, gathered))
    return report


def _on_first(
    pictures: dict[str, NDArray[np.uint8]], names: Sequence[str], world: World
) -> Mapping[str, NDArray[np.uint8]]:
    """All ranks' pictures, in the order of `names`, on the first rank; one is under way at a time."""
    if world.size == 1:
        return pictures
    found: dict[str, NDArray[np.uint8]] = {}
    for name in names:
        sent = world.gathered(pictures.pop(name, None))
        if world.is_first:
            found[name] = next(picture for picture in sent if picture is not None)
    return found


def plain(report: EvalReport) -> dict[str, Any]:
    """What report.json holds: the report, and, for readers only, the published figures that it can be compared with."""
    rows = [dataclasses.asdict(each) for each in published.beside(report)]
    return {**report.to_dict(), "published": rows, "published_doubt": published.doubt(report)}


def write_report(directory: Path, report: EvalReport, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
    """Makes `directory` hold this report and these pictures (by image), and nothing else."""
    with (
        files.lock_directory(directory.parent / ".locks" / directory.name),
        files.commit_directory(directory) as partial,
    ):
        files.write_atomic(partial / REPORT, files.to_json(plain(report)))
        files.write_atomic(partial / METRICS, files.to_json({**flat_metrics(report), **labels(report)}))
        for image, picture in pictures.items():
            image_files.write_png(partial / f"{image}.png", picture)
        if report.perceptual and report.perceptual.judged:
            image_files.write_png(partial / TRADEOFF, tradeoff.picture(report))
        if pictures:
            image_files.write_png(partial / COMPARISON, gallery.stack([*pictures.values()][:MOST_STACKED]))


def flat_metrics(report: EvalReport) -> dict[str, float]:
    """The means of the network that the report is about and of bicubic; what is not finite is left out.

    It is about the judged network, or the last, without its self-ensemble, which has figures of its own. Where NIQE was
    measured it stands here too, with the parent's and the control's, and whether it discriminates. Times are left out:
    they would make two evaluations of one model differ.
    """
    about = report.perceptual
    single = [name for name in report.models if name not in report.facts or not report.facts[name].ensemble]
    model = about.judged if about and about.judged else single[-1]
    own, baseline = report.mean(model), report.mean(BASELINE)
    values = {
        "mean_psnr": own.psnr,
        "mean_ssim": own.ssim,
        "bicubic_psnr": baseline.psnr,
        "bicubic_ssim": baseline.ssim,
        "gain_db": report.gain_db(model),
        "mean_niqe": own.niqe,
        "bicubic_niqe": baseline.niqe,
        "mean_lpips": own.lpips,
        "bicubic_lpips": baseline.lpips,
        "discriminates": report.discriminates,
    }
    if f"{model}{ENSEMBLE}" in report.models:
        mean = report.mean(f"{model}{ENSEMBLE}")
        values |= {"ensemble_psnr": mean.psnr, "ensemble_ssim": mean.ssim}
    for name in (about.parent, about.control) if about else ():
        if name is not None:
            mean = report.mean(name)
            values |= {f"{name}_psnr": mean.psnr, f"{name}_ssim": mean.ssim, f"{name}_niqe": mean.niqe}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def labels(report: EvalReport) -> dict[str, str]:
    """What must stand beside the means: by which protocol, on which images, in which number format."""
    test_set = f"{report.set_named} ({report.test_set_digest[:8]})"
    return {
        "protocol": report.protocol.describe(report.scale),
        "test_set": test_set,
        "precision": report.precision,
    }
