"""A comparison as a run of MLflow: its figures as metrics, the files of its directory as artefacts."""

import time
from pathlib import Path

from flows.track import experiment_id
from serving.store import connect, explained
from sr_core import files
from sr_core.compare.report import COMPARISON, Comparison, flat_metrics
from sr_core.launch_params import TrackParams
from sr_core.train import run

NAME_TAG, DIGEST_TAG = "sr.comparison", "sr.comparison_sha256"
ARTEFACTS = "compare"


def log_comparison(comparison: Comparison, directory: Path, track: TrackParams) -> str:
    """Logs what lies in `directory`, once however often this is called, and returns the id of MLflow's run.

    Raises:
        TrackError: the server does not answer or refuses.
    """
    from mlflow.entities import Metric, Param

    digest = files.record_of(directory / COMPARISON).sha256
    client = connect(track.uri)
    with explained(track.uri):
        experiment = experiment_id(client, track.experiment)
        query = f"tags.`{DIGEST_TAG}` = '{digest}' and attributes.status = 'FINISHED'"
        if found := client.search_runs([experiment], query):
            return str(found[0].info.run_id)
        tags = {NAME_TAG: comparison.name, DIGEST_TAG: digest, "mlflow.source.name": "flows.compare"}
        if (commit := run.git_commit()) is not None:
            tags["mlflow.source.git.commit"] = commit.removesuffix("-dirty")
        run_id = str(client.create_run(experiment, tags=tags, run_name=f"compare-{comparison.name}").info.run_id)
        now_ms = int(time.time() * 1000)
        values = flat_metrics(comparison).items()
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, now_ms, 0) for key, value in values],
            params=[Param(key, value) for key, value in _params(comparison).items()],
        )
        client.log_artifacts(run_id, str(directory), ARTEFACTS)
        client.set_terminated(run_id)
    return run_id


def _params(comparison: Comparison) -> dict[str, str]:
    """What was compared, in words; MLflow takes 500 characters of each."""
    said = {f"model.{model.label}": model.source for model in comparison.models}
    said |= {f"set.{each.name}": each.report.describe() for each in comparison.sets}
    if comparison.timing is not None:
        said["timing"] = comparison.timing.describe()
    return {key: value[:500] for key, value in {"scale": str(comparison.scale), **said}.items()}
