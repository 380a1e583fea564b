"""The evaluation of any models on folders of test images: no parameters, no shards, no run are needed."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sr_core import files
from sr_core.data import sources
from sr_core.errors import ConfigError, SrError, listed
from sr_core.evaluate.benchmark import patiently
from sr_core.evaluate.learned import lpips_named
from sr_core.evaluate.lpips import Lpips
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.perceptual import judge_named
from sr_core.evaluate.records import EvalReport
from sr_core.evaluate.report import REPORT, evaluate_to
from sr_core.evaluate.testsets import TestSet, open_testset, scales_of
from sr_core.params import DataParams, Params
from sr_core.progress import QUIET, Progress
from sr_core.train import weights
from sr_core.train.weights import LoadedModel, is_interpolation
from sr_core.upscale import fastest_device
from sr_core.world import World

SAMPLE = "sample"  # in place of a folder, where none is called so: the photographs of installed packages
BICUBIC = "bicubic"

T = TypeVar("T")
OpenModel = Callable[[str, int], LoadedModel]  # a model's name, and the scale of one that has every scale


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What is known and checked before anything is measured: models by their names in the table, and test sets."""

    models: dict[str, LoadedModel]
    test_sets: tuple[TestSet, ...]
    directories: tuple[Path, ...]  # of each test set's report
    lpips: Lpips | None


def evaluate_folders(
    folders: Sequence[str | Path],
    models: Sequence[str | Path],
    params: Params,
    *,
    scale: int | None = None,
    protocol: str | None = None,
    degradations: Sequence[str] = (BICUBIC,),
    ensemble: bool = False,
    output: Path | None = None,
    open_model: OpenModel | None = None,
    world: World | None = None,
    progress: Progress = QUIET,
) -> tuple[tuple[EvalReport, Path], ...]:
    """Measures `models` (what `open_model` takes: paths, bicubic and its like) on the images in each of `folders`.

    The scale is the models'; `scale` is for those that have every one, and needed only where the folder does not tell.
    `protocol` None is each set's usual one, or `params.evaluate.protocol`. A folder may be called `sample`. With
    `ensemble` every trained network is measured a second time, as the mean over the 8 symmetries. Returns the reports
    and where they were written: `output`, or below it where there are several, or below data/reports/.

    Raises:
        CheckpointError: a model cannot be read, or the weights of LPIPS.
        SourceError, ImageError: a folder holds no images for the models' scale, or some that do not fit.
        SrError: something else than a report is at `output`, or evaluate.niqe_model is none.
        ConfigError: the scale is not known, or the models have several.
    """
    group = world or World(device=fastest_device())
    found = patiently(
        group,
        lambda: _prepared(
            folders, models, params, scale, protocol, degradations, output, open_model or weights.open_model
        ),
    )
    judge = group.on_first(lambda: judge_named(params, progress=progress))
    cards = {name: loaded.card for name, loaded in found.models.items()}
    reports = []
    for images, directory in zip(found.test_sets, found.directories, strict=True):
        report = evaluate_to(
            directory,
            {name: loaded.network for name, loaded in found.models.items()},
            images,
            protocol=images.protocol,
            test_set=images.name,
            degradation=images.degradation,
            lr_source=images.lr_source,
            cards=cards,
            ensemble=[name for name, card in cards.items() if ensemble and card.weights_sha256],
            judge=judge,
            lpips=found.lpips,
            device=group.device,
            world=group,
            progress=progress,
        )
        reports.append((report, directory))
    return tuple(reports)


def evaluate_folder(
    folder: Path,
    model: str | Path,
    params: Params,
    *,
    scale: int | None = None,
    output: Path | None = None,
    progress: Progress = QUIET,
) -> tuple[EvalReport, Path]:
    """`evaluate_folders` of one model on one folder."""
    (found,) = evaluate_folders([folder], [model], params, scale=scale, output=output, progress=progress)
    return found


def open_sets(
    folders: Sequence[str | Path],
    scale: int,
    params: Params,
    *,
    protocol: str | None = None,
    degradations: Sequence[str] = (BICUBIC,),
) -> tuple[TestSet, ...]:
    """The test sets in `folders` (or the sample), each with each of `degradations`; what is wrong is said of all.

    Raises:
        SourceError, ImageError, ConfigError: as `open_testset`.
    """
    return _all_of([lambda f=f, d=d: _open(f, scale, params, protocol, d) for f in folders for d in degradations])  # type: ignore[misc]


