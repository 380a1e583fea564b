"""The evaluation of any model on a folder of test images: no parameters, no shards, no run are needed."""

from pathlib import Path

from sr_core.errors import ConfigError, SrError
from sr_core.evaluate.benchmark import EvalReport
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.perceptual import judge_named
from sr_core.evaluate.report import REPORT, evaluate_to
from sr_core.evaluate.testsets import open_testset, scales_of
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train.weights import is_interpolation, open_model
from sr_core.upscale import fastest_device


def evaluate_folder(
    folder: Path,
    model: str | Path,
    params: Params,
    *,
    scale: int | None = None,
    output: Path | None = None,
    progress: Progress = QUIET,
) -> tuple[EvalReport, Path]:
    """Measures `model` (a path that `load_model` takes, or bicubic and its like) on the images in `folder`.

    The scale is the model's; `scale` is for those that have every one, and needed only where the folder does not tell.
    Returns the report and where it was written: `output`, or a directory of its own below data/reports/.

    Raises:
        CheckpointError: the model cannot be read.
        SourceError, ImageError: the folder holds no images for the model's scale, or some that do not fit.
        SrError: something else than a report is at `output`, or evaluate.niqe_model is none.
        ConfigError: the scale is not known.
    """
    loaded = open_model(model, _scale(folder, model, scale))
    card = loaded.card
    images = open_testset(folder, card.scale, max_pixels=params.data.max_pixels)
    digits = f"-{card.weights_sha256[:8]}" if card.weights_sha256 else ""
    directory = output or Path(params.data.root) / "reports" / f"{card.model}-x{card.scale}-{images.name}{digits}"
    if output is not None and output.exists() and not (output / REPORT).is_file():
        raise SrError(f"{output}: exists and is no report, which would replace it; choose another name")
    report = evaluate_to(
        directory,
        {card.model: loaded.network},
        images,
        protocol=PROTOCOLS[params.evaluate.protocol],
        test_set=images.name,
        weights={card.model: card.weights_sha256} if card.weights_sha256 else {},
        judge=judge_named(params, progress=progress),
        device=fastest_device(),
        progress=progress,
    )
    return report, directory


def _scale(folder: Path, model: str | Path, scale: int | None) -> int:
    """The scale for a model that has every one; of no account for the others."""
    if scale is not None or not is_interpolation(model):
        return scale or 0
    found = scales_of(folder)
    if len(found) != 1:
        has = f"has images for {', '.join(f'x{one}' for one in found)}" if found else "has HR images for any scale"
        raise ConfigError(
            f"data.scale: is not known, since {model} takes any and {folder} {has}; add --set data.scale=4"
        )
    return found[0]
