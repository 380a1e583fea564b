"""The flows `train-<model>`: prepare, launch Ray Train, evaluate, register.

    python -m flows.train edsr [--params params.yaml] [--set key=value …] [--only prepare|train|evaluate|register]
    prefect deployment run train-edsr

A task is one call of the room that does the work. What a step needs of another it finds in data/, so `--only`
runs one step by itself: that is what the stages in dvc.yaml do.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import prepare, registry, running, track, versions
from flows.champion import RegisteredVersion
from flows.launch import launch
from flows.running import create_table_artifact, flow, task
from sr_core import config
from sr_core.errors import SrError
from sr_core.evaluate.benchmark import EvalReport
from sr_core.evaluate.task import evaluate_task, report_directory
from sr_core.models import check_trainable
from sr_core.params import Params
from sr_core.train import checkpoint, run

HOUR_S = 3600.0


# no timeout and no retries: the collectives have the one, and Ray the others
@task(name="train", **running.TASK)
def train(params: Params) -> Path:
    """Trains with Ray, ships the curves to MLflow meanwhile, and publishes the best model; returns its directory."""
    run_dir = run.current_directory(params)
    say = running.output()
    if _is_finished(params, run_dir):
        say(f"{run_dir} has all of its {params.train.steps} steps")
    else:
        with track.shipping(run_dir, params.track, say=say):
            result = launch(params, run_dir, say=None if running.shows_bars() else say)
        if result.stopped:
            raise SrError(f"{run_dir}: was asked to stop at step {result.step}; the same command goes on from there")
    run.publish(params, run_dir)
    return run.model_directory(params)


def _is_finished(params: Params, run_dir: Path) -> bool:
    manifest = checkpoint.newest(run_dir / run.CHECKPOINTS).manifest
    return manifest is not None and manifest.step >= params.train.steps


@task(name="evaluate", timeout_seconds=12 * HOUR_S, **running.TASK)
def evaluate(params: Params) -> EvalReport:
    """Measures the published model beside bicubic, and pictures it."""
    with running.progress() as progress:
        report = evaluate_task(params, progress=progress)
    create_table_artifact(
        key=f"report-{params.task}",
        table=[{"image": one.image, "model": one.model, "PSNR": one.psnr, "SSIM": one.ssim} for one in report.scores],
        description=f"{report.describe()}; pictures in {report_directory(params)}",
    )
    return report


@task(name="register", timeout_seconds=HOUR_S / 4, **running.RETRIES, **running.TASK)
def register(params: Params) -> RegisteredVersion:
    """Puts model and report into MLflow's registry, where the better version is champion."""
    version = registry.register(params, run.model_directory(params), report_directory(params))
    running.output()(f"registered {version.name} version {version.version}: {version.reason}")
    return version


STEPS: Mapping[versions.Step, Any] = {
    "prepare": prepare.prepare,
    "train": train,
    "evaluate": evaluate,
    "register": register,
}


def _run(model: str, params: str, overrides: Sequence[str], steps: Sequence[versions.Step]) -> Params:
    """The work of a flow: `steps`, and the record of them."""
    running.errors_in_one_sentence()
    loaded = config.load(params, [f"model.name={model}", *overrides])
    check_trainable(loaded)
    versions.check_stage(loaded)
    for step in steps:
        STEPS[step](loaded)
    running.output()(versions.record(params, loaded, steps))
    return loaded


@flow(name="train-edsr")
def train_edsr(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered EDSR (arXiv:1707.02921).

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("edsr", params, overrides, versions.STEPS)


FLOWS = {"edsr": train_edsr}


@flow(name="train-step", flow_run_name="{step}-{model}")
def train_step(model: str, step: versions.Step, params: str, overrides: tuple[str, ...]) -> Params:
    """One step of a train flow by itself."""
    return _run(model, params, overrides, [step])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a flow, or one step of it, without a server set up; returns the exit code."""
    parser = running.parser("flows.train", "from photographs to a registered model")
    parser.add_argument("model", choices=sorted(FLOWS), help="the network")
    parser.add_argument("--only", choices=versions.STEPS, help="one step by itself")
    given = parser.parse_args(argv)
    overrides = tuple(given.set)

    def call() -> None:
        if given.only:
            train_step(given.model, given.only, given.params, overrides)
        else:
            from flows.farewell import show

            show(FLOWS[given.model](given.params, overrides))

    return running.run(given, call)


if __name__ == "__main__":
    sys.exit(main())
