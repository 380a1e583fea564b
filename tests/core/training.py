"""A training job of seconds on made-up photographs."""

import dataclasses
from pathlib import Path

import torch
from photos import CROP, params_for, write_folder

from sr_core.data.patches import Dataset, open_dataset
from sr_core.data.shards import build
from sr_core.params import AdversarialParams, ModelParams, Params, TrainParams
from sr_core.progress import QUIET
from sr_core.train import loop, run
from sr_core.world import World

STEPS = 12
Job = tuple[Params, Dataset]


def made_against(root: Path, loss: str = "vanilla", **adversarial) -> Job:
    """The same with the smallest discriminator, and without VGG-19."""
    fields = {"discriminator_features": 4, "discriminator_dense": 8, "content": "pixel"} | adversarial
    return made(root, crop=16, adversarial=AdversarialParams(loss=loss, **fields))


def made(root: Path, *, crop: int = CROP, adversarial: AdversarialParams | None = None, **train) -> Job:
    """Parameters and data of a job whose data lie below `root`."""
    fields = {"steps": STEPS, "batch": 4, "lr": 1e-3, "lr_milestones": (5, 9), "ema_decay": 0.9, "num_threads": 1}
    fields |= {"log_every": 3, "eval_every": 4, "eval_images": 2, "checkpoint_every": 3} | train
    params = Params(
        data=params_for(root, write_folder(root / "photos", [(40, 48), (48, 56), (56, 40), (60, 44)]), crop=crop),
        model=ModelParams(name="edsr", preset="small", options={"num_blocks": 1, "num_features": 8}),
        train=TrainParams(**fields),
        adversarial=adversarial or AdversarialParams(),
    )
    build(params.data, progress=QUIET)
    return params, open_dataset(params.data, verify=True)


def with_train(params: Params, **train) -> Params:
    return dataclasses.replace(params, train=dataclasses.replace(params.train, **train))


def go(params: Params, dataset: Dataset, run_dir: Path, **others) -> loop.RunResult:
    """Trains in this process."""
    return loop.train(params, World(), run_dir, dataset=dataset, **others)


def digest(run_dir: Path) -> str:
    """The sha256 of the newest checkpoint's tensors."""
    manifest = run.checkpoint.newest(run_dir / run.CHECKPOINTS).manifest
    return manifest.files[run.checkpoint.STATE].sha256


def tensors(run_dir: Path) -> dict[str, torch.Tensor]:
    """Those of the newest checkpoint."""
    return run.checkpoint.load_tensors(run.checkpoint.newest(run_dir / run.CHECKPOINTS).path)


def asked_at(number):
    """Asks to stop in the step after `number` steps."""
    calls = iter(range(STEPS))
    return lambda: next(calls) >= number
