"""The verb `evaluate`: on this process or on each rank, a task's own images or folders of test images."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sr_core.errors import ConfigError
from sr_core.evaluate.folder import BICUBIC, OpenModel, evaluate_folders
from sr_core.evaluate.learned import OFF
from sr_core.evaluate.records import EvalReport
from sr_core.evaluate.tables import summary, table
from sr_core.evaluate.task import evaluate_task, report_directory
from sr_core.params import Params
from sr_core.progress import QUIET, Progress, console
from sr_core.train.run import model_directory
from sr_core.train_params import ProtocolName
from sr_core.world import World, open_world


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for; None and nothing stand for the default."""

    models: Sequence[Path] | None = None
    images: Sequence[str] | None = None  # folders; None: the task's validation images
    degradations: Sequence[str] | None = None
    protocol: ProtocolName | None = None
    ensemble: bool = False
    output: Path | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of --set alone, by section

    def __post_init__(self) -> None:
        """Refuses options that do not go together.

        Raises:
            ConfigError: says the first of them.
        """
        for name, given in (("output", self.output), ("degradation", self.degradations)):
            if given and not self.images:
                raise ConfigError(f"--{name}: goes with --images; the report on a task has its place in data/reports")
        if not self.images and len(self.models or ()) > 1:
            raise ConfigError("--model: several go with --images; a task has one model")


def run(request: Request, params: Params, open_model: OpenModel | None = None) -> None:
    """Measures what is asked for, writes the reports and prints their tables, on the first rank.

    `open_model` opens the models that are measured on folders (None: those that lie here).

    Raises:
        SrError: as `evaluate_task` and `evaluate_folders`.
    """
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(open_world(timeout_s=params.train.collective_timeout_s))
        progress = stack.enter_context(console()) if world.is_first else QUIET
        measured = _measured(request, params, open_model, world, progress)
    if world.is_first:
        _show(request, params, measured)


def _measured(
    request: Request, params: Params, open_model: OpenModel | None, world: World, progress: Progress
) -> Sequence[tuple[EvalReport, Path]]:
    models = request.models or [model_directory(params)]
    if request.images:
        return evaluate_folders(
            request.images,
            models,
            params,
            scale=request.changes.get("data", {}).get("scale"),
            protocol=request.protocol or request.changes.get("evaluate", {}).get("protocol"),
            degradations=request.degradations or (BICUBIC,),
            ensemble=request.ensemble,
            output=request.output,
            open_model=open_model,
            world=world,
            progress=progress,
        )
    if request.protocol:
        params = dataclasses.replace(params, evaluate=dataclasses.replace(params.evaluate, protocol=request.protocol))
    report = evaluate_task(params, model_dir=models[0], ensemble=request.ensemble, world=world, progress=progress)
    return [(report, report_directory(params, models[0]))]


def _show(request: Request, params: Params, measured: Sequence[tuple[EvalReport, Path]]) -> None:
    screen = Console()
    for report, _ in measured:
        screen.print(table(report))
    if len(measured) > 1:
        screen.print(summary([report for report, _ in measured]))
    if request.images and not params.evaluate.lpips_weights:
        print(OFF)
    for _, directory in measured:
        print(f"report and pictures: {directory}")
