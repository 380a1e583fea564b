"""The evaluation of a task: its published model, on its validation images, into data/reports/<task>/."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from sr_core.data import index
from sr_core.data.patches import open_dataset
from sr_core.data.sources import dataset_name
from sr_core.errors import CheckpointError, ConfigError, ImageError
from sr_core.evaluate.benchmark import EvalReport
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.perceptual import ALPHAS, PARENT, Judge, judge_named, pristine_of
from sr_core.evaluate.report import evaluate_to
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train import run, start, weights
from sr_core.train.exchange import blended
from sr_core.train.weights import LoadedModel
from sr_core.upscale import fastest_device


def report_directory(params: Params, model_dir: Path | None = None) -> Path:
    """Where the report on `params.task` lies; on another model than the published one, beside it."""
    reports = Path(params.data.root) / "reports"
    if model_dir is None or model_dir.resolve() == run.model_directory(params).resolve():
        return reports / params.task
    return reports / f"{params.task}-{weights.digits_of(model_dir)}"


def evaluate_task(params: Params, *, model_dir: Path | None = None, progress: Progress = QUIET) -> EvalReport:
    """Measures the model in `model_dir` (default: the published one), pictures it and writes the report.

    One that was trained against a discriminator is measured beside the network that it began with, those between the
    two and a control, all of them by NIQE too (see `sr_core.evaluate.perceptual`).

    Raises:
        CheckpointError: there is no whole model, or it has another scale than the images.
        ShardError: the validation images are absent or damaged.
        ImageError: an image is too small for the protocol.
        SourceError: NIQE's pristine model is to be fitted, and there are no photographs.
        BusyError: another process evaluates the same task.
    """
    directory = model_dir or run.model_directory(params)
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
    return evaluate_to(
        report_directory(params, directory),
        _networks(loaded, parent, progress),
        images,
        protocol=PROTOCOLS[params.evaluate.protocol],
        weights={
            **({PARENT: parent.card.weights_sha256} if parent else {}),
            loaded.card.model: loaded.card.weights_sha256,
        },
        test_set=f"{dataset_name(params.data)} validation",
        judge=_judge(params, loaded, parent, progress),
        device=fastest_device(),
        progress=progress,
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
