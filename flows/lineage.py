"""Where a registered model comes from: version, run, parameters, data, photographs, code; and what of it is so.

    sr lineage models:/sr-edsr-x4-bicubic@champion [--json]

All that it prints is in MLflow, so any machine that reaches the server can ask. What can be checked is checked, with
what lies on this machine where it is needed: weights against the tag and the card, parameters and data against their
digests, photographs against the tables, the commit against this repository. `+` was found to be so, `-` was not, `?`
could not be checked here, with the reason. The exit code is 1 where something is not so.
"""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import origin
from flows.promote import parser, store_uri
from flows.track import RUN_TAG, flatten
from serving.registered import WEIGHTS_TAG, fetch, or_none, version_called
from serving.store import READ, connect, explained
from sr_core import config, files
from sr_core.data.archives import ARCHIVES
from sr_core.data.sample import SAMPLE
from sr_core.errors import CheckpointError, ConfigError, SrError
from sr_core.models.card import Card
from sr_core.train.weights import read_card

GIT_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that should be so: True, False, or None where it could not be looked at."""

    text: str
    holds: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One link of the chain: facts by name, and what was checked of them."""

    name: str
    facts: Mapping[str, str]
    checks: tuple[Check, ...] = ()


def lineage(given: str, *, uri: str) -> tuple[Link, ...]:
    """The chain of the version called `given`, from its weights to the commit.

    Raises:
        ConfigError: there is no such version, or it was not registered by this pipeline.
        TrackError: the registry does not answer.
    """
    client = connect(uri, named=READ, create=False)
    with explained(uri, named=READ):
        version = version_called(client, given)
        if version is None or WEIGHTS_TAG not in version.tags:
            raise ConfigError(
                f"{given}: there is no such version; expected such as models:/sr-edsr-x4-bicubic@champion"
            )
        record, why = _record(client, version)
        card, weights = _weights(given, uri)
        found = or_none(lambda: client.get_run(version.run_id))
    params, read_from = _params(record, found)
    return (
        _version(version, card, weights),
        _run(version, found),
        _parameters(card, record, params, read_from),
        _data(version, record, params, why),
        _photographs(record, why),
        _code(version.tags.get("sr.git_commit", "unknown")),
    )


def _weights(given: str, uri: str) -> tuple[Card | None, Check]:
    """The card, and whether the weights are those that were registered; a copy made earlier does not count."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            card = read_card(fetch(given, uri=uri, cache=Path(folder), offline=False))
    except CheckpointError as error:
        return None, Check(text=str(error), holds=False)
    return card, Check(text="the artefact's weights have the sha256 of the tag and of the card", holds=True)


def _record(client: Any, version: Any) -> tuple[origin.Origin | None, str]:
    """What was written down at registration, or why it is not to be had."""
    path = version.tags.get(origin.TAG)
    if path is None:
        return None, "was not written down: registered by an earlier version of this project"
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory() as folder:
            local = client.download_artifacts(version.run_id, path, folder)
            return origin.read(Path(local).read_text(encoding="utf-8")), ""
    except (MlflowException, OSError, SrError) as error:
        return None, f"cannot be read: {str(error).partition(chr(10))[0]}"


def _version(version: Any, card: Card | None, weights: Check) -> Link:
    tags = version.tags
    checks = [weights]
    if card is not None:
        own = {"sr.run": card.run, "sr.data_digest": card.data_digest, "sr.git_commit": card.git_commit or "unknown"}
        wrong = [
            f"{key} is {tags.get(key)}, the card says {value}" for key, value in own.items() if tags.get(key) != value
        ]
        checks.append(Check(text="; ".join(wrong) or "its tags say what the card says", holds=not wrong))
    facts = {
        "name": f"{version.name}/{version.version}",
        "aliases": ", ".join(version.aliases) or "none",
        "weights": tags[WEIGHTS_TAG],
        "network": f"{tags.get('sr.architecture')} x{tags.get('sr.scale')}, {tags.get('sr.degradation')}",
        "figures": f"{tags.get('sr.psnr')} dB, {tags.get('sr.protocol')} on {tags.get('sr.test_set')}",
    }
    return Link(name="version", facts=facts, checks=tuple(checks))


def _run(version: Any, found: Any) -> Link:
    if found is None:
        gone = Check(text=f"MLflow has no run {version.run_id}: it was deleted", holds=False)
        return Link(name="run", facts={"id": version.run_id}, checks=(gone,))
    name, expected = found.data.tags.get(RUN_TAG, "unknown"), version.tags.get(RUN_TAG)
    same = Check(text=f"it is the run that the version names, {expected}", holds=name == expected)
    return Link(name="run", facts={"id": version.run_id, "name": name, "status": found.info.status}, checks=(same,))


def _params(record: origin.Origin | None, found: Any) -> tuple[config.Params | None, str]:
    """The parameters, from the record or else from the run's own, and which."""
    try:
        if record is not None and record.params is not None:
            return config.from_dict(record.params), "the record"
        if found is not None:
            return config.from_dict(_tree(found.data.params)), "the run's parameters in MLflow"
    except ConfigError:
        pass
    return None, ""


