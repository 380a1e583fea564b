"""Ray Train, and only here: the same loop as everywhere, run by Ray's workers.

    python -m flows.launch [--params params.yaml] [--set key=value …]

Ray places the workers, opens their process group and restarts them when one is lost; it gets metrics, never our
checkpoints: a new group goes on from the run directory, as any relaunch does (docs/architecture.md, decision 4). The
driver is a child process of whoever calls `launch`; see flows/driver.py.
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import cluster, courier, notice, workers
from flows.courier import Post
from flows.driver import FAILURE, LOGS, drive, interrupted, main_of_child
from flows.launch_files import FLUSH_EVERY_S, FileProgress, LaunchFiles, Replay
from sr_core import config, faults, files, remote
from sr_core.data import sync
from sr_core.data.patches import Dataset, open_dataset
from sr_core.errors import STOPPED, ConfigError, GroupError, SrError, explained
from sr_core.extras import require
from sr_core.launch_params import LaunchParams
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train import lease, remote_run, start
from sr_core.train.loop import RunResult, train
from sr_core.world import World, open_world

STOP_GRACE_S = 600.0  # for a step and a checkpoint; whoever stops a job has a bound of its own
AGREE_S = 3.0  # for all ranks to say that they met an error


def launch(
    params: Params,
    run_dir: Path,
    *,
    say: Callable[[str], None] | None,
    stop_grace_s: Callable[[], float] = lambda: STOP_GRACE_S,
) -> RunResult:
    """Trains in `run_dir` in a child process and returns how it ended; nothing of it is left on leaving.

    `say` gets what the child prints, line by line; None lets the child print for itself (bars, on a terminal). When
    interrupted, the ranks have `stop_grace_s()` seconds for a step and a checkpoint. A result that says `stopped`
    without that: a node that is about to go has asked one of them (flows/notice.py).

    Raises:
        SrError: the error that a rank or the driver met, of its own kind; or Ray was lost for more than
            `launch.max_failures` times.
    """
    require("ray", "pipeline")
    with LaunchFiles.make(run_dir) as launch_files, remote_run.followed(params, run_dir):
        values = drive(
            "flows.launch",
            params,
            launch_files,
            what=f"training in {run_dir}",
            goes_on="from the last checkpoint",
            say=say,
            stop_grace_s=stop_grace_s,
        )
    if params.storage.remote is not None:
        _bring(params, run_dir, say or print)
    return RunResult(**{**values, "run_dir": Path(values["run_dir"])})


def _bring(params: Params, run_dir: Path, say: Callable[[str], None]) -> None:
    """What the run's rank 0 has left, which may have had another disk than this process."""
    assert params.storage.remote is not None, "the caller looks"
    store = remote.open_store(params.storage.remote, params.storage.endpoint)
    with files.lock_directory(run_dir):
        remote_run.bring(store, run_dir, say)


def train_on_ray(params: Params, launch_files: LaunchFiles, progress: Progress) -> None:
    """Trains in the run directory of `launch_files` with Ray as driven by this process.

    Raises:
        SrError: the error that a rank met; the workers were lost more than `launch.max_failures` times; Ray's
            cluster cannot be reached or has no room.
    """
    require("ray.train", "pipeline")
    asked, run_dir = params.launch, launch_files.directory.parent
    address = cluster.address_of(asked.address)
    own = address == "local"
    progress.start(f"starting Ray with {asked.num_workers} workers")
    with cluster.connected(address, run_dir / LOGS, resources=workers.in_all(asked)) as ray:
        workers.wait_for_room(
            asked, lambda: workers.live(ray), wait_s=0.0 if own else workers.ROOM_WAIT_S, say=progress.say
        )
        settings = {
            "params": config.to_dict(with_absolute_paths(params)),
            "directory": str(launch_files.directory),
            "launcher": {"host": socket.gethostname(), "pid": os.environ.get(files.LAUNCHER_PID, str(os.getpid()))},
            "niceness": os.getpriority(os.PRIO_PROCESS, 0),
            "own": own,
            "post": launch_files if own else courier.start(ray, launch_files),
        }
        asked_by_signal = notice.passed_on(launch_files.stop.touch, launch_files.is_asked_to_stop)
        with _shown(launch_files.progress, progress), asked_by_signal:
            try:
                workers.trainer(_rank, params, settings, launch_files.directory / "ray").fit()
                failure = None
            except ray.train.TrainingFailedError as error:
                if workers.is_lost_at_start(error):
                    raise  # ends this driver, and another is started (flows/driver.py)
                failure = error
        room = ray.cluster_resources()
    if launch_files.read_result() is None or failure is not None:
        raise SrError(_sentence(failure, params.launch, room, run_dir))


def with_absolute_paths(params: Params) -> Params:
    """The same for workers, which may have another working directory."""
    vgg = params.adversarial.vgg_weights
    return dataclasses.replace(
        params,
        data=params.data.with_absolute_paths(),
        train=dataclasses.replace(params.train, start=start.given(params)),
        adversarial=dataclasses.replace(params.adversarial, vgg_weights=vgg and str(Path(vgg).absolute())),
    )


