"""Named points at which tests end a process, as a lost machine would; nothing happens unless the environment asks.

    SR_FAULT=backward            SIGKILL at the first passing of the point
    SR_FAULT=backward@5          at the fifth, counted in each process
    SR_FAULT=backward@5#1        only in the process whose RANK is 1
    SR_FAULT_ONCE=/tmp/killed    only if this file can be made, so that whoever comes after it lives

The value may name another signal first: `STOP:forward@3` hangs the process, `TERM:forward@3` preempts it.
"""

import os
import signal

POINTS = (
    "import",  # the program has started, nothing is read
    "group_open",  # the ranks know each other
    "shard_open",  # shards are mapped and verified
    "first_batch",  # of this launch
    "forward",
    "backward",
    "optimizer",  # gradients are summed, nothing is updated
    "save_snapshot",  # a checkpoint's tensors are copied, nothing is written
    "save_tensors",  # they are written, the manifest is not
    "save_manifest",  # it is, and the directory has not its name
    "save_commit",  # it has, and the oldest is still there
    "evaluation",  # among the validation images
    "shutdown",  # the last step is saved, the program has not ended
)

_passed: dict[str, int] = {}


def point(name: str) -> None:
    """A point called `name` is passed."""
    if "SR_FAULT" in os.environ:
        _pass(name, os.environ["SR_FAULT"])


def _pass(name: str, asked: str) -> None:
    assert name in POINTS, name
    kind, separator, rest = asked.partition(":")
    where, _, rank = (rest if separator else asked).partition("#")
    wanted, _, count = where.partition("@")
    if name != wanted or (rank and rank != os.environ.get("RANK", "0")):
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(count or 1) and _is_first():
        os.kill(os.getpid(), signal.Signals[f"SIG{kind}"] if separator else signal.SIGKILL)


def _is_first() -> bool:
    """Whether SR_FAULT_ONCE lets it happen."""
    try:
        os.close(os.open(os.environ["SR_FAULT_ONCE"], os.O_CREAT | os.O_EXCL))
    except KeyError:
        return True
    except FileExistsError:
        return False
    return True
