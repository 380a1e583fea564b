"""torchrun that hands a preemption's notice on, and its ranks' exit codes back.

    python -m sr_core.torchrun --nproc-per-node 2 -m sr_core train

All arguments are torchrun's own. What differs from it:

    SIGTERM, SIGINT   go to the ranks, which have as long as their checkpoint takes; torchrun kills them after 30 s
    exit code         that of the rank which failed first, such as 75: stopped, and the same command goes on;
                      torchrun returns 1 for everything
    what is printed   each sentence of the ranks once, instead of once per rank below torchrun's own traceback

One node's ranks may be asked alone: all ranks of the group agree, so every node's command ends with 75.
"""

import contextlib
import functools
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed import run
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError

from sr_core.errors import SAID, STOPPED

EXPLAINED = {STOPPED, *range(2, 9)}  # with a sentence of sr_core/errors.py: another try would end the same
OTHERS = "SIGHUP,SIGQUIT"  # torchrun's own signals but the two that are ours


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the ranks to their end; returns the exit code."""
    arguments = run.parse_args(sys.argv[1:] if argv is None else list(argv))  # type: ignore[no-untyped-call]
    arguments.signals_to_handle = OTHERS
    logging.disable(logging.ERROR)  # torch's account of ranks that ended; the ranks have said why
    _restart_only_what_was_lost()
    with tempfile.TemporaryDirectory(prefix="sr-torchrun-") as said, _forwarded() as asked:
        os.environ[SAID] = said
        try:
            run.run(arguments)  # type: ignore[no-untyped-call]
        except ChildFailedError as error:
            return _exit_code({rank: failure.exitcode for rank, failure in _by_time(error.failures)}, asked)
        except RendezvousError as error:  # the node that keeps it may end before this one
            print(f"torchrun: {error}; the same command goes on from the last checkpoint", file=sys.stderr)
            return STOPPED if asked else 1
        except _NobodyToAsk:
            print("stopped without a rank at work; the same command goes on", file=sys.stderr)
            return STOPPED
    return 0


def _restart_only_what_was_lost() -> None:
    """With --max-restarts, torchrun starts a group anew whatever it ended with; not one that was asked to stop."""
    monitor = LocalElasticAgent._monitor_workers

    @functools.wraps(monitor)
    def _monitor_workers(agent: Any, group: Any) -> Any:
        result = monitor(agent, group)
        if any(failure.exitcode in EXPLAINED for failure in result.failures.values()):
            agent._remaining_restarts = 0
        return result

    LocalElasticAgent._monitor_workers = _monitor_workers  # type: ignore[method-assign]


class _NobodyToAsk(BaseException):
    """A signal came when there was no rank to hand it to."""


@contextlib.contextmanager
def _forwarded() -> Iterator[list[int]]:
    """Hands SIGTERM and SIGINT on to the ranks; the list has those that came."""
    asked: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        # the first as SIGTERM: a terminal's SIGINT may have reached a rank as well, and a second one interrupts it
        sent = signal.SIGTERM if not asked else number
        asked.append(number)
        ranks = _children()
        if not ranks:
            raise _NobodyToAsk
        for pid in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _children() -> list[int]:
    """The processes that this one started and that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state not in {"Z", "X"}:
                found.append(int(entry.parent.name))
    return found


def _by_time(failures: Mapping[int, Any]) -> list[tuple[int, Any]]:
    return sorted(failures.items(), key=lambda item: item[1].timestamp)


def _exit_code(codes: Mapping[int, int], asked: Sequence[int]) -> int:
    """Of the ranks' exit codes in the order of their ends; a negative one is a signal's."""
    stopped = {STOPPED, *(-signal.SIGTERM, -signal.SIGINT) * bool(asked)}  # asked before they could listen
    if STOPPED in codes.values():  # those that torchrun ended meanwhile
        stopped |= {-signal.SIGTERM}
    rest = {rank: code for rank, code in codes.items() if code not in stopped}
    if not rest:
        if STOPPED not in codes.values():
            print("stopped before the first step; the same command goes on", file=sys.stderr)
        return STOPPED
    rank, code = next(iter(rest.items()))
    if code < 0:
        name = signal.Signals(-code).name
        print(f"rank {rank} was ended by {name}; the same command goes on from the last checkpoint", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
