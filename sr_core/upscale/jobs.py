"""Which files are enlarged into which: what `upscale` was given, as sources and targets, all checked before any work.

photo.jpg          a file
holiday            a folder: the images in it, with --recursive those below it as well
'holiday/*.jpg'    a pattern, should the shell have left it alone; ** means folders at any depth
-                  standard input, once

A result is called <name>-x<S>.<format>, beside its source or at the same place below the output folder.
"""

import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sr_core.data.images import SUFFIXES
from sr_core.data.pictures import FORMATS
from sr_core.errors import ConfigError, listed, shown

STANDARD = "-"  # input or output
_NAME_OF_INPUT = "stdin"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One picture to enlarge."""

    source: Path | None  # None: standard input
    target: Path | None  # None: standard output
    format: str

    def __str__(self) -> str:
        source = "standard input" if self.source is None else shown(self.source)
        return f"{source} -> {'standard output' if self.target is None else shown(self.target)}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All of them, and what was found that is none."""

    jobs: tuple[Job, ...]
    results: tuple[Path, ...]  # of an earlier run, which are not enlarged again
    num_others: int  # files in folders and of patterns that are not called like images


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    path: Path | None
    below: Path  # the path below the folder that was searched, or the name
    is_named: bool = True  # by the user, and not found in a folder or by a pattern


def plan(
    given: Sequence[str],
    scale: int,
    *,
    output: str | None = None,
    format: str | None = None,
    recursive: bool = False,
    overwrite: bool = False,
) -> Plan:
    """What to do with the files, folders and patterns in `given`; see the command's help for the options.

    Raises:
        ConfigError: nothing is found, or targets that cannot be meant, all of them listed.
    """
    found, num_others = _found(given, recursive)
    if not found:
        where = ", ".join(map(shown, given))
        raise ConfigError(
            f"{where}: no image is there ({num_others} other files); expected {', '.join(sorted(SUFFIXES))}"
            f"{'' if recursive else '; --recursive looks into folders below as well'}"
        )
    if output is None and found[0].path is None:
        output = STANDARD
    written = _format(output, format)
    jobs = [_job(one, output, written, scale) for one in found]
    if len(jobs) > 1 and (None in {job.target for job in jobs} or _is_file(output)):
        target = "standard output" if output == STANDARD else output
        raise ConfigError(f"--output: {target} takes one picture, and {len(jobs)} are given; name a folder")
    jobs, results = _without_results(found, jobs, overwrite)
    _check_targets(jobs)
    _check_folders(jobs)
    return Plan(jobs=tuple(jobs), results=tuple(results), num_others=num_others)


def _found(given: Sequence[str], recursive: bool) -> tuple[list[_Found], int]:
    """Every image once, in the order given, folders in the order of their names; how many other files there are."""
    all_found: dict[str, _Found] = {}
    num_others = 0
    for one in given:
        for each in _expanded(one, recursive):
            if each.is_named or (each.path is not None and each.path.suffix.lower() in SUFFIXES):
                all_found.setdefault(_place(each.path), each)
            else:
                num_others += 1
    return list(all_found.values()), num_others


def _place(path: Path | None) -> str:
    """Where a file lies, whatever links lead there, and how it is called there."""
    return STANDARD if path is None else os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118


def _expanded(given: str, recursive: bool) -> Iterator[_Found]:
    path = Path(given)
    if given == STANDARD:
        yield _Found(path=None, below=Path(_NAME_OF_INPUT))
    elif os.path.isdir(path):  # noqa: PTH112  # is_dir() raises where a name is too long
        files = (file for file in sorted(path.rglob("*") if recursive else path.iterdir()) if file.is_file())
        for file in files:
            below = file.relative_to(path)
            if not any(part.startswith(".") for part in below.parts):
                yield _Found(path=file, below=below, is_named=False)
    elif glob.has_magic(given) and not os.path.lexists(path):
        fixed = Path(*_until_magic(path))
        for name in sorted(glob.glob(given, recursive=True)):  # noqa: PTH207  # absolute patterns as well
            if Path(name).is_file():
                yield _Found(path=Path(name), below=Path(name).relative_to(fixed), is_named=False)
    else:
        yield _Found(path=path, below=Path(path.name))


def _until_magic(path: Path) -> Iterator[str]:
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _is_file(output: str | None) -> bool:
    """Whether `output` names a file, by its suffix, and not a folder."""
    if output in {None, STANDARD} or output.endswith(os.sep) or os.path.isdir(output):  # noqa: PTH112
        return False
    return Path(output).suffix.lower().removeprefix(".") in FORMATS


def _format(output: str | None, format: str | None) -> str:
    if output is None or not _is_file(output):
        return format or "png"
    suffix = Path(output).suffix.lower().removeprefix(".")
    if format is not None and FORMATS[format] != FORMATS[suffix]:
        raise ConfigError(f"--format: is {format}, and --output ends in .{suffix}; give one of them")
    return suffix


def _job(found: _Found, output: str | None, format: str, scale: int) -> Job:
    if output == STANDARD:
        return Job(source=found.path, target=None, format=format)
    if output is not None and _is_file(output):
        return Job(source=found.path, target=Path(output), format=format)
    folder = found.below.parent if output is not None or found.path is None else found.path.parent
    folder = folder if output is None else Path(output) / folder
    return Job(source=found.path, target=folder / f"{found.below.stem}-x{scale}.{format}", format=format)


def _without_results(found: list[_Found], jobs: list[Job], overwrite: bool) -> tuple[list[Job], list[Path]]:
    """The jobs whose source is not another's target, and those sources: results of an earlier run.

    Raises:
        ConfigError: such a source was named, and would be overwritten.
    """
    targets = {os.path.realpath(job.target): job for job in jobs if job.target is not None}
    kept, results, lost = [], [], []
    for one, job in zip(found, jobs, strict=True):
        by = None if one.path is None else targets.get(os.path.realpath(one.path))
        if by is None:
            kept.append(job)
        elif by is job or (one.is_named and overwrite):
            lost.append(f"{shown(one.path)}: would be overwritten by the result of {shown(by.source or STANDARD)}")
        else:
            assert one.path is not None
            results.append(one.path)
    if lost:
        raise ConfigError(f"a source is never overwritten; choose another --output, or leave it out:{listed(lost)}")
    return kept, results


def _check_targets(jobs: Sequence[Job]) -> None:
    """Refuses two sources with one target."""
    by_target: dict[str, list[Job]] = {}
    for job in jobs:
        if job.target is not None:
            by_target.setdefault(os.path.realpath(job.target), []).append(job)
    twice = [
        f"{shown(several[0].target)}: from {' and '.join(shown(job.source or 'standard input') for job in several)}"
        for several in by_target.values()
        if len(several) > 1
    ]
    if twice:
        raise ConfigError(
            f"several photographs would be written to one file; give each a folder of its own:{listed(twice)}"
        )


def _check_folders(jobs: Sequence[Job]) -> None:
    """Refuses folders that are none, or where nothing may be written."""
    wrong = []
    for folder in {job.target.parent: None for job in jobs if job.target is not None}:
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not os.path.isdir(there):  # noqa: PTH112
            wrong.append(f"{shown(there)}: is not a folder")
        elif not os.access(there, os.W_OK | os.X_OK):
            wrong.append(f"{shown(there)}: nothing may be written there")
    if wrong:
        raise ConfigError(f"results cannot be written; choose another --output:{listed(wrong)}")
