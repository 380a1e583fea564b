"""DVC, and only here: records what a flow produced, and reads which version of the data there is.

dvc.yaml owns what depends on what. Inside one of its stages recording is DVC's own. A flow started otherwise has done
the work of some stages; if its parameters are those of params.yaml, `dvc commit` makes dvc.lock say so, and
`dvc repro` has nothing left to do. Otherwise DVC is left alone: what stands in data/ is then not what dvc.yaml
describes, and `dvc status` shows it.

Recording is never worth a failed flow: what stands in its way is said in one sentence.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from sr_core import config
from sr_core.data import index
from sr_core.errors import ConfigError
from sr_core.params import Params
from sr_core.train import start

Step = Literal["prepare", "train", "evaluate", "register", "compare"]
_OWN = "photographs of your own (data.source: folder) are outside of dvc.yaml"
_FOR_MIXED = "matrix.degradations: lacks {}, of data.mixed, whose shards no stage would own"
STEPS: tuple[Step, ...] = ("prepare", "train", "evaluate", "register")  # of one model; compare is of all
COMMIT_TIMEOUT_S = 1800.0  # a first commit reads every byte of the data set
# where these differ from params.yaml, the results do not
_NO_DIFFERENCE = {"launch", "matrix", "compare"} | {
    f"data.{key}" for key in ("num_writers", "downloads", "mirror", "archives", "keep_archives", "max_pixels")
}


def stages_of(params: Params, steps: Sequence[Step]) -> list[str]:
    """The names in dvc.yaml of the stages that do `steps` for `params`, in order."""
    prepared = dict.fromkeys([*params.data.tracks, params.data.degradation])
    entry = _fine_tune(params)
    if entry is None:
        item, own = f"{params.model.name}-{params.data.degradation}", ("train", "evaluate", "register")
    else:  # DVC names what is no text by its place in the list
        number = params.matrix.adversarial.index(entry) if entry in params.matrix.adversarial else "?"
        item, own = f"gan{number}-{params.data.degradation}", ("finetune", "evaluate-gan", "register-gan")
    names: dict[Step, list[str]] = {
        "prepare": ["photographs", *(f"prepare@{name}" for name in prepared)],
        "train": [f"{own[0]}@{item}"],
        "evaluate": [f"{own[1]}@{item}"],
        "register": [f"{own[2]}@{item}"],
        "compare": ["compare"],
    }
    return [name for step, own_names in names.items() if step in steps for name in own_names]


def _fine_tune(params: Params) -> dict[str, str | None] | None:
    """The entry that matrix.adversarial must have for `params`; None where their model is one of matrix.models."""
    parent = start.parent_of(params)
    if parent is None and not params.is_adversarial:
        return None
    return {"model": params.model.name, "start": parent}


def _without_stage(params: Params, own: Params) -> str | None:
    """Why dvc.yaml has no stage for `params`, with the matrix of `own`; None if it has."""
    entry = _fine_tune(params)
    wanted: list[tuple[str, Any]] = [("degradations", params.data.degradation)]
    wanted.insert(0, ("models", params.model.name) if entry is None else ("adversarial", entry))
    for name, value in wanted:
        if value not in getattr(own.matrix, name):
            shown = yaml.safe_dump(value, default_flow_style=True, sort_keys=False).partition("\n")[0]
            return f"matrix.{name} in params.yaml does not name {shown}"
    return None


def check_stage(params: Params) -> None:
    """To be called before any work.

    Raises:
        ConfigError: inside a DVC stage with data.source: folder, whose outputs DVC would look for in vain, with a
            mixture of tracks that have no stage, or with a model whose stage this is not, since it begins with another.
    """
    stage = os.environ.get("DVC_STAGE")
    if stage is None:
        return
    if params.data.source == "folder":
        raise ConfigError(f"data.source: is folder, and {_OWN}; start the flow itself: python -m flows.train edsr")
    if lacking := _lacking(params, params):
        raise ConfigError(f"{_FOR_MIXED.format(lacking)}; add it in params.yaml")
    if stage.partition("@")[0] not in {"photographs", "prepare"} and stage not in stages_of(params, STEPS):
        begins = params.train.start or "weights of its own"
        raise ConfigError(
            f"train.start: {params.model.name} begins with {begins}, so {stage} is not its stage; name it in "
            "matrix.adversarial with that start if it is a network's name, in matrix.models if it is null or a path"
        )


def _lacking(params: Params, own: Params) -> str:
    """The tracks of `params` that the matrix of `own` does not name."""
    return ", ".join(track for track in params.data.tracks if track not in own.matrix.degradations)


def record(params_path: Path | str, params: Params, steps: Sequence[Step] = STEPS) -> str:
    """Records with `dvc commit` that `steps` are done for `params`; returns a sentence that says what it did.

    The project is the folder of dvc.yaml above `params_path`. Nothing is recorded inside a DVC stage, or if
    `params`, wherever they came from, are not those of the project's params.yaml.
    """
    if "DVC_STAGE" in os.environ:
        return f"recorded by DVC, as stage {os.environ['DVC_STAGE']}"
    project = next((folder for folder in Path(params_path).absolute().parents if (folder / "dvc.yaml").is_file()), None)
    if project is None:
        return f"not recorded in DVC: no dvc.yaml above {params_path}"
    obstacle = _obstacle(params, project)
    if obstacle is not None:
        return f"not recorded in DVC: {obstacle}"
    own = config.load(project / "params.yaml")
    stages = stages_of(dataclasses.replace(params, matrix=own.matrix), steps)
    dropped = _drop_damaged(project)
    command = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet", *stages]
    code, output = _run(command, project, timeout_s=COMMIT_TIMEOUT_S)
    if code == 0:
        mended = f"; {dropped} damaged files in DVC's cache were replaced" if dropped else ""
        return f"recorded in dvc.lock: {', '.join(stages)}{mended}"
    reason = output.strip().splitlines()[0].removeprefix("ERROR: ") if output.strip() else f"exit code {code}"
    return f"not recorded in DVC: {reason}; record it later with: dvc commit --force {' '.join(stages)}"


def _obstacle(params: Params, project: Path) -> str | None:
    """Why `params` cannot be recorded in `project`, or None."""
    if importlib.util.find_spec("dvc") is None:
        return "it is not installed; pip install -c constraints.txt -e '.[pipeline]'"
    if not (project / ".dvc").is_dir():
        return f"{project} is not a DVC project; expected a folder .dvc there"
    if params.data.source == "folder":
        return _OWN
    try:
        own = config.load(project / "params.yaml", [f"model.name={params.model.name}"])  # with its recipe
    except ConfigError as error:
        return str(error)
    if reason := _without_stage(params, own):
        return reason
    if lacking := _lacking(params, own):
        return _FOR_MIXED.format(lacking)
    key = _first_difference(own, params)
    return f"{key} differs from params.yaml" if key else None


def _first_difference(own: Params, params: Params) -> str | None:
    """The first key by which `params` would give other results than params.yaml's, as dvc.yaml runs them."""
    found, expected = _flat(config.to_dict(params)), _flat(config.to_dict(own))
    expected |= {("data", "degradation"): params.data.degradation}  # dvc.yaml's commands set it from the matrix
    for key in sorted(found.keys() | expected.keys()):
        same = any(".".join(key[:length]) in _NO_DIFFERENCE for length in range(1, len(key) + 1))
        if not same and found.get(key) != expected.get(key):
            return ".".join(key)
    return None


