"""A run directory: where it is, who may write to it, what it was started with, and what it leaves behind.

    data/runs/<model>-x<S>-<degradation>-<8 digits>/
        params.json   metrics.jsonl   checkpoints/step-N/   best/step-N/

The name's digits are those of the parameters' and the data's digests, and of the weights that the run began with:
relaunching the same command finds its run, and other parameters, data or weights find another.

`--run DIR` names one instead: what it was started with is then held against what is asked for now, key by key.

Those weights are read at step 0 only. Where they are gone afterwards, their sha256 is taken from params.json of the one
run that these parameters began with them on this data; where several did, the command cannot know which is meant.
"""

import contextlib
import dataclasses
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sr_core import config, files
from sr_core.data import sync
from sr_core.errors import CheckpointError, ConfigError, ShardError
from sr_core.models.card import Card
from sr_core.train import checkpoint, metrics_log, start
from sr_core.train.weights import load_model, save_model
from sr_core.upscale import settled
from sr_core.world import World

CHECKPOINTS, BEST, PARAMS = checkpoint.CHECKPOINTS, checkpoint.BEST, "params.json"


def run_directory(params: config.Params, data_digest: str) -> Path:
    """The directory of the run that `params` on this data is.

    Raises:
        CheckpointError: the weights to begin with are not there, and no run tells which they were.
        ConfigError: they are in MLflow's registry, or what the run itself publishes.
    """
    try:
        begun = start.find(params)
    except CheckpointError:
        former = [path for path in run_directories(params) if _began(path / PARAMS, params, data_digest)]
        if len(former) != 1:
            raise
        return former[0]
    digits = files.digest_of([params.digest(), data_digest, *([begun.sha256] if begun else [])])[:8]
    return _runs(params) / f"{params.task}-{digits}"


def run_directories(params: config.Params) -> list[Path]:
    """The directories of all runs of `params.task`, by whatever other parameters."""
    return sorted(path.parent for path in _runs(params).glob(f"{params.task}-*/{PARAMS}"))


def _runs(params: config.Params) -> Path:
    return Path(params.data.root) / "runs"


