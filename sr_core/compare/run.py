"""A comparison from opened models and test images to its directory, which is written whole or not at all."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sr_core import files
from sr_core.compare import figure, page, plots, speed, words
from sr_core.compare.entrants import Entrant
from sr_core.compare.report import (
    COMPARISON,
    HR,
    LR,
    MARKDOWN,
    PAGE,
    ComparedImage,
    ComparedModel,
    ComparedSet,
    Comparison,
    Speed,
    gallery_path,
    image_path,
)
from sr_core.compare.sets import Images
from sr_core.data import images as image_files
from sr_core.errors import SrError
from sr_core.evaluate.benchmark import BASELINE, Evaluated, evaluate
from sr_core.evaluate.lpips import Lpips
from sr_core.evaluate.perceptual import Judge
from sr_core.progress import QUIET, Progress
from sr_core.train.weights import open_model
from sr_core.upscale import fastest_device


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """How models are compared."""

    judge: Judge | None = None  # measures NIQE
    lpips: Lpips | None = None
    rounds: int = 5  # in which the models' times are taken; 0: they are not
    num_pictures: int = 6  # images of a set of which pictures are kept, evenly spread
    remarks: tuple[str, ...] = ()


def compare_to(
    directory: Path,
    entrants: Sequence[Entrant],
    sets: Sequence[Images],
    choice: Choice,
    *,
    device: torch.device | None = None,
    progress: Progress = QUIET,
) -> Comparison:
    """Measures `entrants`, and bicubic, on `sets`, all of one scale, and makes `directory` hold what was found.

    Figures are taken in float32, as those of every evaluation; times as each model is used every day.

    Raises:
        ImageError: images are too small for the protocol, or do not fit their LR.
        BusyError: another process writes the same directory.
        SrError: something else than a comparison is at `directory`.
    """
    if directory.exists() and not (directory / COMPARISON).is_file():
        raise SrError(f"{directory}: exists and is no comparison, which would replace it; choose another name")
    place = device or fastest_device()
    scale = sets[0].images.scale
    baseline = Entrant(label=BASELINE, source=BASELINE, loaded=open_model(BASELINE, scale))
    everyone = [baseline, *entrants]
    with (
        files.lock_directory(directory.parent / ".locks" / directory.name),
        files.commit_directory(directory) as partial,
    ):
        writer = _Writer(partial, everyone, sets, choice, place, progress)
        measured = [writer.measured(each) for each in sets]
        probe = speed.probe(sets[0].images.lr(0), scale)
        models = {entrant.label: entrant.loaded for entrant in everyone}
        speeds, timing = (
            speed.measure(models, probe, rounds=choice.rounds, device=place, progress=progress)
            if choice.rounds
            else ({}, None)
        )
        comparison = Comparison(
            name=directory.name,
            scale=scale,
            models=tuple(_described(entrant, speeds.get(entrant.label)) for entrant in everyone),
            sets=tuple(measured),
            timing=timing,
            remarks=choice.remarks,
        )
        writer.finish(comparison)
    return comparison


def _described(entrant: Entrant, speed: Speed | None) -> ComparedModel:
    card = entrant.loaded.card
    return ComparedModel(
        label=entrant.label,
        source=entrant.source,
        model=card.model,
        preset=card.preset,
        weights_sha256=card.weights_sha256,
        degradation=card.degradation,
        dataset=card.dataset,
        num_parameters=entrant.num_parameters,
        speed=speed,
    )


class _Writer:
    """Fills the directory: pictures while the models are measured, so that one image's results are held at a time."""

    def __init__(
        self,
        directory: Path,
        entrants: Sequence[Entrant],
        sets: Sequence[Images],
        choice: Choice,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self._directory, self._entrants, self._choice = directory, entrants, choice
        self._device, self._progress = device, progress
        self._pages: dict[str, list[page.PageImage]] = {each.name: [] for each in sets}

    def measured(self, on: Images) -> ComparedSet:
        """The models on one test set, and the pictures of it."""
        kept: list[ComparedImage] = []
        wanted = _spread(on.images.keys, self._choice.num_pictures)

        def observe(evaluated: Evaluated) -> None:
            if evaluated.image in wanted:
                kept.append(self._pictured(on, evaluated))

        report = evaluate(
            {entrant.label: entrant.loaded.network for entrant in self._entrants if entrant.label != BASELINE},
            on.images,
            protocol=on.protocol,
            test_set=on.test_set,
            degradation=on.degradation,
            lr_source=on.lr_source,
            cards={entrant.label: entrant.loaded.card for entrant in self._entrants},
            device=self._device,
            judge=self._choice.judge,
            lpips=self._choice.lpips,
            progress=self._progress,
            observe=observe,
        )
        return ComparedSet(
            name=on.name,
            test_set=on.test_set,
            degradation=on.degradation,
            report=report,
            images=tuple(kept),
        )

    def _pictured(self, on: Images, evaluated: Evaluated) -> ComparedImage:
        name, lr, scale = evaluated.image, evaluated.lr, on.images.scale
        labels = [entrant.label for entrant in self._entrants]
        focus = figure.focus_of(evaluated.results)
        versions = figure.versions_of(evaluated, scale, labels)
        subtitle = f"{on.test_set} x{scale}, {on.degradation}, {on.protocol.describe(scale)}"
        self._write(gallery_path(on.name, name), figure.picture(name, subtitle, versions, focus))
        for which, pixels in ((LR, lr), *evaluated.results.items(), (HR, evaluated.hr)):
            self._write(image_path(on.name, name, which), pixels)
        self._pages[on.name].append(page.page_image(name, versions, lr, focus))
        height, width = evaluated.hr.shape[:2]
        return ComparedImage(image=name, height=height, width=width, focus=focus)

    def finish(self, comparison: Comparison) -> None:
        """Plots, table and page; compare.json last."""
        drawn: dict[str, Mapping[str, bytes]] = {}
        for on in comparison.sets:
            pictures = {"parameters": plots.over_parameters(comparison, on)}
            if comparison.timing is not None:
                pictures["time"] = plots.over_time(comparison, on)
            for kind, picture in pictures.items():
                self._write(Path(f"{kind}-{on.name}.png"), picture)
            drawn[on.name] = {
                f"PSNR over {kind}": (self._directory / f"{kind}-{on.name}.png").read_bytes() for kind in pictures
            }
        files.write_atomic(self._directory / MARKDOWN, words.markdown(comparison))
        files.write_atomic(self._directory / PAGE, page.as_html(comparison, self._pages, drawn))
        files.write_atomic(self._directory / COMPARISON, files.to_json(comparison.to_dict()))

    def _write(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        image_files.write_png(self._directory / path, pixels)


def _spread(keys: Sequence[str], most: int) -> set[str]:
    """At most `most` of `keys`, evenly spread."""
    num = min(most, len(keys))
    return {keys[(2 * i + 1) * len(keys) // (2 * num)] for i in range(num)}