def _flat(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, (*prefix, key)) if isinstance(value, Mapping) and value else {(*prefix, key): value}
    return flat


def _run(command: Sequence[str], folder: Path, *, timeout_s: float) -> tuple[int, str]:
    """The exit code and output of `command`; its process group does not outlive this call."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    with _group(command, folder, environment) as child:
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return 1, f"it took longer than {timeout_s:.0f} s"
    return child.returncode, output


@contextlib.contextmanager
def _group(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[str]]":
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RecordedData:
    """Which data there is: our digest, and DVC's hash of each shard directory that dvc.lock has as it is."""

    digest: str
    dvc: Mapping[str, str]


def data_version(params: Params, *, project: Path = Path()) -> RecordedData:
    """The version of the shards for `params`, read from their indexes and dvc.lock; no shard is read.

    Raises:
        ShardError: the shards are absent.
    """
    directories = index.shard_directories(params.data)
    version = index.version_of({name: index.load_index(directory) for name, directory in directories.items()})
    locked = _locked(project)
    hashes = {name: locked.get(os.path.relpath(path, project)) for name, path in directories.items()}
    current = {name: md5 for name, md5 in hashes.items() if md5 and _is_current(project, md5, directories[name])}
    return RecordedData(digest=version.digest, dvc=current)


def _locked(project: Path) -> dict[str, str]:
    """DVC's hash by path of every output in dvc.lock."""
    try:
        lock = yaml.safe_load((project / "dvc.lock").read_text())
        return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}


def _cached(project: Path, md5: str) -> Path:
    return project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _drop_damaged(project: Path) -> int:
    """Deletes files in DVC's cache that are not what their names say, and returns how many.

    DVC never reads them: it would keep, hand out and push a damaged file although its shard was built again. One
    that the working copy is linked with was verified there, so just the others are read.
    """
    dropped = 0
    for path, md5 in _files_of(project, _locked(project)):
        cached = _cached(project, md5)
        with contextlib.suppress(OSError):  # it is not there
            linked = (project / path).exists() and cached.samefile(project / path)
            if not linked and _md5_of(cached) != md5.removesuffix(".dir"):
                cached.unlink()
                dropped += 1
    return dropped


def _files_of(project: Path, locked: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The path and hash of every output of `locked`, and of every file in those that are directories."""
    for path, md5 in locked.items():
        yield path, md5  # a directory's is that of its list
        if md5.endswith(".dir"):
            yield from ((f"{path}/{name}", own) for name, own in _listing(project, md5).items())


def _listing(project: Path, md5: str) -> dict[str, str]:
    """DVC's hash by name of every file in the directory whose own hash is `md5`; none if its list is not there."""
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(_cached(project, md5).read_text())}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_current(project: Path, md5: str, directory: Path) -> bool:
    """Whether DVC's directory hash `md5` is of what lies in `directory`: it lists the index, which lists the rest."""
    try:
        found = hashlib.md5((directory / index.INDEX).read_bytes(), usedforsecurity=False).hexdigest()
    except OSError:
        return False
    return _listing(project, md5).get(index.INDEX) == found
