"""Shards built by Ray, and only here: the tasks of `sr_core.data.shards.build`, on as many cores as a cluster has.

Each task is a group of photographs, and what it writes is decided by the task alone: neither the number of workers
nor a repetition changes a byte. A task whose worker is lost runs again; only a few more tasks than there are cores
are known to Ray at a time. Several hosts need the photographs and data.root at the same place. With a remote store
(`storage.remote`) they need nothing: the shards are built by this host's own Ray and pushed there.

Ray is started once there is something to write, and not by the process that asks for shards; see flows/driver.py.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from flows import cluster
from flows.driver import LOGS, drive, main_of_child
from flows.launch_files import LaunchFiles
from sr_core.data import shards, sync
from sr_core.data.sources import dataset_name
from sr_core.errors import ConfigError, ShardError
from sr_core.extras import require
from sr_core.launch_params import LaunchParams
from sr_core.params import Params
from sr_core.progress import Progress

AHEAD = 2  # tasks that Ray knows of, for each core

Task = TypeVar("Task")
Result = TypeVar("Result")


def build(params: Params, *, say: Callable[[str], None] | None) -> str:
    """Makes the shards for `params` complete in a child process and returns the data version.

    `say` gets what the child prints, line by line; None lets the child print for itself (bars, on a terminal).

    Raises:
        SrError: as `sr_core.data.shards.build`; or Ray or its workers were lost more than `launch.max_failures` times.
    """
    require("ray", "pipeline")
    name = f"{dataset_name(params.data)}-x{params.data.scale}"
    with LaunchFiles.make(Path(params.data.root) / ".locks" / f"ray-{name}") as launch_files:
        what, goes_on = f"building the shards of {name}", "with what is missing"
        values = drive(
            "flows.shard_tasks", params, launch_files, what=what, goes_on=goes_on, say=say, stop_grace_s=lambda: 0.0
        )
    return str(values["digest"])


def on_ray(launch: LaunchParams, *, num_writers: int, logs: Path, progress: Progress) -> shards.RunTasks:
    """Runs tasks on the cluster at `launch.address`, or on one of our own with `num_writers` cores."""

    def run(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        if not tasks:
            return
        address = cluster.address_of(launch.address)
        where = f"with {num_writers} writers" if address == "local" else f"at {address}"
        progress.say(f"starting Ray {where}")
        with cluster.connected(address, logs, resources={"CPU": min(num_writers, len(tasks))}) as ray:
            num_cores = int(ray.cluster_resources().get("CPU", 0))
            if not num_cores:
                raise ConfigError(f"launch.address: the cluster at {address} has no CPU to give; add a node to it")
            yield from _results(ray, function, tasks, most=AHEAD * num_cores, max_retries=launch.max_failures)

    return run


def _results(
    ray: Any, function: Callable[[Task], Result], tasks: Sequence[Task], *, most: int, max_retries: int
) -> Iterator[Result]:
    """As they come; at most `most` tasks are submitted and not yet done."""
    remote = ray.remote(num_cpus=1, max_retries=max_retries)(function)
    waiting = iter(tasks)
    submitted: list[Any] = []  # Ray's references to their results
    while True:
        submitted += [remote.remote(task) for task in itertools.islice(waiting, most - len(submitted))]
        if not submitted:
            return
        (done, *_), submitted = ray.wait(submitted)
        try:
            yield ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what the task itself met
        except ray.exceptions.RayError as error:
            raise ShardError(
                f"launch.max_failures: a process that writes shards was lost {max_retries + 1} times "
                f"({type(error).__name__}), perhaps for want of memory: lower data.num_writers or data.shard_bytes "
                "and run the same command again; what is finished is kept"
            ) from None


def _build(launch_files: LaunchFiles, params: Params, progress: Progress) -> None:
    logs, launch = launch_files.directory.parent / LOGS, params.launch
    if params.storage.remote is not None:  # a cluster's hosts do not see the photographs here
        launch = dataclasses.replace(launch, address="local")
    run_tasks = on_ray(launch, num_writers=params.data.num_writers, logs=logs, progress=progress)
    version = shards.build(params.data, progress=progress, run_tasks=run_tasks)
    sync.push(params, progress=progress)
    launch_files.write_result({"digest": version.digest})


def main(argv: Sequence[str] | None = None) -> int:
    """What the child process runs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.shard_tasks", description="part of flows.prepare")
    parser.add_argument("--child", type=Path, required=True, help="where the launcher left the parameters")
    launch_files = LaunchFiles(directory=parser.parse_args(argv).child)
    return main_of_child(launch_files, lambda params, progress: _build(launch_files, params, progress))


if __name__ == "__main__":
    sys.exit(main())
