"""What a registered model was made of, written down in MLflow when it is registered, for whoever has only MLflow later.

One JSON file for each version, an artefact of its run: the parameters in full, the digests of every directory of shards
with DVC's hashes of them, the archives or photographs with their sha256, and the commit. flows/lineage.py reads it.
What is not known any more at registration, such as shards that were deleted meanwhile, is left out.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.versions import data_version
from serving.store import shown
from sr_core import config, files
from sr_core.data import archives, index
from sr_core.data.sample import SAMPLE
from sr_core.errors import ConfigError, SrError
from sr_core.models.card import Card
from sr_core.train import run

TAG = "sr.lineage"
VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """A file that pixels came from: an archive, or a photograph in an installed package."""

    name: str
    sha256: str
    place: str  # its URL or package


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """What was trained on."""

    digest: str
    indexes: Mapping[str, str]  # the digest of each directory, such as train/hr
    dvc: Mapping[str, str]  # DVC's hash of those that dvc.lock has
    sources: Mapping[str, str]  # digests of the photographs' own bytes and of their cuts: train, valid
    counts: Mapping[str, int]  # photographs in each of the two


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """All of it."""

    weights_sha256: str
    params: Mapping[str, Any] | None  # as in params.yaml
    start: Mapping[str, str] | None = None  # what the run began with: given, sha256
    shards: Shards | None = None
    photographs: tuple[Photograph, ...] = ()  # none: a folder of the user's own
    version: int = VERSION


def origin_of(params: config.Params, card: Card) -> Origin:
    """What is known here of the model with `card`, which `params` belong to or not."""
    stored = _stored(Path(params.data.root) / "runs" / card.run / run.PARAMS)
    if stored.get("params_digest") == card.params_digest:
        # where things are on this host is what now says it, not what said it when training began
        trained: config.Params | None = config.from_dict(stored["params"])
    else:
        trained = params if params.digest() == card.params_digest else None
    return Origin(
        weights_sha256=card.weights_sha256,
        params=None if trained is None else config.to_dict(_without_password(trained)),
        start=stored.get("start"),
        shards=shards_here(params, card.data_digest),
        photographs=photographs_of(trained or params),
    )


def _without_password(params: config.Params) -> config.Params:
    return dataclasses.replace(params, track=dataclasses.replace(params.track, uri=shown(params.track.uri)))


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        config.from_dict(stored["params"])
        return dict(stored)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return {}


def shards_here(params: config.Params, digest: str, *, project: Path = Path()) -> Shards | None:
    """The shards for `params` that lie here, if their version is `digest`; only indexes are read."""
    try:
        found = data_version(params, project=project)
        indexes = {name: index.load_index(path) for name, path in index.shard_directories(params.data).items()}
    except SrError:
        return None
    if found.digest != digest:
        return None
    whole = {split: indexes[f"{split}/{index.HR}"] for split in ("train", "valid")}
    return Shards(
        digest=found.digest,
        indexes=index.version_of(indexes).indexes,
        dvc=found.dvc,
        sources={split: each.source_digest for split, each in whole.items()},
        counts={split: len(each.keys) for split, each in whole.items()},
    )


def photographs_of(params: config.Params) -> tuple[Photograph, ...]:
    """The archives or photographs that `params` name, as their tables have them; none for a folder of one's own."""
    if params.data.source == "sample":
        return tuple(
            Photograph(name=photo.path.rpartition("/")[2], sha256=photo.sha256, place=f"{photo.package}/{photo.path}")
            for photo in SAMPLE
        )
    if params.data.source == "div2k":
        return tuple(
            Photograph(name=archive.name, sha256=archive.sha256, place=archive.url())
            for archive in archives.needed(params.data)
        )
    return ()


def write(client: Any, run_id: str, name: str, version: int, origin: Origin) -> None:
    """Logs `origin` with the run, and names it on the version, unless more is known there already."""
    tags = client.get_model_version(name, str(version)).tags
    if TAG in tags and origin.shards is None:
        return
    path = f"lineage/{origin.weights_sha256[:16]}.json"
    client.log_text(run_id, files.to_json(dataclasses.asdict(origin)), path)
    client.set_model_version_tag(name, str(version), TAG, path)


def read(text: str) -> Origin:
    """The reverse of what `write` logs.

    Raises:
        SrError: it is not that, or of another version.
    """
    try:
        tree = json.loads(text)
        if tree["version"] != VERSION:
            raise ValueError(f"version {tree['version']}, expected {VERSION}")
        tree["shards"] = Shards(**tree["shards"]) if tree["shards"] else None
        tree["photographs"] = tuple(Photograph(**each) for each in tree["photographs"])
        return Origin(**tree)
    except (ValueError, KeyError, TypeError) as error:
        raise SrError(f"the record of the origin is damaged ({error}); register the model again") from None
