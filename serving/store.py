"""Opening an MLflow store or server without ever waiting long for it.

With MLflow's own timeouts one call to a server that is down takes 246 s: here it is asked for its health first. A
sqlite store is ruined by several processes that create its tables at once, and by one that is killed while it does:
here one creates it, elsewhere, and renames it.

Flows write to the store that the parameters name (`track.uri`); whoever only reads a model takes MLFLOW_TRACKING_URI,
or mlflow.db in the current folder, and makes no store where there is none.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sr_core import files
from sr_core.errors import TrackError
from sr_core.extras import require

HEALTH_TIMEOUT_S = 2.0

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
}


TRACK, READ = "track.uri", "MLFLOW_TRACKING_URI"  # what names the store, for errors


def default_uri(environment: Mapping[str, str] = os.environ) -> str:
    """The store of whoever has no parameters: that of MLFLOW_TRACKING_URI, or mlflow.db in the current folder."""
    return environment.get(READ) or "sqlite:///mlflow.db"


def is_absent(uri: str) -> bool:
    """Whether it is a local store that is not there: nothing to ask."""
    path = _sqlite_path(uri)
    return path is not None and not path.exists()


def connect(uri: str, *, named: str = TRACK, create: bool = True) -> Any:
    """A client of the MLflow store at `uri`; a sqlite store that is not there is created, or refused.

    `named` is the parameter or variable that said so, for errors.

    Raises:
        TrackError: the server does not answer within seconds, or the store cannot be opened.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _check_health(uri, named)
    require("mlflow", "serve")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not create and is_absent(uri):
        raise TrackError(f"{named}: there is no MLflow store {_sqlite_path(uri)}; name the store or server with {READ}")
    with explained(uri, named=named):
        _create_if_absent(uri)
        return _open(uri)


def _open(uri: str) -> Any:
    client = require("mlflow", "serve").MlflowClient(uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _check_health(uri: str, named: str) -> None:
    if not uri.startswith(("http://", "https://")):
        return
    requests = require("requests", "serve")  # MLflow's own
    try:
        healthy = requests.get(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_S).status_code < 500
    except (OSError, ValueError):
        healthy = False
    if not healthy:
        raise TrackError(
            f"{named}: no MLflow server answers at {shown(uri)} within {HEALTH_TIMEOUT_S:.0f} s; "
            f"start it, or set {named} to another"
        )


def shown(uri: str) -> str:
    """`uri` without the user's name and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@contextlib.contextmanager
def explained(uri: str, *, named: str = TRACK) -> Iterator[None]:
    """What MLflow raises, as a TrackError in one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        place = shown(uri)
        first = str(error).strip().partition("\n")[0].replace(uri, place)
        raise TrackError(f"{named}: MLflow at {place} refused ({first}); see that it runs, and try again") from error


def _sqlite_path(uri: str) -> Path | None:
    name = uri.partition("sqlite:///")[2]
    return Path(name).absolute() if name else None


def _create_if_absent(uri: str) -> None:
    """Makes a local sqlite store, whole or not at all."""
    path = _sqlite_path(uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.lock").open("a") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if path.exists():  # whoever held the lock has made it
            return
        for stale in path.parent.glob(f".{path.stem}.*.tmp{path.suffix}*"):
            stale.unlink()
        with files.atomic_path(path) as temporary:
            _open(f"sqlite:///{temporary}")
