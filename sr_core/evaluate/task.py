"""The evaluation of a task: its published model, on its validation images, into data/reports/<task>/."""

import copy
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from sr_core.data import index
from sr_core.data.patches import ImageSet, open_dataset
from sr_core.data.sources import dataset_name
from sr_core.errors import CheckpointError, ConfigError, ImageError
from sr_core.evaluate.benchmark import EvalReport, patiently
from sr_core.evaluate.learned import lpips_named
from sr_core.evaluate.lpips import Lpips
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.perceptual import ALPHAS, PARENT, Judge, judge_named, pristine_of
from sr_core.evaluate.report import evaluate_to
from sr_core.evaluate.testsets import known
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train import run, start, weights
from sr_core.train.exchange import blended
from sr_core.train.weights import LoadedModel
from sr_core.upscale import fastest_device
from sr_core.world import World


def report_directory(params: Params, model_dir: Path | None = None) -> Path:
    """Where the report on `params.task` lies; on another model than the published one, beside it."""
    reports = Path(params.data.root) / "reports"
    if model_dir is None or model_dir.resolve() == run.model_directory(params).resolve():
        return reports / params.task
    return reports / f"{params.task}-{weights.digits_of(model_dir)}"


def evaluate_task(
    params: Params,
    *,
    model_dir: Path | None = None,
    ensemble: bool = False,
    world: World | None = None,
    progress: Progress = QUIET,
) -> EvalReport:
    """Measures the model in `model_dir` (default: the published one), pictures it and writes the report.

    One that was trained against a discriminator is measured beside the network that it began with, those between the
    two and a control, all of them by NIQE too (see `sr_core.evaluate.perceptual`). With `ensemble` the model is
    measured a second time, as the mean over the 8 symmetries.

    Raises:
        CheckpointError: there is no whole model, or it has another scale than the images.
        ShardError: the validation images are absent or damaged.
        ImageError: an image is too small for the protocol.
        SourceError: NIQE's pristine model is to be fitted, and there are no photographs.
        BusyError: another process evaluates the same task.
    """
    group = world or World(device=fastest_device())
    directory = model_dir or run.model_directory(params)
    task = patiently(group, lambda: _prepared(params, directory, progress if group.is_first else QUIET))
    loaded, parent = task.loaded, task.parent
    judge = group.on_first(lambda: _judge(params, loaded, parent, progress))
    own = {loaded.card.model: loaded.card}
    return evaluate_to(
        report_directory(params, directory),
        task.networks,
        task.images,
        protocol=PROTOCOLS[params.evaluate.protocol],
        test_set=task.name,
        degradation=params.data.degradation,
        lr_source="shards",
        weights={name: card.weights_sha256 for name, card in own.items()},
        cards={**({PARENT: parent.card} if parent else {}), **own},
        ensemble=tuple(own) if ensemble and loaded.card.weights_sha256 else (),
        judge=judge,
        lpips=task.lpips,
        device=group.device,
        world=group,
        progress=progress,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """What was read and verified before anything is measured."""

    loaded: LoadedModel
    parent: LoadedModel | None
    networks: Mapping[str, nn.Module]
    images: ImageSet
    name: str  # of the test set
    lpips: Lpips | None


def _prepared(params: Params, directory: Path, progress: Progress) -> _Task:
    loaded = weights.open_model(directory, params.data.scale)
    if loaded.card.scale != params.data.scale:
        raise CheckpointError(
            f"{directory}: is a model for x{loaded.card.scale}, but data.scale is {params.data.scale}"
        )
    images = open_dataset(params.data, verify=False).valid
    folders = index.shard_directories(params.data).items()
    valid = {folder: index.load_index(folder) for name, folder in folders if name.startswith("valid/")}
    index.verify(valid, progress=progress)
    parent = _parent(params, loaded, progress) if params.is_adversarial else None
    name = f"{dataset_name(params.data)} validation"
    return _Task(
        loaded=loaded,
        parent=parent,
        networks=_networks(loaded, parent, progress),
        images=images,
        name=known(name, images.keys) if params.data.source == "div2k" else name,
        lpips=lpips_named(params),
    )


def _networks(loaded: LoadedModel, parent: LoadedModel | None, progress: Progress) -> dict[str, nn.Module]:
    """The networks to measure: the parent, those between, and the one that it is about, last."""
    own = {loaded.card.model: loaded.network}
    if parent is None:
        return own
    try:
        mixed = {f"alpha {alpha:g}": _filled(loaded.network, blended(parent, loaded, alpha)) for alpha in ALPHAS}
    except CheckpointError as error:
        progress.say(f"the report has no interpolations: {error}")
        mixed = {}
    return {PARENT: parent.network, **mixed, **own}


def _filled(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Another network like `network`, with these weights."""
    made = copy.deepcopy(network)
    made.load_state_dict(tensors)
    return made


def _judge(params: Params, loaded: LoadedModel, parent: LoadedModel | None, progress: Progress) -> Judge | None:
    if not params.is_adversarial:
        return judge_named(params, progress=progress)
    try:
        pristine = pristine_of(params, progress=progress)
    except ImageError as error:
        if params.evaluate.niqe_model is not None:
            raise
        progress.say(f"the report has no NIQE: {error}")
        return None
    return Judge(pristine=pristine, judged=loaded.card.model, parent=PARENT if parent else None)


def _parent(params: Params, loaded: LoadedModel, progress: Progress) -> LoadedModel | None:
    """The network that this one began with; None, with a word why, where it is not to be had."""
    try:
        begun = start.find(params)
        if begun is None:
            progress.say("train.start is null: the report has no parent, no interpolations and no control")
            return None
        was = _began_with(params, loaded.card.run)
        if was not in {None, begun.sha256}:
            raise CheckpointError(f"{begun.path} was trained again since {loaded.card.model} began with it")
        parent = weights.load_model(begun.path)
        if parent.card.scale != params.data.scale:
            raise CheckpointError(f"{begun.path} is for x{parent.card.scale}")
    except (CheckpointError, ConfigError) as error:
        progress.say(f"the report has no parent, no interpolations and no control: {error}")
        return None
    return parent


def _began_with(params: Params, name: str) -> str | None:
    """The sha256 of the weights that the run called `name` began with, if it lies here."""
    try:
        stored = json.loads((Path(params.data.root) / "runs" / name / run.PARAMS).read_text(encoding="utf-8"))
        return str(stored["start"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
