"""The registry of models in MLflow: one version for one set of weights, and one champion.

A version's artefact holds weights.safetensors and card.json and names serving.pyfunc as its loader: no pickle and no
code. It is found again by the tag `sr.weights_sha256`, so that registering twice makes one version. Which version is
champion is decided in flows/champion.py and stored with its reason as the tag `sr.champion_decision`; who was champion
when is in flows/history.py. A run may begin with a version (`train.start: models:/…`); `with_start` brings it here.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows import history, origin
from flows.champion import Decision, Figures, PerceptualFigures, RegisteredVersion, decide
from flows.model_version import data_tags, description, log_version, version_tags
from flows.track import find_or_create, flatten, ship
from flows.turns import alone
from serving.registered import WEIGHTS_TAG, fetch
from serving.store import TRACK, connect, explained
from sr_core import config, files
from sr_core.errors import ConfigError, SrError
from sr_core.evaluate.benchmark import EvalReport, read_report
from sr_core.models.card import Card
from sr_core.train import start, weights

DECISION_TAG = "sr.champion_decision"


def record_report(client: Any, run_id: str, report_dir: Path) -> None:
    """Adds an evaluation to a run: metrics.json's numbers (yes is 1) as `report/…`, and every file as an artefact."""
    from mlflow.entities import Metric

    path = report_dir / "metrics.json"
    values = {f"report/{key}": float(value) for key, value in _numbers(json.loads(path.read_text()))}
    known = client.get_run(run_id).data.metrics
    written_ms = int(path.stat().st_mtime * 1000)
    new = [Metric(key, value, written_ms, 0) for key, value in values.items() if known.get(key) != value]
    client.log_batch(run_id, metrics=new)
    client.log_artifacts(run_id, str(report_dir), "report")


def _numbers(tree: Any) -> Iterator[tuple[str, float]]:
    for key, text in flatten(tree).items():
        with contextlib.suppress(ValueError):  # a name
            value = json.loads(text)
            if isinstance(value, int | float):
                yield key, value


def register(params: config.Params, model_dir: Path, report_dir: Path) -> RegisteredVersion:
    """Puts the model and its evaluation into MLflow, and makes it champion if it is better than the champion.

    The same weights are the same version, however often this is called; the evaluation last given is the one that
    counts. The name is sr-<model>-x<S>-<degradation>. What is returned is also written to data/registered/.

    Raises:
        TrackError: the server does not answer or refuses.
        CheckpointError: there is no model in `model_dir`.
        SrError: the report is of other weights.
    """
    card = weights.read_card(model_dir)
    report = read_report(report_dir / "report.json")
    measured = report.weights.get(card.model, "unknown")
    if measured != card.weights_sha256:
        raise SrError(
            f"{report_dir / 'report.json'}: measured weights {measured[:8]}, but {model_dir} holds "
            f"{card.weights_sha256[:8]}; evaluate the model again: python -m sr_core evaluate"
        )
    client = connect(params.track.uri)
    name = f"sr-{params.task}"
    with explained(params.track.uri):
        run_id = _run_of(client, params, card)
        record_report(client, run_id, report_dir)
        version = _find_version(client, name, card)
        if version is None:
            version = log_version(client, params.track.uri, run_id, name, model_dir, card)
        figures = _figures(params, report, card, version)
        # the figures come first: a champion without them, after a crash, could not be compared with
        for key, value in (version_tags(card, run_id) | data_tags(params, card) | figures.to_tags()).items():
            client.set_model_version_tag(name, str(version), key, value)
        origin.write(client, run_id, name, version, origin.origin_of(params, card))
        with alone(client, name) as still:
            holder = history.holder_of(client, name, history.CHAMPION)
            decision = _decide(client, name, figures, holder)
            client.set_model_version_tag(name, str(version), DECISION_TAG, decision.reason)
            text = description(card, report, figures, decision, name, run_id)
            client.update_model_version(name, str(version), description=text)
            if decision.champion and holder != version:
                _crown(client, name, version, holder, decision.reason, still)
            elif not decision.champion:
                history.challenge(client, name, version)
    registered = RegisteredVersion(
        name=name,
        version=version,
        run_id=run_id,
        weights_sha256=card.weights_sha256,
        champion=decision.champion,
        reason=decision.reason,
    )
    files.write_atomic(registered_path(params), files.to_json(dataclasses.asdict(registered)))
    return registered


