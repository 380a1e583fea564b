"""MLflow's runs: ships what a training wrote, while it goes on and after an outage.

    python -m flows.track ship data/runs/edsr-x4-bicubic-1a2b3c4d     # after an outage

Training never waits for MLflow: the loop appends metrics.jsonl, and `shipping` reads it in a thread of the parent
process. A server that is down costs one short health check and one warning; what is missing is shipped when it is
back, by whoever ships next. Nothing is shipped twice: a cursor file in the run directory holds the last step that
the server has of every metric. It is away while a request is on its way; where it is not there, or of another run, the
server is asked. Every point keeps the time at which training wrote it, by which MLflow's SQL store knows it again.

A training is one MLflow run, found by the tag `sr.run`, the name of its run directory. A server that did not answer in
time may have made a second one all the same: the one that holds metrics counts, and the empty one is deleted.
"""

import argparse
import contextlib
import fcntl
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.follow import Outcome, following
from serving.store import connect, explained, shown
from sr_core import config, files
from sr_core.errors import SrError
from sr_core.launch_params import TrackParams
from sr_core.train import metrics_log, run

RUN_TAG = "sr.run"
CURSOR = "mlflow.json"
SHIP_EVERY_S = 5.0
MOST_PER_REQUEST = 1000  # MLflow's limit


@contextlib.contextmanager
def shipping(
    run_dir: Path, track: TrackParams, *, say: Callable[[str], None] = print, every_s: float = SHIP_EVERY_S
) -> Iterator[None]:
    """Ships what training writes to `run_dir` until the block is left, and then the rest; raises nothing itself.

    The run is left as FINISHED, as FAILED after an error, or as KILLED after a cancel. What stands in the way of
    shipping is said once. A server that hangs delays the end by follow.FINISHED_S seconds at most.
    """
    warned = False

    def warn(reason: object) -> None:
        nonlocal warned
        if not warned:
            say(f"{reason}\nTraining goes on. To ship what is missing: python -m flows.track ship {run_dir}")
        warned = True

    def attempt(outcome: Outcome) -> bool:
        try:
            ship(run_dir, track, status=outcome)
        except Exception as error:  # whatever it is, the training beside is worth more
            warn(error)
            return False
        return True

    def late() -> None:
        warn(f"track.uri: MLflow at {shown(track.uri)} does not answer in time")

    with following(run_dir / metrics_log.NAME, attempt, every_s=every_s, late=late):
        yield


def ship(run_dir: Path, track: TrackParams, *, status: str | None = None) -> str | None:
    """Sends to MLflow what it has not yet of the run in `run_dir`; returns MLflow's run id.

    None, and nothing done, while training has not started there or another process is shipping it. `status` is what
    the run is left as, but without its last step it is KILLED and not FINISHED; None: FINISHED with its last step,
    else as it is.

    Raises:
        TrackError: the server does not answer or refuses.
    """
    started = run_dir / run.PARAMS
    if not started.exists():
        return None
    with _only_shipper(run_dir) as alone:
        if not alone:
            return None
        client = connect(track.uri)
        stored = json.loads(started.read_text())
        params = config.from_dict(stored["params"], where=str(started))
        events = list(metrics_log.read(run_dir))
        whole = bool(events) and events[-1].step >= params.train.steps
        if status in {None, "FINISHED"}:
            status = "FINISHED" if whole else status and "KILLED"
        with explained(track.uri):
            run_id = find_or_create(client, track, params, run_dir.name, stored["data_digest"], events)
            _ship_events(client, track.uri, run_id, run_dir, events)
            _set_status(client, run_id, status, events)
    return run_id


@contextlib.contextmanager
def _only_shipper(run_dir: Path) -> Iterator[bool]:
    with (run_dir / f".{CURSOR}.lock").open("a") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def find_or_create(
    client: Any, track: TrackParams, params: config.Params, name: str, data: str, events: list[metrics_log.Event]
) -> str:
    """The id of the run tagged `name`, which is created if there is none; in either case with all parameters."""
    from mlflow.entities import Param

    experiment = experiment_id(client, track.experiment)
    found = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{name}'")
    if found:
        mlflow_run, *others = sorted(found, key=lambda each: (-len(each.data.metrics), each.info.run_id))
        for other in others:
            if not other.data.metrics:
                client.delete_run(other.info.run_id)
    else:
        started_ms = int(events[0].time * 1000) if events else None
        tags = _run_tags(params, name, data)
        mlflow_run = client.create_run(experiment, start_time=started_ms, tags=tags, run_name=name)
    if not (mlflow_run.inputs and mlflow_run.inputs.dataset_inputs):
        client.log_inputs(mlflow_run.info.run_id, [_data_input(params, data)])
    # MLflow refuses to change one; a relaunch differs only in how it was launched, and the first launch stands
    missing = flatten(config.to_dict(params)).items() - mlflow_run.data.params.items()
    new = [Param(key, value) for key, value in sorted(missing) if key not in mlflow_run.data.params]
    client.log_batch(mlflow_run.info.run_id, params=new)
    return str(mlflow_run.info.run_id)


