"""The evaluation of a task: its published model, on its validation images, into data/reports/<task>/."""

from pathlib import Path

from sr_core.data import index
from sr_core.data.patches import open_dataset
from sr_core.data.sources import dataset_name
from sr_core.errors import CheckpointError
from sr_core.evaluate.benchmark import EvalReport
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.report import evaluate_to
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train import run, weights
from sr_core.upscale import fastest_device


def report_directory(params: Params, model_dir: Path | None = None) -> Path:
    """Where the report on `params.task` lies; on another model than the published one, beside it."""
    reports = Path(params.data.root) / "reports"
    if model_dir is None or model_dir.resolve() == run.model_directory(params).resolve():
        return reports / params.task
    return reports / f"{params.task}-{weights.read_card(model_dir).weights_sha256[:8]}"


def evaluate_task(params: Params, *, model_dir: Path | None = None, progress: Progress = QUIET) -> EvalReport:
    """Measures the model in `model_dir` (default: the published one), pictures it and writes the report.

    Raises:
        CheckpointError: there is no whole model, or it has another scale than the images.
        ShardError: the validation images are absent or damaged.
        ImageError: an image is too small for the protocol.
        BusyError: another process evaluates the same task.
    """
    directory = model_dir or run.model_directory(params)
    loaded = weights.load_model(directory)
    if loaded.card.scale != params.data.scale:
        raise CheckpointError(
            f"{directory}: is a model for x{loaded.card.scale}, but data.scale is {params.data.scale}"
        )
    images = open_dataset(params.data, verify=False).valid
    folders = index.shard_directories(params.data).items()
    valid = {folder: index.load_index(folder) for name, folder in folders if name.startswith("valid/")}
    index.verify(valid, progress=progress)
    return evaluate_to(
        report_directory(params, directory),
        {loaded.card.model: loaded.network},
        images,
        protocol=PROTOCOLS[params.evaluate.protocol],
        weights={loaded.card.model: loaded.card.weights_sha256},
        test_set=f"{dataset_name(params.data)} validation",
        device=fastest_device(),
        progress=progress,
    )
