"""The flows `train-<model>`: prepare, launch Ray Train, evaluate, register.

    python -m flows.train edsr [--params params.yaml] [--set key=value …] [--only prepare|train|evaluate|register]
    prefect deployment run train-edsr
    prefect deployment run train-wdsr --param variant=b

A task is one call of the room that does the work. What a step needs of another it finds in data/, so `--only`
runs one step by itself: that is what the stages in dvc.yaml do.

A model that begins with another one of the table (`train.start: srresnet`) has two stages. Where that other model is
not published yet, the flow prepares and trains it first, by its own recipe; one that is published is taken as it is,
whatever it was trained by, since replacing it could destroy better work. Of `--set` a first stage is given what holds
for both: all but train, adversarial and model.name. `--set recipes.srresnet.train.steps=100` is for it alone.
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flows import prepare, registry, resubmit, running, track, versions, watch
from flows.champion import RegisteredVersion
from flows.launch import launch
from flows.running import flow, task
from sr_core import config
from sr_core.errors import ConfigError, SrError
from sr_core.evaluate.benchmark import EvalReport
from sr_core.evaluate.task import evaluate_task, report_directory
from sr_core.models import check_trainable
from sr_core.params import Params
from sr_core.train import checkpoint, content, run, start, weights

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
        with watch.watching(run_dir, params.task, say=say), track.shipping(run_dir, params.track, say=say):
            _launch(params, run_dir, say)
    run.publish(params, run_dir)
    return run.model_directory(params)


def _launch(params: Params, run_dir: Path, say: Callable[[str], None]) -> None:
    """Launches until all steps are done: ranks that were asked to stop, though this flow was not, were preempted."""
    shown = None if running.shows_bars() else say
    for left in range(params.launch.max_preemptions, -1, -1):
        result = launch(params, run_dir, say=shown, stop_grace_s=resubmit.stop_grace_s)
        if not result.stopped:
            return
        if left:
            say(f"a worker was preempted at step {result.step}, checkpoint written; training is launched again")
    raise SrError(
        f"{run_dir}: was preempted {params.launch.max_preemptions + 1} times, which is more than "
        f"launch.max_preemptions; the same command goes on from step {result.step}"
    )


def _is_finished(params: Params, run_dir: Path) -> bool:
    manifest = checkpoint.newest(run_dir / run.CHECKPOINTS).manifest
    return manifest is not None and manifest.step >= params.train.steps


@task(name="evaluate", timeout_seconds=12 * HOUR_S, **running.TASK)
def evaluate(params: Params) -> EvalReport:
    """Measures the published model beside bicubic, and pictures it."""
    with running.progress() as progress:
        report = evaluate_task(params, progress=progress)
    running.table_artifact(
        f"report-{params.task}",
        [
            {"image": one.image, "model": one.model, "PSNR": one.psnr, "SSIM": one.ssim, "NIQE": one.niqe}
            for one in report.scores
        ],
        f"{report.describe()}; pictures in {report_directory(params)}",
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


def _run(
    model: str, params: str, overrides: Sequence[str], steps: Sequence[versions.Step], *, above: tuple[str, ...] = ()
) -> Params:
    """The work of a flow: `steps`, and the record of them; `above` are the tasks that begin with this model."""
    running.errors_in_one_sentence()
    loaded = config.load(params, [f"model.name={model}", *overrides])
    with resubmit.when_preempted(loaded.launch.max_preemptions):
        check_trainable(loaded)
        versions.check_stage(loaded)
        if "train" in steps and content.needs_vgg(loaded):
            with running.progress() as progress:  # before hours of a first stage, not after
                content.vgg_file(loaded, progress)
        begins = registry.with_start(loaded) if {"train", "evaluate"} & set(steps) else loaded
        if {"prepare", "train"} <= set(steps):
            _train_parent(begins, params, overrides, above=(*above, loaded.task))
        for step in steps:
            STEPS[step](begins)
        running.output()(versions.record(params, loaded, steps))
    return loaded


def _train_parent(child: Params, params: str, overrides: Sequence[str], *, above: tuple[str, ...]) -> None:
    """The first stage: publishes the model that `child` begins with, if it is one of the table and not there.

    Weights at a path must be there, unless a run may have begun with them: said before hours of preparing.
    """
    name = start.parent_of(child)
    if name is None:
        if not any(run.run_directories(child)):
            start.find(child)
        return
    shared = [override for override in overrides if not override.lstrip().startswith(_OF_ONE_STAGE)]
    parent = config.load(params, [f"model.name={name}", *shared])
    place, expected = run.model_directory(parent), start.path_of(child)
    if place != expected:
        raise ConfigError(
            f"train.start: {name} means the model in {expected}, but by its own parameters it is published in "
            f"{place}; give it a recipe with adversarial.loss: none"
        )
    if parent.task in above:
        raise ConfigError(
            f"train.start: {' begins with '.join((*above, parent.task))}; expected one that begins with null"
        )
    if not place.exists():
        running.output()(f"{child.task} begins with {place}, which is not there: it is trained first")
        _run(name, params, shared, ["prepare", "train"], above=above)
    elif weights.read_card(place).params_digest != parent.digest():
        running.output()(
            f"{child.task} begins with {place} as it is, although {name} has other parameters here; "
            f"to train it anew: python -m flows.train {name}"
        )


# overrides that hold for the stage they are given to, and not for the one before it
_OF_ONE_STAGE = ("train.", "train=", "adversarial.", "adversarial=", "model.name=")


@flow(name="train-srcnn")
def train_srcnn(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered SRCNN (arXiv:1501.00092).

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("srcnn", params, overrides, versions.STEPS)


@flow(name="train-edsr")
def train_edsr(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered EDSR (arXiv:1707.02921).

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("edsr", params, overrides, versions.STEPS)


@flow(name="train-wdsr")
def train_wdsr(
    variant: Literal["a", "b"] = "a", params: str = "params.yaml", overrides: tuple[str, ...] = ()
) -> Params:
    """From photographs to a registered WDSR (arXiv:1808.08718).

    Args:
        variant: a widens the features before each ReLU, b more so with less work.
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run(f"wdsr_{variant}", params, overrides, versions.STEPS)


@flow(name="train-srresnet")
def train_srresnet(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered SRResNet (arXiv:1609.04802).

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("srresnet", params, overrides, versions.STEPS)


@flow(name="train-rrdb")
def train_rrdb(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered RRDBNet (arXiv:1809.00219), ESRGAN's generator trained without a discriminator.

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("rrdb", params, overrides, versions.STEPS)


@flow(name="train-srgan")
def train_srgan(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered SRGAN (arXiv:1609.04802); SRResNet is trained first where it is not published.

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("srgan", params, overrides, versions.STEPS)


@flow(name="train-esrgan")
def train_esrgan(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> Params:
    """From photographs to a registered ESRGAN (arXiv:1809.00219); RRDBNet is trained first where it is not published.

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as train.steps=1000.
    """
    return _run("esrgan", params, overrides, versions.STEPS)


FLOWS: Mapping[str, Callable[[str, tuple[str, ...]], Params]] = {
    "srcnn": train_srcnn,
    "edsr": train_edsr,
    "wdsr_a": functools.partial(train_wdsr, "a"),
    "wdsr_b": functools.partial(train_wdsr, "b"),
    "srresnet": train_srresnet,
    "rrdb": train_rrdb,
    "srgan": train_srgan,
    "esrgan": train_esrgan,
}


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