def experiment_id(client: Any, name: str) -> str:
    """The id of the experiment called `name`, which is made if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another process was quicker
        return str(client.get_experiment_by_name(name).experiment_id)


def _run_tags(params: config.Params, name: str, data: str) -> dict[str, str]:
    tags = {RUN_TAG: name, "sr.task": params.task, "sr.data_digest": data, "mlflow.source.name": "flows.train"}
    commit = run.git_commit()
    if commit is None:
        return tags
    dirty = commit.endswith("-dirty")
    return tags | {"mlflow.source.git.commit": commit.removesuffix("-dirty"), "sr.git_dirty": str(dirty).lower()}


def _data_input(params: config.Params, data: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = f"{params.data.source}-x{params.data.scale}-{params.data.degradation}"
    source = json.dumps({"path": str(Path(params.data.root) / "shards"), "digest": data})
    # the field holds 36 characters; the whole digest is in the source and in the tag sr.data_digest
    dataset = Dataset(name=name, digest=data[:32], source_type="local", source=source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"train": {"lr": 0.1}}` as `{"train.lr": "0.1"}`; lists, null and booleans as JSON."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _ship_events(client: Any, uri: str, run_id: str, run_dir: Path, events: list[metrics_log.Event]) -> None:
    from mlflow.entities import Metric

    cursor_path = run_dir / CURSOR
    shipped = _read_cursor(cursor_path, uri, run_id) or _ask_cursor(client, run_id)
    points = [
        Metric(key, value, int(event.time * 1000), event.step)
        for event in events
        for key, value in event.values.items()
        if event.step > shipped.get(key, -1)
    ]
    for start in range(0, len(points), MOST_PER_REQUEST):
        batch = points[start : start + MOST_PER_REQUEST]
        cursor_path.unlink(missing_ok=True)  # until the server has answered nobody knows what it has
        client.log_batch(run_id, metrics=batch)
        shipped |= {point.key: point.step for point in batch}
        files.write_atomic(cursor_path, files.to_json({"uri": uri, "run_id": run_id, "shipped": shipped}))


def _read_cursor(path: Path, uri: str, run_id: str) -> dict[str, int] | None:
    try:
        cursor = json.loads(path.read_text())
        return cursor["shipped"] if (cursor["uri"], cursor["run_id"]) == (uri, run_id) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ask_cursor(client: Any, run_id: str) -> dict[str, int]:
    """The last step of every metric that the server has."""
    keys = client.get_run(run_id).data.metrics
    return {key: max(point.step for point in client.get_metric_history(run_id, key)) for key in keys}


def _set_status(client: Any, run_id: str, status: str | None, events: list[metrics_log.Event]) -> None:
    if status is None or client.get_run(run_id).info.status == status:
        return
    if status == "RUNNING":
        client.update_run(run_id, status=status)
    else:
        client.set_terminated(run_id, status, end_time=int(events[-1].time * 1000) if events else None)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m flows.track ship <run_dir> …`: ships what MLflow has not yet; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.track", description="Ship training runs to MLflow.")
    parser.add_argument("verb", choices=["ship"])
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="run_dir", help="such as data/runs/edsr-x4-…")
    parser.add_argument("--params", default="params.yaml", help="whose track.uri and track.experiment to use")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    given = parser.parse_args(arguments)
    try:
        track = config.load(given.params, given.overrides).track
        for run_dir in given.run_dirs:
            if not (run_dir / run.PARAMS).is_file():
                raise SrError(f"{run_dir}: is not a run directory, expected {run.PARAMS} in it")
            run_id = ship(run_dir, track)
            print(f"{run_dir}: run {run_id}" if run_id else f"{run_dir}: nothing to ship, or being shipped by another")
    except SrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