def _prepared(
    folders: Sequence[str | Path],
    models: Sequence[str | Path],
    params: Params,
    scale: int | None,
    protocol: str | None,
    degradations: Sequence[str],
    output: Path | None,
    open_model: OpenModel,
) -> Prepared:
    chosen = _scale(folders, models, scale, open_model)
    opened = _named(_all_of([lambda m=m: open_model(str(m), chosen) for m in models]), models)  # type: ignore[misc]
    scales = {loaded.card.scale for loaded in opened.values()}
    if len(scales) != 1:
        lines = [f"{name}: x{loaded.card.scale}" for name, loaded in opened.items()]
        raise ConfigError(f"the models have different scales, expected one; measure each by itself:{listed(lines)}")
    (chosen,) = scales
    test_sets = open_sets(folders, chosen, params, protocol=protocol, degradations=degradations)
    directories = _directories(test_sets, opened, params, output)
    return Prepared(models=opened, test_sets=test_sets, directories=directories, lpips=lpips_named(params))


def _open(folder: str | Path, scale: int, params: Params, protocol: str | None, degradation: str) -> TestSet:
    name, data = None, params.data
    if str(folder) == SAMPLE and not Path(folder).is_dir():
        folder = sources.materialise(DataParams(root=data.root), progress=QUIET)
        name = f"{SAMPLE} validation"
    return open_testset(
        Path(folder),
        scale,
        name=name,
        degradation=degradation,
        protocol=PROTOCOLS[protocol] if protocol else None,
        otherwise=params.evaluate.protocol,
        data=data,
    )


def _all_of(calls: Sequence[Callable[[], T]]) -> tuple[T, ...]:
    """What each of `calls` returns; the errors of all of them at once."""
    found, errors = [], []
    for call in calls:
        try:
            found.append(call())
        except SrError as error:
            errors.append(error)
    if len(errors) > 1:
        lines = [line for error in errors for line in str(error).split("\n")]
        raise type(errors[0])(f"{len(errors)} of {len(calls)} cannot be used:{listed(lines)}")
    if errors:
        raise errors[0]
    return tuple(found)


def _named(opened: Sequence[LoadedModel], given: Sequence[str | Path]) -> dict[str, LoadedModel]:
    """By name in the table: that of the network, and what tells two of one kind apart."""
    names = [loaded.card.model for loaded in opened]
    if len(set(map(str, given))) < len(given):
        raise ConfigError(f"--model: names one model twice, expected each once: {', '.join(map(str, given))}")
    found = {}
    for loaded, name in zip(opened, names, strict=True):
        own = name if names.count(name) == 1 else f"{name} {loaded.card.weights_sha256[:8]}"
        if own in found:
            raise ConfigError(f"--model: {own} is given twice under two paths, expected each model once")
        found[own] = loaded
    return found


def _directories(
    test_sets: Sequence[TestSet], models: dict[str, LoadedModel], params: Params, output: Path | None
) -> tuple[Path, ...]:
    """Where each report goes.

    Raises:
        SrError: something else is there, or two would go to one place.
    """
    shas = [loaded.card.weights_sha256 for loaded in models.values()]
    who, digits = next(iter(models.values())).card.model, shas[0][:8]
    if len(models) > 1:
        who, digits = f"{len(models)}-models", files.digest_of([list(models), shas])[:8]
    found = []
    for images in test_sets:
        degraded = "" if images.degradation == BICUBIC else f"-{images.degradation}"
        where = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', images.name)}{degraded}"
        own = Path(params.data.root) / "reports" / f"{who}-x{images.scale}-{where}{f'-{digits}' if digits else ''}"
        found.append(own if output is None else output if len(test_sets) == 1 else output / where)
    if len(set(found)) < len(found):
        raise SrError(f"two test sets would be written to one folder: {', '.join(map(str, found))}; measure them apart")
    taken = [path for path in found if output is not None and path.exists() and not (path / REPORT).is_file()]
    if taken:
        places = ", ".join(map(str, taken))
        raise SrError(f"{places}: exists and is no report, which would replace it; choose another name")
    return tuple(found)


def _scale(
    folders: Sequence[str | Path], models: Sequence[str | Path], scale: int | None, open_model: OpenModel
) -> int:
    """The scale for models that have every one; of no account for the others."""
    others = [model for model in models if not is_interpolation(model)]
    if scale is not None:
        return scale
    if others:
        return open_model(str(others[0]), 0).card.scale if len(others) < len(models) else 0
    found = sorted({one for folder in folders if Path(folder).is_dir() for one in scales_of(Path(folder))})
    if len(found) != 1:
        has = f"has images for {', '.join(f'x{one}' for one in found)}" if found else "has HR images for any scale"
        where = ", ".join(map(str, folders))
        raise ConfigError(
            f"data.scale: is not known, since {models[0]} takes any and {where} {has}; add --set data.scale=4"
        )
    return found[0]