def _tree(flat: Mapping[str, str]) -> dict[str, Any]:
    """The reverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, text in flat.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        try:
            place[name] = json.loads(text)
        except ValueError:
            place[name] = text
    return tree


def _parameters(card: Card | None, record: origin.Origin | None, params: config.Params | None, read_from: str) -> Link:
    begun = record.start if record else None
    facts = {"began with": f"{begun['given']} ({begun['sha256']})"} if begun else {}
    if params is None:
        return Link(name="parameters", facts=facts, checks=(Check(text="are not in MLflow", holds=None),))
    own, default = (flatten(config.to_dict(each)) for each in (params, config.Params()))
    facts |= {key: value for key, value in sorted(own.items()) if default.get(key) != value}
    facts["digest"] = params.digest()
    if card is None:
        check = Check(text="the card cannot be read, so their digest cannot be compared", holds=None)
    else:
        same = params.digest() == card.params_digest
        told = f"by {read_from} their digest is {'that' if same else 'not that'} of the card, {card.params_digest[:12]}"
        check = Check(text=told, holds=same)
    return Link(name="parameters", facts=facts, checks=(check,))


def _data(version: Any, record: origin.Origin | None, params: config.Params | None, why: str) -> Link:
    digest = version.tags.get("sr.data_digest", "unknown")
    facts, checks = {"digest": digest}, list[Check]()
    shards = record.shards if record else None
    if shards is None:
        why = why or "was not at hand when the model was registered"
        checks.append(Check(text=f"what it consists of {why}", holds=None))
    else:
        counts = ", ".join(f"{count} for {split}" for split, count in shards.counts.items())
        facts |= {"photographs": counts} | {f"index {name}": each for name, each in shards.indexes.items()}
        facts |= {f"DVC {name}": each for name, each in shards.dvc.items()}
        same = files.digest_of(dict(sorted(shards.indexes.items()))) == shards.digest == digest
        checks.append(Check(text="the digests of its indexes give its digest", holds=same))
        if not shards.dvc:
            checks.append(Check(text="DVC had no hash of these shards", holds=None))
    checks.append(_shards_here(params, digest, shards))
    return Link(name="data", facts=facts, checks=tuple(checks))


def _shards_here(params: config.Params | None, digest: str, shards: origin.Shards | None) -> Check:
    if params is None:
        return Check(text="without parameters it is not known which shards to look at", holds=None)
    found = origin.shards_here(params, digest)
    if found is None:
        return Check(text=f"shards of this version are not here, in {params.data.root}/shards", holds=None)
    differing = [name for name, md5 in (shards.dvc if shards else {}).items() if found.dvc.get(name) not in {None, md5}]
    if differing:
        return Check(text=f"dvc.lock here has other hashes of {', '.join(differing)}", holds=False)
    return Check(text="the shards that lie here are of this version, by their indexes", holds=True)


def _photographs(record: origin.Origin | None, why: str) -> Link:
    if record is None:
        return Link(name="photographs", facts={}, checks=(Check(text=f"which they are {why}", holds=None),))
    if not record.photographs:
        data = (record.params or {}).get("data", {})
        facts = {"folder": str(data.get("folder", "unknown"))}
        facts |= {f"digest {split}": each for split, each in (record.shards.sources if record.shards else {}).items()}
        told = "a folder of photographs has no table to compare with; the digests are of their bytes and cuts"
        return Link(name="photographs", facts=facts, checks=(Check(text=told, holds=None),))
    facts = {each.name: each.sha256 for each in record.photographs}
    known = {archive.name: archive.sha256 for archive in ARCHIVES}
    known |= {photo.path.rpartition("/")[2]: photo.sha256 for photo in SAMPLE}
    wrong = [each.name for each in record.photographs if known.get(each.name) != each.sha256]
    told = (
        f"the tables have another sha256 of {', '.join(wrong)}" if wrong else "these are the published ones, by sha256"
    )
    folder = (record.params or {}).get("data", {}).get("archives")
    return Link(
        name="photographs", facts=facts, checks=(Check(text=told, holds=not wrong), _files_here(record, folder))
    )


def _files_here(record: origin.Origin, folder: str | None) -> Check:
    """Whether those that lie on this machine have their sha256: reads them."""
    here = {each: path for each in record.photographs if (path := _path_of(each, folder)) and path.is_file()}
    if not here:
        return Check(text="none of these files is on this machine", holds=None)
    wrong = [each.name for each, path in here.items() if files.record_of(path).sha256 != each.sha256]
    if wrong:
        return Check(text=f"on this machine other files are called {', '.join(wrong)}", holds=False)
    return Check(
        text=f"{len(here)} of {len(record.photographs)} files are on this machine, with that sha256", holds=True
    )


def _path_of(photograph: origin.Photograph, folder: str | None) -> Path | None:
    """Where a file would be: in the folder of archives, or in the installed package."""
    if "://" in photograph.place:
        return Path(folder) / photograph.name if folder else None
    package, _, path = photograph.place.partition("/")
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or []
    return Path(places[0]) / path if places else None


def _code(commit: str) -> Link:
    plain, dirty = commit.removesuffix("-dirty"), commit.endswith("-dirty")
    facts = {"commit": plain}
    if plain == "unknown":
        return Link(
            name="code", facts=facts, checks=(Check(text="it was trained outside of a repository", holds=None),)
        )
    checks = [_in_repository(plain)]
    if dirty:
        told = "files differed from the commit when it was trained, and what they held is not on record"
        checks.append(Check(text=told, holds=None))
    else:
        checks.append(Check(text="no tracked file differed from it when the model was trained", holds=True))
    return Link(name="code", facts=facts, checks=tuple(checks))


def _in_repository(commit: str) -> Check:
    command = ["git", "-C", str(Path(__file__).parent), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(text=f"git cannot be asked ({error})", holds=None)
    if done.returncode:
        return Check(text="the repository here does not have it: fetch, or look at the one it was made in", holds=None)
    return Check(text="it is in this repository", holds=True)


def rendered(links: Sequence[Link]) -> str:
    """The chain as text: each link, its facts, and its checks with +, - or ?."""
    lines: list[str] = []
    for link in links:
        lines.append(link.name)
        width = max((len(key) for key in link.facts), default=0)
        lines += [f"    {key:<{width}}  {value}" for key, value in link.facts.items()]
        lines += [f"  {_SIGNS[check.holds]} {check.text}" for check in link.checks]
    return "\n".join(lines)


_SIGNS = {True: "+", False: "-", None: "?"}


def main(argv: Sequence[str] | None = None) -> int:
    """`sr lineage models:/<name>@<alias>`; returns the exit code."""
    options = parser("lineage", "Where a registered model comes from, and what of it is so.")
    options.add_argument("model", help="models:/<name>@<alias> or models:/<name>/<number>")
    options.add_argument("--json", action="store_true", help="as JSON")
    given = options.parse_args(argv)
    try:
        links = lineage(given.model, uri=store_uri(given.uri))
    except SrError as error:
        print(f"lineage: {error}", file=sys.stderr)
        return error.exit_code
    plain = [dataclasses.asdict(link) for link in links]
    print(json.dumps(plain, indent=2, ensure_ascii=False) if given.json else rendered(links))
    return 1 if any(check.holds is False for link in links for check in link.checks) else 0


if __name__ == "__main__":
    sys.exit(main())
