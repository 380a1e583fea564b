"""data/compare/<name>/: what a comparison leaves for people and for the programs that go on with it.

    compare.json             everything below as numbers; read by `read_comparison`, written last
    compare.md               the table in Markdown
    index.html               the table, the plots and the pictures in one file
    parameters-<set>.png     PSNR over the number of parameters
    time-<set>.png           PSNR over the time per megapixel
    gallery/<set>/<image>.png              LR, bicubic, every model, HR: whole, and the crop where models differ most
    images/<set>/<image>/lr.png, hr.png    the pixels themselves, for whoever wants to look or to vote
    images/<set>/<image>/<model>.png       bicubic.png among them

A <set> is test images with one degradation: `Set5-x4-bicubic`. A <model> is a label, which is unique in a comparison
and fit for the name of a file. The directory is replaced as a whole.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr_core.errors import SrError
from sr_core.evaluate import published, records
from sr_core.evaluate.records import EvalReport
from sr_core.upscale import Box

VERSION = 1
COMPARISON, MARKDOWN, PAGE, GALLERY, IMAGES = "compare.json", "compare.md", "index.html", "gallery", "images"
LR, HR = "lr", "hr"  # names beside the models' in a folder of images


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How long a model takes for a million pixels of its result, warm, over all rounds."""

    median_s: float
    fastest_s: float
    slowest_s: float
    precision: str  # bf16 or float32, as its card has it used


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What stands beside every time: on what, and how often it was taken."""

    rounds: int  # in each of them the models took turns
    megapixels: float  # of the result
    device: str
    num_threads: int
    torch: str  # its version

    def describe(self) -> str:
        """In words: `warm, median of 5 rounds in turn, a result of 0.50 megapixels, cpu with 2 threads, torch 2.13`."""
        threads = f"{self.num_threads} thread{'s' * (self.num_threads != 1)}"
        place = f"{self.device} with {threads}" if self.device == "cpu" else self.device
        size = f"a result of {self.megapixels:.2f} megapixels"
        rounds = f"{self.rounds} round{'s' * (self.rounds != 1)}"
        return f"warm, median of {rounds} in turn, {size}, {place}, torch {self.torch}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ComparedModel:
    """One of the models, and what is known of it whatever the images."""

    label: str  # by which it is called here; also its file's name in the folders of images
    source: str  # as it was given: a path, models:/…, bicubic
    model: str  # the network's name in its card
    preset: str
    weights_sha256: str  # empty: it has none
    degradation: str  # that it was trained for
    dataset: str  # that it was trained on
    num_parameters: int | None  # None: its file does not tell
    speed: Speed | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ComparedImage:
    """An image whose pictures were kept."""

    image: str
    height: int  # of HR
    width: int
    focus: Box  # the crop where the models differ most, HR pixels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ComparedSet:
    """Test images with one degradation: all scores, and of which images there are pictures."""

    name: str  # <test set>-x<S>-<degradation>
    test_set: str
    degradation: str
    report: EvalReport  # its models are the labels, bicubic first
    images: tuple[ComparedImage, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All of compare.json."""

    name: str
    scale: int
    models: tuple[ComparedModel, ...]  # bicubic first
    sets: tuple[ComparedSet, ...]
    timing: Timing | None
    remarks: tuple[str, ...] = ()  # what was left out, and why

    def model(self, label: str) -> ComparedModel:
        """The model called `label`; KeyError if there is none."""
        for model in self.models:
            if model.label == label:
                return model
        raise KeyError(label)

    def on(self, name: str) -> ComparedSet:
        """The set called `name`; KeyError if there is none."""
        for each in self.sets:
            if each.name == name:
                return each
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, from which `from_dict` makes the same comparison."""
        return {
            "version": VERSION,
            "name": self.name,
            "scale": self.scale,
            "models": [dataclasses.asdict(model) for model in self.models],
            "sets": [
                {
                    **{key: getattr(each, key) for key in ("name", "test_set", "degradation")},
                    "report": each.report.to_dict(),
                    # for readers only: made anew from the report
                    "published": [dataclasses.asdict(figure) for figure in published.beside(each.report)],
                    "images": [dataclasses.asdict(image) for image in each.images],
                }
                for each in self.sets
            ],
            "timing": None if self.timing is None else dataclasses.asdict(self.timing),
            "remarks": list(self.remarks),
        }


def image_path(name: str, image: str, which: str) -> Path:
    """Where a picture of `image` of the set `name` lies below a comparison's directory; `which`: lr, hr or a label."""
    return Path(IMAGES) / name / image / f"{which}.png"


def gallery_path(name: str, image: str) -> Path:
    """Where the gallery's picture of `image` of the set `name` lies below a comparison's directory."""
    return Path(GALLERY) / name / f"{image}.png"


def from_dict(tree: Mapping[str, Any]) -> Comparison:
    """The comparison whose `to_dict` is `tree`; KeyError, TypeError or ValueError if there is none."""
    if tree["version"] != VERSION:
        raise ValueError(f"version is {tree['version']}, expected {VERSION}")
    timing = tree["timing"]
    return Comparison(
        name=tree["name"],
        scale=tree["scale"],
        models=tuple(_model(each) for each in tree["models"]),
        sets=tuple(_set(each) for each in tree["sets"]),
        timing=None if timing is None else Timing(**timing),
        remarks=tuple(tree["remarks"]),
    )


def _model(tree: Mapping[str, Any]) -> ComparedModel:
    speed = tree["speed"]
    return ComparedModel(**{**tree, "speed": None if speed is None else Speed(**speed)})


def _set(tree: Mapping[str, Any]) -> ComparedSet:
    images = (ComparedImage(**{**image, "focus": Box(**image["focus"])}) for image in tree["images"])
    own = {key: tree[key] for key in ("name", "test_set", "degradation")}
    return ComparedSet(**own, report=records.from_dict(tree["report"]), images=tuple(images))


def read_comparison(directory: Path) -> Comparison:
    """The comparison in `directory`.

    Raises:
        SrError: there is none, or it was not written by this version.
    """
    path = directory / COMPARISON
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SrError(f"{path}: cannot be read ({error.strerror}); compare models first: sr compare") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SrError(f"{path}: is not a comparison of this version ({error}); compare the models again") from None


def flat_metrics(comparison: Comparison) -> dict[str, float]:
    """Figures by names such as `Set5-x4-bicubic/edsr/psnr`; what is not finite is left out."""
    values: dict[str, float | None] = {}
    for model in comparison.models:
        values[f"{model.label}/parameters"] = model.num_parameters
        values[f"{model.label}/s_per_megapixel"] = model.speed.median_s if model.speed else None
        for each in comparison.sets:
            mean = each.report.mean(model.label)
            values |= {
                f"{each.name}/{model.label}/{key}": getattr(mean, key) for key in ("psnr", "ssim", "niqe", "lpips")
            }
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
