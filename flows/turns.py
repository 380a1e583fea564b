"""One at a time on a registered model, though MLflow has neither locks nor conditional writes.

Whoever wants to move an alias writes a claim, a tag of the registered model, and goes on only if it is then the only
one there; otherwise it takes the claim back and tries again a little later. Of two that come at once each sees the
other, or the second sees the first: never do both go on. A claim that stays for LEASE_S is of one that died.
"""

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from serving.registered import or_none
from sr_core.errors import BusyError

CLAIM = "sr.claim."
LEASE_S = 60.0
PATIENCE_S = 2 * LEASE_S


@contextlib.contextmanager
def alone(
    client: Any, name: str, *, lease_s: float = LEASE_S, patience_s: float = PATIENCE_S
) -> Iterator[Callable[[], None]]:
    """Holds the registered model `name` alone. What is yielded raises BusyError if that took too long to be sure.

    Raises:
        BusyError: others held it for `patience_s` seconds.
    """
    started_s = time.monotonic()
    key = _claim(client, name, lease_s, started_s + patience_s)
    held_s = time.monotonic()

    def still() -> None:
        if time.monotonic() - held_s > lease_s / 2:
            raise BusyError(f"{name}: the registry answers too slowly for a change that nobody else crosses; try again")

    try:
        yield still
    finally:
        or_none(lambda: client.delete_registered_model_tag(name, key))


def _claim(client: Any, name: str, lease_s: float, deadline_s: float) -> str:
    since: dict[str, float] = {}
    while True:
        key = f"{CLAIM}{uuid.uuid4().hex}"  # another each time: only a dead one's stays
        client.set_registered_model_tag(name, key, "one who moves an alias")
        claims = _claims(client, name)
        if claims == {key}:
            return key
        or_none(lambda key=key: client.delete_registered_model_tag(name, key))  # type: ignore[misc]
        now_s = time.monotonic()
        since = {other: since.get(other, now_s) for other in claims - {key}}
        for other in [other for other, first_s in since.items() if now_s - first_s > lease_s]:
            or_none(lambda other=other: client.delete_registered_model_tag(name, other))  # type: ignore[misc]
        if now_s > deadline_s:
            raise BusyError(f"{name}: another promotion, rollback or registration goes on; try again when it is done")
        time.sleep(random.uniform(0.05, 0.4))


def _claims(client: Any, name: str) -> set[str]:
    return {key for key in client.get_registered_model(name).tags if key.startswith(CLAIM)}