def with_start(params: config.Params) -> config.Params:
    """`params`, where `train.start` is a version in the registry with a copy of it, <data.root>/starts/<sha256>.

    A version is named as MLflow does: models:/<name>@<alias> or models:/<name>/<number>.

    Raises:
        ConfigError: there is no such version, or it was not registered by this pipeline.
        CheckpointError: its artefact is not what was registered.
        TrackError: the server does not answer or refuses.
    """
    given = params.train.start
    if given is None or not given.startswith(start.REGISTRY):
        return params
    starts = Path(params.data.root) / "starts"
    try:
        directory = fetch(given, uri=params.track.uri, cache=starts, named=TRACK, offline=False)
    except ConfigError as error:
        raise ConfigError(f"train.start: {error}") from None
    return dataclasses.replace(params, train=dataclasses.replace(params.train, start=str(directory)))


def registered_path(params: config.Params) -> Path:
    """Where `register` writes its outcome, which is what DVC knows of the registry."""
    return Path(params.data.root) / "registered" / f"{params.task}.json"


def _run_of(client: Any, params: config.Params, card: Card) -> str:
    """The run that trained the model; made from the card where its run directory is not on this machine."""
    run_dir = Path(params.data.root) / "runs" / card.run
    run_id = ship(run_dir, params.track) if run_dir.is_dir() else None
    if run_id is None:
        run_id = find_or_create(client, params.track, params, card.run, card.data_digest, [])
        client.set_terminated(run_id, "FINISHED")
    return run_id


def _find_version(client: Any, name: str, card: Card) -> int | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`{WEIGHTS_TAG}` = '{card.weights_sha256}'")
    return min((int(version.version) for version in found), default=None)


def _figures(params: config.Params, report: EvalReport, card: Card, version: int) -> Figures:
    mean = report.mean(card.model)
    return Figures(
        version=version,
        protocol=report.protocol.name,
        precision=report.precision,
        test_set=report.test_set,
        test_set_digest=report.test_set_digest,
        psnr=mean.psnr,
        ssim=mean.ssim,
        perceptual=_perceptual_figures(report, card) if params.is_adversarial else None,
    )


def _perceptual_figures(report: EvalReport, card: Card) -> PerceptualFigures:
    """Those of an adversarial network, for which they decide, also where they could not be measured."""
    about = report.perceptual
    if about is None or about.judged != card.model:
        return PerceptualFigures(metric="niqe", label="NIQE", digest="", score=None, discriminates=None)
    return PerceptualFigures(
        metric=about.metric,
        label=about.label,
        digest=about.digest,
        score=report.mean(card.model).niqe,
        discriminates=report.discriminates,
    )


def _decide(client: Any, name: str, figures: Figures, holder: int | None) -> Decision:
    """Whether the version takes the title from `holder`, by its figures; never one that a person took it from."""
    lost = history.rolled_back(list(history.read(client, name).values()), holder).get(figures.version)
    if lost is not None:
        return Decision(champion=False, reason=f"refused: was rolled back ({lost.reason}); promote it if that is over")
    if holder is None:
        return decide(figures, None)
    against = Figures.from_tags(holder, client.get_model_version(name, str(holder)).tags)
    if against is None:
        return Decision(champion=False, reason=f"refused: champion version {holder} has no figures")
    return decide(figures, against)


def _crown(client: Any, name: str, version: int, holder: int | None, reason: str, still: Callable[[], None]) -> None:
    """Gives `version` the title, on record."""
    begun = history.pending(history.read(client, name), holder)
    half_done = begun is not None and (begun[1].action, begun[1].target) == ("register", version)
    made = history.entry("register", holder, version, reason, who=history.whoever(), figures=reason)
    history.crown(client, name, made, key=begun[0] if begun and half_done else None, still=still)
