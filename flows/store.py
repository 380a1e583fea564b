"""Opening an MLflow store or server without ever waiting long for it.

With MLflow's own timeouts one call to a server that is down takes 246 s: here it is asked for its health first. A
sqlite store is ruined by several processes that create its tables at once, and by one that is killed while it does:
here one creates it, elsewhere, and renames it.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.extras import require
from sr_core import files
from sr_core.errors import TrackError

HEALTH_TIMEOUT_S = 2.0

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
}


def connect(uri: str) -> Any:
    """A client of the MLflow store at `uri`; a sqlite store is created if it is not there.

    Raises:
        TrackError: the server does not answer within seconds, or the store cannot be opened.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _check_health(uri)
    require("mlflow", "pipeline")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with explained(uri):
        _create_if_absent(uri)
        return _open(uri)


def _open(uri: str) -> Any:
    client = require("mlflow", "pipeline").MlflowClient(uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _check_health(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        return
    requests = require("requests", "pipeline")  # MLflow's own
    try:
        healthy = requests.get(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_S).status_code < 500
    except (OSError, ValueError):
        healthy = False
    if not healthy:
        raise TrackError(
            f"track.uri: no MLflow server answers at {shown(uri)} within {HEALTH_TIMEOUT_S:.0f} s; "
            "start it, or set track.uri to another"
        )


def shown(uri: str) -> str:
    """`uri` without the user's name and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """What MLflow raises, as a TrackError in one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        place = shown(uri)
        first = str(error).strip().partition("\n")[0].replace(uri, place)
        raise TrackError(f"track.uri: MLflow at {place} refused ({first}); see that it runs, and try again") from error


def _create_if_absent(uri: str) -> None:
    """Makes a local sqlite store, whole or not at all."""
    name = uri.partition("sqlite:///")[2]
    path = Path(name).absolute()
    if not name or path.exists():
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
