"""Read by every Python process that a rehearsal starts: its table of archives, and a mark while a phase lasts."""

import contextlib
import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INDEX_S = 0.2  # an index is written in a millisecond, which no kill would meet


def _install(settings: dict[str, Any]) -> None:
    from sr_core.data import archives

    archives.ARCHIVES = tuple(
        dataclasses.replace(archive, **settings["table"][archive.name])
        for archive in archives.ARCHIVES
        if archive.name in settings["table"]
    )
    for split, numbers in archives.NUMBERS.items():
        archives.NUMBERS[split] = numbers[: settings["counts"][split]]

    from sr_core.data import degrade, extract, fetch, index, writers

    phases = {
        "fetch": (fetch, "fetch", 0.0),
        "extract": (extract, "extract", 0.0),
        "degrade": (degrade, "degraded", 0.0),
        "write": (writers, "write_shards", 0.0),
        "index": (index, "write_index", INDEX_S),
    }
    for phase, (module, name, pause_s) in phases.items():
        setattr(module, name, _marked(getattr(module, name), phase, Path(settings["marks"]), pause_s))


def _marked(function: Callable[..., Any], phase: str, marks: Path, pause_s: float) -> Callable[..., Any]:
    @functools.wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        with _mark(marks / f"{phase}-{os.getpid()}-{time.monotonic_ns()}"):
            time.sleep(pause_s)
            result = function(*args, **kwargs)
            time.sleep(pause_s)
            return result

    return marked


@contextlib.contextmanager
def _mark(path: Path) -> Iterator[None]:
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


if "SR_REHEARSAL" in os.environ:
    _install(json.loads(os.environ["SR_REHEARSAL"]))