def _began(path: Path, params: config.Params, data_digest: str) -> bool:
    """Whether params.json at `path` is of `params` on this data, whatever the weights at `train.start` were then."""
    try:
        stored = json.loads(path.read_text())
        return bool(
            (stored["params_digest"], stored["data_digest"]) == (params.digest(), data_digest)
            and stored["start"]["given"] == start.given(params)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def current_directory(params: config.Params, given: Path | None = None) -> Path:
    """That which was `given`, or the directory of the run that `params` on the shards as they stand is.

    Reads the shards' indexes only. With a remote store, the shards are those that stand there.

    Raises:
        ShardError: the shards are absent or do not belong together.
        RemoteError: the remote store cannot be reached or refuses.
        ConfigError, CheckpointError: as `given_directory`.
    """
    return given_directory(params, given) if given else run_directory(params, sync.data_digest(params))


def given_directory(params: config.Params, given: Path) -> Path:
    """The run directory that `--run` names, for which no data need be looked at.

    Raises:
        ConfigError: it is none.
        CheckpointError: it was started with other parameters (names the first differing key and both values).
    """
    if (given / PARAMS).is_file():
        _check_params(given, _read_start(given).params, params)
    elif params.storage.remote is None:  # otherwise it may lie there
        raise ConfigError(
            f"--run {given}: is no run directory, expected one that holds {PARAMS}, such as "
            f"{_runs(params) / params.task}-1234abcd; without --run a new run makes its own"
        )
    return given.absolute()


def model_directory(params: config.Params) -> Path:
    """Where the finished model of `params.task` is published."""
    return Path(params.data.root) / "models" / params.task


def git_commit() -> str | None:
    """The commit of this code, with `-dirty` if tracked files differ from it; None outside a git checkout."""
    here = str(Path(__file__).parent)
    command = ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


@contextlib.contextmanager
def owned(run_dir: Path, world: World) -> Iterator[None]:
    """Holds `run_dir` for this group of ranks alone; BusyError on every rank if another process has it."""
    with contextlib.ExitStack() as stack:
        world.on_first(lambda: stack.enter_context(files.lock_directory(run_dir)))
        yield


def check_same_data(world: World, data_digest: str) -> None:
    """Raises ShardError on every rank if one of them holds other data than rank 0, naming both and its host."""
    held = world.gathered((socket.gethostname(), data_digest))
    for rank, (host, digest) in enumerate(held):
        if digest != held[0][1]:
            raise ShardError(
                f"rank {rank} on host {host}: holds data {digest[:8]}, and rank 0 on host {held[0][0]} holds data "
                f"{held[0][1][:8]}; expected the same shards on every host: bring them from one host to the others, or "
                "build them anew on this one"
            )


def check_identity(run_dir: Path, params: config.Params, data_digest: str) -> str | None:
    """Writes down what a new run is started with; of an old one, checks that it is still that.

    Returns the sha256 of the weights that the run begins with, or None.

    Raises:
        CheckpointError: the parameters, the data or the weights to begin with differ (names the first differing key
            and both values), what was written down is damaged, or a new run's weights to begin with are not there.
    """
    own = {"params": config.to_dict(params), "params_digest": params.digest(), "data_digest": data_digest}
    path = run_dir / PARAMS
    if not path.exists():
        begun = start.find(params)
        given = {"start": {"given": begun.given, "sha256": begun.sha256}} if begun else {}
        files.write_atomic(path, files.to_json(own | given))
        return begun.sha256 if begun else None
    stored = _read_start(run_dir)
    _check_params(run_dir, stored.params, params)
    if stored.data_digest != data_digest:
        key, was, now = _first_difference(_of_data(stored.params), _of_data(params), "data.")
        raise CheckpointError(
            f"{run_dir}: was started on data {stored.data_digest[:8]}, the shards are now {data_digest[:8]}"
            f"{f' ({key} was {was!r}, now it is {now!r})' if key else ''}; "
            "start another run, or bring the shards back"
        )
    if (now_start := _start_now(params, stored.start)) != stored.start:
        was, now = (each[:8] if each else "none" for each in (stored.start, now_start))
        raise CheckpointError(
            f"{run_dir}: was started with weights {was}, those of train.start are now {now}; start another run"
        )
    return stored.start


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Started:
    """What params.json says that a run was started with."""

    params: config.Params
    data_digest: str
    start: str | None  # the sha256 of the weights that it began with


def _read_start(run_dir: Path) -> _Started:
    path = run_dir / PARAMS
    try:
        stored = json.loads(path.read_text())
        return _Started(
            params=config.from_dict(stored["params"]),
            data_digest=stored["data_digest"],
            start=stored["start"]["sha256"] if "start" in stored else None,
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({type(error).__name__}), expected what the run was started with; "
            "bring the file back, or delete the run directory to start again"
        ) from None


def _check_params(run_dir: Path, was: config.Params, now: config.Params) -> None:
    if was.digest() != now.digest():
        key, old, new = _first_difference(_compared(was), _compared(now))
        raise CheckpointError(f"{run_dir}: was started with {key} {old!r}, now it is {new!r}; start another run")


def _start_now(params: config.Params, was: str | None) -> str | None:
    """The sha256 of the weights that `params` begin with; `was` if they are gone."""
    try:
        begun = start.find(params)
    except CheckpointError:
        return was
    return begun.sha256 if begun else None


def _compared(params: config.Params) -> dict[str, Any]:
    """What may not change, with the key that says whether there is a discriminator in any case."""
    return {"adversarial": {"loss": params.adversarial.loss}, **params.digested()}


def _of_data(params: config.Params) -> dict[str, Any]:
    """What may make other data, whichever folder a launcher runs in."""
    values = config.to_dict(params.data.with_absolute_paths())
    return {key: value for key, value in values.items() if key not in _WHERE_AND_HOW}


_WHERE_AND_HOW = {"root", "mirror", "archives", "downloads", "keep_archives", "max_pixels", "num_writers"}


def _first_difference(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> tuple[str, Any, Any]:
    for key in {**now, **was}:
        if isinstance(now.get(key), Mapping) and isinstance(was.get(key), Mapping):
            found = _first_difference(was[key], now[key], f"{prefix}{key}.")
            if found[0]:
                return found
        elif was.get(key) != now.get(key):
            return f"{prefix}{key}", was.get(key), now.get(key)
    return "", None, None


def save_best(run_dir: Path, weights: Mapping[str, Tensor], card: Card) -> None:
    """Keeps the best weights so far as a model directory; older ones stay until `drop_former_best`."""
    save_model(best_directory(run_dir, card.step), weights, card, {})


def best_directory(run_dir: Path, step: int) -> Path:
    """Where the best weights are kept if they are those of `step`."""
    return run_dir / BEST / f"step-{step:08d}"


def drop_former_best(run_dir: Path) -> None:
    """Deletes best weights from before those that the oldest kept checkpoint speaks of: the run may go back to it."""
    oldest = checkpoint.oldest(run_dir / CHECKPOINTS)
    if oldest is None or oldest.best_step is None:
        return
    for path in (run_dir / BEST).glob("step-*"):
        if path.name < best_directory(run_dir, oldest.best_step).name:
            shutil.rmtree(path)


def publish(params: config.Params, run_dir: Path) -> Card:
    """Makes the run's best model the task's published one (data/models/<task>) and returns its card.

    The card says from now on in which precision and tile the model is used. Beside weights and card lie the curves for
    plots: training.json (loss, learning rate) and validation.json (PSNR in dB), each a list of values by step.
    """
    found = checkpoint.newest(run_dir / CHECKPOINTS)
    if found.manifest is None or found.manifest.best_step is None or found.manifest.step < params.train.steps:
        step = found.manifest.step if found.manifest else 0
        raise CheckpointError(f"{run_dir}: is at step {step} of {params.train.steps}; finish it before publishing")
    try:
        loaded = load_model(best_directory(run_dir, found.manifest.best_step))
    except CheckpointError as error:
        raise CheckpointError(
            f"{run_dir}: its best weights are damaged; delete this directory and train again ({error})"
        ) from None
    # a file for each: DVC plots a list of values only if all have the same names
    curves = {
        "training.json": files.to_json(_curve(run_dir, {"loss": "train/loss", "learning_rate": "train/lr"})),
        "validation.json": files.to_json(_curve(run_dir, {"psnr": "valid/psnr"})),
    }
    target = model_directory(params)
    with files.lock_directory(Path(params.data.root) / ".locks" / f"model-{target.name}"):
        return save_model(target, loaded.network.state_dict(), settled(loaded.card, loaded.network), curves)


def _curve(run_dir: Path, names: Mapping[str, str]) -> list[dict[str, float]]:
    """The logged values called `names` in the log, wherever all of them were logged."""
    return [
        {"step": event.step, **{name: event.values[logged] for name, logged in names.items()}}
        for event in metrics_log.read(run_dir)
        if event.values.keys() >= set(names.values())
    ]
