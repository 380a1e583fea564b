"""The flow `prepare-data`: photographs, verified, and the shards that training reads.

    python -m flows.prepare [--params params.yaml] [--set key=value …]
    prefect deployment run prepare-data

Each task is one call of sr_core, which does nothing where the right files are there already.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from flows import resubmit, running, shard_tasks, versions
from flows.running import flow, task
from sr_core import config
from sr_core.params import Params

HOUR_S = 3600.0


@task(name="photographs", timeout_seconds=12 * HOUR_S, **running.RETRIES, **running.TASK)
def photographs(params: Params) -> Path:
    """Brings the data set to data/raw."""
    from sr_core.data import sources

    with running.progress() as progress:
        return sources.materialise(params.data, progress=progress)


@task(name="shards", timeout_seconds=12 * HOUR_S, **running.TASK)
def shards(params: Params) -> str:
    """Cuts the photographs into shards with Ray; returns the data version."""
    return shard_tasks.build(params, say=None if running.shows_bars() else running.output())


def prepare(params: Params) -> str:
    """Both tasks, in a flow; returns the data version."""
    photographs(params)
    return shards(params)


@flow(name="prepare-data")
def prepare_data(params: str = "params.yaml", overrides: tuple[str, ...] = ()) -> str:
    """Photographs to shards; returns the data version.

    Args:
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as data.scale=2.
    """
    running.errors_in_one_sentence()
    loaded = config.load(params, overrides)
    with resubmit.when_preempted(loaded.launch.max_preemptions):
        versions.check_stage(loaded)
        version = prepare(loaded)
        running.output()(versions.record(params, loaded, ["prepare"]))
    return version


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the flow without a server set up; returns the exit code."""
    given = running.parser("flows.prepare", "photographs to shards").parse_args(argv)
    return running.run(given, lambda: prepare_data(given.params, tuple(given.set)))


if __name__ == "__main__":
    sys.exit(main())