def _rank(settings: dict[str, Any]) -> None:
    """What each worker runs. What a restart cannot help is left with the driver: Ray would restart the group for it."""
    faults.point("import")
    post: Post = settings["post"]
    params = config.from_dict(settings["params"])
    cluster.go_first(own=settings["own"], niceness=settings["niceness"])
    os.environ[lease.LAUNCH] = f"{settings['launcher']['pid']}-{settings['launcher']['host']}"
    if settings["launcher"]["host"] == socket.gethostname():
        os.environ[files.LAUNCHER_PID] = settings["launcher"]["pid"]
    with open_world(timeout_s=params.train.collective_timeout_s, use_gpu=params.launch.use_gpu) as world:
        if world.on_first(post.num_failures):
            return
        try:
            world.on_all(lambda: _check_disk(params, Path(settings["directory"]), settings["launcher"]["host"]))
            result = _train(params, world, Path(settings["directory"]).parent, post)
        except GroupError:
            raise  # a rank hangs or was lost: Ray starts the group again
        except (SrError, OSError) as error:
            post.write_failure(f"rank{world.rank}", explained(error))
            if not _all_failed(post, world):
                raise  # the others wait in a collective: Ray ends them, and the next group returns above
            return
        if world.is_first:
            post.write_result({**dataclasses.asdict(result), "run_dir": str(result.run_dir)})


def _check_disk(params: Params, directory: Path, driver: str) -> None:
    """Without a remote store every rank reads and writes the driver's disk."""
    if params.storage.remote is None and not directory.is_dir():
        raise ConfigError(
            f"storage.remote: is null, and host {socket.gethostname()} does not see {directory.parent} of host "
            f"{driver}; expected a data.root that all hosts share, or a store that they reach (s3://bucket/prefix)"
        )


def _all_failed(post: Post, world: World) -> bool:
    deadline = time.monotonic() + AGREE_S
    while post.num_failures() < world.size and time.monotonic() < deadline:
        time.sleep(0.05)
    return post.num_failures() == world.size


def _train(params: Params, world: World, run_dir: Path, post: Post) -> RunResult:
    import ray.train

    host = socket.gethostname()
    progress: Progress = FileProgress(post.append_progress) if world.is_first else QUIET
    verified = world.on_first(post.verified_hosts)

    def opened(first_here: bool) -> Dataset:
        first = first_here and host not in verified
        # what was brought has been verified
        dataset = open_dataset(params.data, verify=first and params.storage.remote is None, progress=progress)
        if first:
            post.mark_verified(host)
        return dataset

    sync.bring(params, world, verify=host not in verified, progress=progress)
    dataset = world.on_each_host(opened)
    faults.point("shard_open")
    if verified:
        progress.say(f"a worker was lost or has come: Ray started a group of {world.size}")
    with courier.stopping(post, is_first=world.is_first) as should_stop:
        result = train(
            params,
            world,
            run_dir,
            dataset=dataset,
            observe=lambda step, values: ray.train.report({"step": step, **values}),
            progress=progress,
            should_stop=lambda: notice.came() or should_stop(),
        )
    if isinstance(progress, FileProgress):
        progress.flush()
    return result


@contextlib.contextmanager
def _shown(path: Path, progress: Progress) -> Iterator[None]:
    """Shows on `progress` what rank 0 writes to `path`."""
    replay, ended = Replay(path, progress), threading.Event()

    def follow() -> None:
        while not ended.wait(FLUSH_EVERY_S):
            replay()
        replay()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def _sentence(failure: Exception | None, launch: LaunchParams, room: Mapping[str, float], run_dir: Path) -> str:
    """One sentence on a failure that no rank has explained; all that Ray says goes to a file."""
    each = workers.resources(launch)
    wanted = f"{launch.num_workers} workers with {', '.join(f'{amount:g} {kind}' for kind, amount in each.items())}"
    found = ", ".join(f"{room.get(kind, 0):g} {kind}" for kind in {"CPU": 1, "GPU": 1, **each})
    ranks: Mapping[int, Exception] = getattr(failure, "worker_failures", {})
    if ranks:
        rank, error = min(ranks.items())
        reason = (
            f"rank {rank} failed after {launch.max_failures} restarts: {type(error).__name__}: {_first_line(error)}"
        )
    elif failure is not None:
        reason = f"Ray could not start {wanted} each (the cluster has {found}, which others may hold)"
    else:
        reason = "the ranks ended without a result"
    details = run_dir / FAILURE
    files.write_atomic(details, "".join(traceback.format_exception(failure)) if failure else reason)
    return f"training in {run_dir}: {reason}; details in {details}; the same command goes on from the last checkpoint"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and publishes the model; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.launch", description="train with Ray Train")
    parser.add_argument("--params", default="params.yaml", help="the parameters (default: params.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one, as train.lr=1e-4")
    parser.add_argument("--run", type=Path, help="go on in this run directory (default: that of the parameters)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        launch_files = LaunchFiles(directory=arguments.child)
        return main_of_child(launch_files, lambda params, progress: train_on_ray(params, launch_files, progress))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _main(config.load(arguments.params, arguments.set), arguments.run)
    except (SrError, OSError) as error:
        print(f"train: {explained(error)}", file=sys.stderr)
        return explained(error).exit_code
    except KeyboardInterrupt:
        print(f"train: {interrupted()}; the same command goes on from there", file=sys.stderr)
        return STOPPED


def _main(params: Params, given: Path | None) -> int:
    from sr_core.models import check_trainable
    from sr_core.train import run

    check_trainable(params)
    run_dir = run.current_directory(params, given)
    result = launch(params, run_dir, say=None)
    if result.stopped:
        print(f"train: stopped at step {result.step}, checkpoint written; the same command goes on from there")
        return STOPPED
    run.publish(params, run_dir)
    print(f"finished: {run.model_directory(params)} (run {run_dir})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
