"""What ranks on other hosts tell the driver: a small process of Ray's beside the driver, which does it to its files.

On a cluster a rank may not see the driver's disk. The courier runs on the driver's node and does there what the rank
would do to the files of a launch (flows/launch_files.py). No rank waits for it in a step: progress is sent without
waiting for an answer, and one thread on rank 0 asks whether to stop, since the ranks agree on that in each step.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from flows.launch_files import LaunchFiles
from sr_core.errors import SrError

ASK_EVERY_S = 0.5  # whether to stop


class Post(Protocol):
    """What a rank tells and asks the driver: LaunchFiles, or a Courier to them."""

    def append_progress(self, line: str) -> None:
        """As LaunchFiles."""

    def is_asked_to_stop(self) -> bool:
        """As LaunchFiles."""

    def verified_hosts(self) -> list[str]:
        """As LaunchFiles."""

    def mark_verified(self, host: str) -> None:
        """As LaunchFiles."""

    def write_result(self, values: Mapping[str, Any]) -> None:
        """As LaunchFiles."""

    def write_failure(self, who: str, error: SrError) -> None:
        """As LaunchFiles."""

    def num_failures(self) -> int:
        """As LaunchFiles."""


class Courier:
    """A Post whose calls a process beside the driver does; picklable."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def append_progress(self, line: str) -> None:
        """Sent, and not waited for."""
        self._actor.do.remote("append_progress", line)

    def is_asked_to_stop(self) -> bool:
        """As LaunchFiles."""
        return bool(self._do("is_asked_to_stop"))

    def verified_hosts(self) -> list[str]:
        """As LaunchFiles."""
        return list(self._do("verified_hosts"))

    def mark_verified(self, host: str) -> None:
        """As LaunchFiles."""
        self._do("mark_verified", host)

    def write_result(self, values: Mapping[str, Any]) -> None:
        """As LaunchFiles; all progress that was sent has arrived then."""
        self._do("write_result", dict(values))

    def write_failure(self, who: str, error: SrError) -> None:
        """As LaunchFiles."""
        self._do("write_failure", who, error)

    def num_failures(self) -> int:
        """As LaunchFiles."""
        return int(self._do("num_failures"))

    def _do(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(self._actor.do.remote(name, *arguments))


class _Beside:
    """The process beside the driver."""

    def __init__(self, directory: str) -> None:
        self._files = LaunchFiles(directory=Path(directory))

    def do(self, name: str, *arguments: Any) -> Any:
        return getattr(self._files, name)(*arguments)


def start(ray: Any, launch_files: LaunchFiles) -> Courier:
    """A courier to `launch_files`, on this process's node; it ends with this process."""
    here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
    return Courier(ray.remote(num_cpus=0, label_selector=here)(_Beside).remote(str(launch_files.directory)))


@contextlib.contextmanager
def stopping(post: Post, *, is_first: bool) -> Iterator[Callable[[], bool]]:
    """A function that says, without waiting, whether the driver asks to stop.

    By courier only the first rank asks, in a thread; of the others the function says no.
    """
    if isinstance(post, LaunchFiles):
        yield post.is_asked_to_stop
        return
    asked, ended = threading.Event(), threading.Event()

    def ask() -> None:
        while not asked.is_set() and not ended.wait(ASK_EVERY_S):
            if post.is_asked_to_stop():
                asked.set()

    if is_first:
        threading.Thread(target=ask, name="ask-to-stop", daemon=True).start()
    try:
        yield asked.is_set
    finally:
        ended.set()
