"""Named points at which tests end a process, as a lost machine would; nothing happens unless the environment asks.

    SR_FAULT=backward            SIGKILL at the first passing of the point
    SR_FAULT=backward@5          at the fifth, counted in each process
    SR_FAULT=backward@5#1        only in the process whose RANK is 1
    SR_FAULT_ONCE=/tmp/killed    only if this file can be made, so that whoever comes after it lives

The value may name another signal first: `STOP:forward@3` hangs the process, `TERM:forward@3` preempts it.
"""

import dataclasses
import functools
import os
import re
import signal

from sr_core.errors import ConfigError

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

_FORM = re.compile(r"(?:(?P<signal>[A-Z]+[0-9]*):)?(?P<name>[a-z_]+)(?:@(?P<count>[1-9][0-9]*))?(?:#(?P<rank>[0-9]+))?")
_passed: dict[str, int] = {}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Fault:
    name: str
    count: int
    rank: str  # empty: any
    signal: signal.Signals


def point(name: str) -> None:
    """A point called `name` is passed.

    Raises:
        ConfigError: SR_FAULT asks for what there is not.
    """
    if "SR_FAULT" in os.environ:
        _pass(name, _parsed(os.environ["SR_FAULT"]))


def _pass(name: str, fault: _Fault) -> None:
    assert name in POINTS, name
    if name != fault.name or (fault.rank and fault.rank != os.environ.get("RANK", "0")):
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == fault.count and _is_first():
        os.kill(os.getpid(), fault.signal)


@functools.cache
def _parsed(asked: str) -> _Fault:
    match = _FORM.fullmatch(asked)
    if match is None or match["name"] not in POINTS:
        raise ConfigError(
            f"SR_FAULT: is {asked!r}, expected [signal:]point[@count][#rank] with one of the points {', '.join(POINTS)}"
        )
    number = f"SIG{match['signal'] or 'KILL'}"
    if number not in signal.Signals.__members__:
        raise ConfigError(f"SR_FAULT: is {asked!r}, and there is no signal {number}; expected such as STOP or TERM")
    return _Fault(
        name=match["name"],
        count=int(match["count"] or 1),
        rank=match["rank"] or "",
        signal=signal.Signals[number],
    )


def _is_first() -> bool:
    """Whether SR_FAULT_ONCE lets it happen."""
    try:
        os.close(os.open(os.environ["SR_FAULT_ONCE"], os.O_CREAT | os.O_EXCL))
    except KeyError:
        return True
    except FileExistsError:
        return False
    return True
