"""Opening an MLflow store or server without ever waiting long for it.

With MLflow's own timeouts one call to a server that is down takes 246 s; several processes that create the tables of
one sqlite store at once ruin it. Here a server is asked for its health first, and a sqlite store is opened under a
lock.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.extras import require
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
    mlflow = require("mlflow", "pipeline")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with explained(uri), _alone(uri):
        client = mlflow.MlflowClient(uri, registry_uri=uri)
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
            f"track.uri: no MLflow server answers at {_shown(uri)} within {HEALTH_TIMEOUT_S:.0f} s; "
            "start it, or set track.uri to another"
        )


def _shown(uri: str) -> str:
    """`uri` without the user's name and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """What MLflow raises, as a TrackError in one sentence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        shown = _shown(uri)
        first = str(error).strip().partition("\n")[0].replace(uri, shown)
        raise TrackError(f"track.uri: MLflow at {shown} refused ({first}); see that it runs, and try again") from error


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Holds a local sqlite store's lock: several processes that create its tables at once ruin it."""
    path = uri.partition("sqlite:///")[2]
    if not path:
        yield
        return
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.lock").open("a") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield
