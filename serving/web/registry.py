"""The registry, asked in a process of its own: MLflow's memory goes when it ends, and a server that hangs is left.

    python -m serving.web.registry list sqlite:///mlflow.db
    python -m serving.web.registry fetch sqlite:///mlflow.db models:/sr-edsr-x4-bicubic/3

The last line that the process prints is its answer in JSON.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.web.choices import Named, Version
from sr_core.errors import SrError, TrackError

LIST_S, FETCH_S = 30.0, 600.0


def registered(uri: str) -> tuple[Named, ...]:
    """Every name with a version that was registered by this pipeline: aliases first, then the newest versions.

    Raises:
        TrackError: the registry does not answer.
    """
    answer = _ask(["list", uri], LIST_S)
    return tuple(
        Named(name=one["name"], versions=tuple(Version(**version) for version in one["versions"]))
        for one in answer["models"]
    )


def fetched(model: str, uri: str, say: Callable[[str], None]) -> Path:
    """The model directory with a verified copy of the version that `model` names (serving/registered.py).

    Raises:
        SrError: there is none such, it is not what its tag says, or the registry does not answer and there is no copy.
    """
    answer = _ask(["fetch", uri, model], FETCH_S)
    for line in answer["said"]:
        say(line)
    return Path(answer["directory"])


def _ask(arguments: list[str], limit_s: float) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, *arguments]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise TrackError(f"the registry did not answer within {limit_s:.0f} s; see that it runs") from None
    try:
        answer: dict[str, Any] = json.loads(child.stdout.strip().rpartition("\n")[2])
    except ValueError:
        last = child.stderr.strip().rpartition("\n")[2] or f"exit code {child.returncode}"
        raise TrackError(f"the registry could not be asked ({last}); see that MLflow is installed") from None
    if "error" in answer:
        raise (TrackError if answer["track"] else SrError)(answer["error"])
    return answer


def _listed(uri: str) -> dict[str, Any]:
    from serving.registered import WEIGHTS_TAG
    from serving.store import connect, explained

    client = connect(uri, named="MLFLOW_TRACKING_URI", create=False)
    models = []
    with explained(uri, named="MLFLOW_TRACKING_URI"):
        for model in client.search_registered_models(max_results=200):
            found = client.search_model_versions(f"name = '{model.name}'", max_results=200)
            ours = sorted((one for one in found if WEIGHTS_TAG in one.tags), key=lambda one: -int(one.version))
            if ours:
                models.append({"name": model.name, "versions": _versions(model, ours)})
    return {"models": models}


def _versions(model: Any, ours: Sequence[Any]) -> list[dict[str, Any]]:
    """`ours`, newest first, as the fields of Version; those with an alias before the others, the champion first."""
    aliases: dict[int, list[str]] = {}
    for alias, number in dict(model.aliases).items():
        aliases.setdefault(int(number), []).append(alias)
    rows = []
    for one in ours:
        number, names = int(one.version), sorted(aliases.get(int(one.version), []))
        label = f"{', '.join(names)} (version {number})" if names else f"version {number}"
        scale = one.tags.get("sr.scale", "")
        rows.append(
            (
                "champion" not in names,
                not names,
                {
                    "label": label,
                    "model": f"models:/{one.name}/{number}",
                    "scale": int(scale) if scale.isdecimal() else None,
                },
            )
        )
    return [row for _, _, row in sorted(rows, key=lambda row: row[:2])]


def _fetched(uri: str, model: str) -> dict[str, Any]:
    from serving.registered import fetch

    said: list[str] = []
    return {"directory": str(fetch(model, uri=uri, say=said.append)), "said": said}


def main(arguments: Sequence[str]) -> int:
    """Answers one question; every error of ours is an answer as well."""
    try:
        answer = _listed(arguments[1]) if arguments[0] == "list" else _fetched(arguments[1], arguments[2])
    except SrError as error:
        answer = {"error": str(error), "track": isinstance(error, TrackError)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
