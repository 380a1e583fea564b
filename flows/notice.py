"""SIGTERM to one process of Ray's, as a node sends that is about to go: the whole group writes its checkpoint first.

The loop runs in a thread of its worker, and signals go to main threads. There a worker answers the controller's
questions, a few times a second, and so meets the signal; the rank asks for a stop in its next step, on which all ranks
agree. Whoever launched the group starts it again (flows/train.py) or says how to go on.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_came = threading.Event()


def came() -> bool:
    """Whether this worker was sent a SIGTERM."""
    return _came.is_set()


def listen() -> None:
    """Called in a worker's main thread. A second SIGTERM does what the first did before."""
    before = signal.getsignal(signal.SIGTERM)

    def on_signal(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, before)
        _came.set()

    signal.signal(signal.SIGTERM, on_signal)


def callback() -> Any:
    """For Ray's controller: lets every worker of a group listen."""
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback

    class Listen(WorkerGroupCallback):
        def after_worker_group_start(self, worker_group: Any) -> None:
            worker_group.execute(listen)

    return Listen()


@contextlib.contextmanager
def passed_on(ask_to_stop: Callable[[], None], is_asked: Callable[[], bool]) -> Iterator[None]:
    """For Ray's driver: SIGTERM asks the ranks to stop; once they are asked, it ends the driver as Ray does."""
    before = signal.getsignal(signal.SIGTERM)

    def on_signal(number: int, _frame: object) -> None:
        if not is_asked():
            ask_to_stop()
            return
        signal.signal(number, before)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
