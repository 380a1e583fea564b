"""Versions in MLflow's registry: which is meant by a name, and a copy of its weights on this machine.

    models:/<name>@<alias>   models:/<name>/<number>   models:/m-<id of MLflow's logged model>

A copy lies in <cache>/<sha256 of the weights>, and every byte of it is verified whenever it is used. Weights and card
are all that is fetched: whatever else lies in an artefact, code or pickle, is neither fetched nor looked at. The sha256
is that of the version's tag in the registry, so weights and card that were exchanged together are noticed as well.

Where the registry does not answer, the version that was last found by the same name is taken from the cache, and that
is said: an alias may have moved since.
"""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.store import READ, connect, default_uri, explained, shown
from sr_core import files
from sr_core.errors import CheckpointError, ConfigError, TrackError
from sr_core.extras import require
from sr_core.train import weights
from sr_core.train.start import REGISTRY

WEIGHTS_TAG = "sr.weights_sha256"
DATA = "data/model"  # where weights and card lie in a version's artefact
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def cache_directory() -> Path:
    """Where copies lie unless a flow says otherwise: SR_MODEL_CACHE, or sr-pipeline/models in the user's cache."""
    given = os.environ.get("SR_MODEL_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(home) / "sr-pipeline" / "models"


def fetch(
    given: str,
    *,
    uri: str | None = None,
    cache: Path | None = None,
    named: str = READ,
    offline: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """The model directory with a verified copy of the version that `given` names, fetched if it is not there.

    `say` is told where the registry does not answer and, if `offline` allows, a copy is used all the same (None:
    standard error). `named` is what names the registry's address, for errors.

    Raises:
        ConfigError: there is no such version, or it was not registered by this pipeline.
        CheckpointError: its artefact holds other weights than its tag says.
        TrackError: the registry does not answer, and there is no copy.
    """
    store, folder = uri or default_uri(), cache or cache_directory()
    note = folder / "names" / f"{files.digest_of([shown(store), given])}.json"
    try:
        found = _find(connect(store, named=named, create=False), store, given, named)
    except TrackError as error:
        directory = _noted(note, folder) if offline else None
        if directory is None:
            raise
        (say or _to_stderr)(f"{error}\n{given}: taken from {directory}, as it was when the registry last answered")
        return directory
    directory = folder / found.sha256
    with files.wait_for_lock(folder / ".locks" / found.sha256):
        if not holds(directory, found.sha256):
            _download(store, found, directory, named)
    files.write_atomic(note, files.to_json({"name": given, "sha256": found.sha256}))
    return directory


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A version, by a name that MLflow knows for good, and the sha256 that its tag gives."""

    source: str
    sha256: str


def _find(client: Any, store: str, given: str, named: str) -> _Found:
    with explained(store, named=named):
        called = given.removeprefix(REGISTRY)
        if called.startswith("m-") and "/" not in called and "@" not in called:
            logged = or_none(lambda: client.get_logged_model(called))
            tags, source = (logged.tags if logged else {}), given
        else:
            version = version_called(client, given)
            tags = version.tags if version else {}
            source = f"{REGISTRY}{version.name}/{version.version}" if version else ""
    if WEIGHTS_TAG not in tags:
        raise ConfigError(
            f"{given} is no version that was registered here; expected such as "
            f"models:/sr-edsr-x4-bicubic@champion or models:/sr-edsr-x4-bicubic/1, in {shown(store)}"
        )
    return _Found(source=source, sha256=tags[WEIGHTS_TAG])


def version_called(client: Any, given: str) -> Any:
    """The version that models:/<name>@<alias> or models:/<name>/<number> names, or None."""
    called = given.removeprefix(REGISTRY)
    name, at, alias = called.partition("@")
    if at:
        return version_by_alias(client, name, alias)
    name, _, number = called.partition("/")
    return or_none(lambda: client.get_model_version(name, number)) if number.isdecimal() else None


def version_by_alias(client: Any, name: str, alias: str) -> Any:
    """The version of `name` that holds `alias`, or None."""
    return or_none(lambda: client.get_model_version_by_alias(name, alias))


def or_none(call: Callable[[], Any]) -> Any:
    """What `call` to MLflow returns; None where what it asks for is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def holds(directory: Path, sha256: str) -> bool:
    """Whether the weights lie in `directory`, every byte of them."""
    path = directory / weights.WEIGHTS
    return path.is_file() and (directory / weights.CARD).is_file() and files.record_of(path).sha256 == sha256


def _noted(note: Path, folder: Path) -> Path | None:
    """The copy that was last found by a name, if it is whole."""
    try:
        sha256 = str(json.loads(note.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / sha256 if holds(folder / sha256, sha256) else None


def _download(store: str, found: _Found, directory: Path, named: str) -> None:
    """Copies weights and card of a version to `directory`, if they are what its tag says."""
    mlflow = require("mlflow", "serve")
    with tempfile.TemporaryDirectory() as folder, explained(store, named=named):
        for name in (weights.CARD, weights.WEIGHTS):
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"{found.source}/{DATA}/{name}", dst_path=folder, tracking_uri=store, registry_uri=store
            )
        held = {path.name: path for path in Path(folder).rglob("*") if path.is_file()}
        if not {weights.CARD, weights.WEIGHTS} <= held.keys():
            raise ConfigError(f"{found.source}: holds no {weights.CARD}; expected a version registered here")
        sha256 = files.record_of(held[weights.WEIGHTS]).sha256
        card = weights.read_card(held[weights.CARD].parent)
        if {sha256, card.weights_sha256} != {found.sha256}:
            raise CheckpointError(
                f"{found.source}: its weights' sha256 is {sha256[:12]}, its card says {card.weights_sha256[:12]} and "
                f"its tag in the registry {found.sha256[:12]}; the artefact was changed: register the model again"
            )
        with files.commit_directory(directory) as partial:
            for name in (weights.WEIGHTS, weights.CARD):
                shutil.copyfile(held[name], partial / name)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
