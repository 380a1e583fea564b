"""Who owns a run in a remote store, where no kernel holds a lock: a lease that its owner keeps renewing.

    runs/<run>/lock-000001.json, lock-000002.json, …      the highest number is the lease

Taking the lease is creating the next number, which one of several takers does (`Store.create`); renewing it is
writing the own number again. So an owner that was silent for too long can never write over its successor's: it sees a
higher number and knows that it has lost the run. Nothing else is asked of the store than that creating is exclusive.

A lease may be taken when it was given back, when its owner was silent for `lease_s` (the hosts' clocks are compared:
they must agree within seconds), when its owner's process is gone from this host, or when it is of the same launch,
whose group of ranks this one replaces.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr_core import files
from sr_core.errors import BusyError, RemoteError, SrError
from sr_core.remote import Store

LAUNCH = "SR_LAUNCH"  # names a launch whose ranks may change hosts; the same for all of them
FIELDS = ("host", "pid", "directory", "launch", "token", "time", "released")
ATTEMPTS = 5  # to be the one that takes it


class Lease:
    """The lease on the run below `prefix`, kept by a thread from `take` to `give_back`."""

    def __init__(self, store: Store, prefix: str, run_dir: Path, lease_s: float) -> None:
        self._store, self._prefix, self._lease_s = store, prefix, lease_s
        self._own = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "directory": str(run_dir.resolve()),
            "launch": os.environ.get(LAUNCH),
            "token": uuid.uuid4().hex,
        }
        self._number, self._lost = 0, ""
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self) -> None:
        """Makes this process the owner.

        Raises:
            BusyError: a live process owns the run; names its host and process id.
            RemoteError: the store cannot be used.
        """
        for _ in range(ATTEMPTS):
            number, owner = newest(self._store, self._prefix)
            if not self._may_take(owner):
                raise BusyError(self._busy(owner))
            mine = number + 1
            if not self._store.create(self._key(mine), self._record()):
                if newest(self._store, self._prefix)[1].get("token") != self._own["token"]:
                    continue  # another was first; else it is ours, and the answer to the first attempt was lost
            elif newest(self._store, self._prefix)[0] != mine:
                continue  # the list was old: meanwhile this number was taken, given back and swept
            self._number = mine
            self._sweep()
            self._keeper.start()
            return
        raise BusyError(f"{self._store.url}/{self._prefix}: others take the run at the same time; try again")

    def _may_take(self, owner: Mapping[str, Any]) -> bool:
        if not owner or owner.get("released") or time.time() - owner["time"] > self._lease_s:
            return True
        if owner["launch"] is not None and owner["launch"] == self._own["launch"]:
            return True
        if owner["host"] != self._own["host"]:
            return False
        # the caller holds the kernel's lock on its directory: whoever had the lease from there is gone
        return owner["directory"] == self._own["directory"] or not files.is_alive(owner["pid"])

    def _busy(self, owner: Mapping[str, Any]) -> str:
        left_s = owner["time"] + self._lease_s - time.time()
        return (
            f"{self._store.url}/{self._prefix} is in use by process {owner['pid']} on host {owner['host']}: wait for "
            f"it to end, or stop it, and try again (if it is gone, its lease ends in {max(1, round(left_s))} s)"
        )

    def check(self) -> None:
        """Raises what the thread met, if the lease is lost; asks nothing of the store.

        Raises:
            BusyError: it is.
        """
        if self._lost:
            raise BusyError(self._lost)

    def renew(self) -> None:
        """Asks whether the run is still this process's, and says that this process lives.

        Raises:
            BusyError: another has taken it.
        """
        self.check()
        number, owner = newest(self._store, self._prefix)
        if number != self._number:
            self._lost = (
                f"{self._store.url}/{self._prefix} was taken over by process {owner.get('pid', '?')} on host "
                f"{owner.get('host', '?')}, since this one was silent for longer than storage.lease_s; it goes on there"
            )
            raise BusyError(self._lost)
        self._store.write(self._key(self._number), self._record())

    def give_back(self) -> None:
        """Lets another take the run at once; where the store does not answer, the lease ends by itself."""
        if not self._number:
            return
        self._ended.set()
        self._keeper.join()
        try:
            if not self._lost:
                self._store.write(self._key(self._number), self._record(released=True))
        except (SrError, OSError):
            pass

    def _keep(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            try:
                self.renew()
            except BusyError:
                return
            except (SrError, OSError):
                continue  # the store may be back at the next

    def _sweep(self) -> None:
        for key in self._store.sizes(self._prefix):
            if (number := _number_of(key, self._prefix)) and number < self._number:
                self._store.delete(key)

    def _record(self, *, released: bool = False) -> bytes:
        return files.to_json({**self._own, "time": time.time(), "released": released}).encode()

    def _key(self, number: int) -> str:
        return f"{self._prefix}/lock-{number:06d}.json"


def newest(store: Store, prefix: str) -> tuple[int, Mapping[str, Any]]:
    """The number of the lease on the run below `prefix`, and who has or had it; 0 and nobody if no one ever took it.

    Raises:
        RemoteError: the store cannot be used, or holds what is no lease.
    """
    for _ in range(ATTEMPTS):
        number = max((_number_of(key, prefix) for key in store.sizes(prefix)), default=0)
        if not number:
            return 0, {}
        key = f"{prefix}/lock-{number:06d}.json"
        if (text := store.read(key)) is None:
            continue  # swept between the two calls
        try:
            owner = json.loads(text)
            return number, {name: owner[name] for name in FIELDS}
        except (ValueError, KeyError, TypeError):
            raise RemoteError(f"{store.url}/{key}: is no lease; delete it if no training goes on there") from None
    raise RemoteError(f"{store.url}/{prefix}: its lease changes all the time; try again")


def _number_of(key: str, prefix: str) -> int:
    name = key.removeprefix(f"{prefix}/")
    digits = name.removeprefix("lock-").removesuffix(".json")
    return int(digits) if name == f"lock-{digits}.json" and digits.isdecimal() else 0
