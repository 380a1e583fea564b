"""DIV2K in data/raw/div2k: what a run needs of it, fetched and unpacked here, or unpacked by hand.

A folder with a manifest was unpacked here: its sizes are compared with the manifest whenever it is used, and it is
unpacked again where they differ. A folder without one is the user's: it is used where it is whole, and never touched.
Each step can be killed: a zip file is there or not (`fetch.py`), so is its folder (`extract.py`), after which the zip
file is removed.
"""

import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sr_core.data import archives, extract, fetch
from sr_core.data.archives import Archive
from sr_core.data.images import SUFFIXES
from sr_core.errors import SourceError, listed, shown
from sr_core.files import wait_for_lock
from sr_core.params import DataParams
from sr_core.progress import Progress, size_text


def materialise(params: DataParams, *, progress: Progress) -> Path:
    """raw/div2k below `params.root`, with all images that `params` needs; another process at it is waited for.

    Raises:
        SourceError: archives cannot be had or are not DIV2K's, or what lies there is in the way.
    """
    raw = Path(params.root) / "raw" / "div2k"
    needed = archives.needed(params)
    with _alone(Path(params.root) / ".locks" / "raw-div2k", progress):
        todo = _lacking(raw, needed, progress)
        zips = _zips(params, todo, progress)
        for archive in needed:
            if archive in todo:
                extract.extract(zips[archive.name], archive, raw, progress=progress)
            _discard(params, raw, archive)
    return raw


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What lies in a folder of DIV2K: archives to be unpacked (again), why again, and what is in the way of it."""

    todo: tuple[Archive, ...]
    damage: Mapping[Archive, Sequence[str]]
    offenders: tuple[str, ...]


def look(raw: Path, needed: Sequence[Archive]) -> Found:
    """What lies in `raw` of the archives `needed`: names and sizes, no byte is read."""
    todo: dict[Archive, Sequence[str]] = {}
    offenders: list[str] = []
    by_hand = set()  # splits whose HR images the user unpacked
    for archive in needed:
        folder, entries, damage = raw / archive.folder, _entries(raw, archive), _damage(raw, archive)
        if damage is None and entries:
            missing = sorted(set(archives.members(archive)) - entries.keys())
            offenders += [_incomplete(folder, archive, missing)] if missing else []
            by_hand |= {archive.split} if archive.track is None else set()
        elif damage is None and archive.track == "bicubic" and archive.split in by_hand:
            continue  # made here from HR images of the user's, bit for bit the same
        elif damage != []:
            todo[archive] = damage or () if entries else ()
        offenders += _in_the_way(folder, archive, entries, replaced=archive in todo)
    damaged = {archive: lines for archive, lines in todo.items() if lines}
    return Found(todo=tuple(todo), damage=damaged, offenders=tuple(offenders))


def _lacking(raw: Path, needed: Sequence[Archive], progress: Progress) -> Sequence[Archive]:
    """The archives whose folders must be made, or made again.

    Raises:
        SourceError: a folder that is the user's is incomplete, or a file that is would be trained on or lost.
    """
    found = look(raw, needed)
    for archive, lines in found.damage.items():
        progress.say(f"{raw / archive.folder} is damaged, so {archive.name} is unpacked again:{listed(lines, most=5)}")
    if found.offenders:
        raise SourceError(f"data.source: div2k cannot be used as it lies in {raw}:{listed(found.offenders)}")
    return found.todo


def _entries(raw: Path, archive: Archive) -> dict[str, Path]:
    """What lies in the folder of `archive`, by the member's name that it has or would have."""
    folder = raw / archive.folder
    found = folder.iterdir() if folder.is_dir() else ()
    # file managers leave hidden files of their own
    return {
        archives.member_of(archive, f"{archive.folder}/{path.name}"): path
        for path in found
        if not path.name.startswith(".")
    }


def _damage(raw: Path, archive: Archive) -> list[str] | None:
    """How the folder differs from its manifest; None: it has none."""
    path = extract.manifest_path(raw, archive)
    if not path.exists():
        return None
    manifest = extract.load_manifest(path)
    if (
        manifest is None
        or manifest.archive_sha256 != archive.sha256
        or manifest.files.keys() != set(archives.members(archive))
    ):
        return [f"{path}: is damaged, or of another archive"]
    return extract.lacking(raw, manifest.files)


def _in_the_way(folder: Path, archive: Archive, entries: Mapping[str, Path], *, replaced: bool) -> list[str]:
    """Files of the user's that would be lost with the folder, or, where it stays, images that would be trained on."""
    if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
        return [f"{folder}: is not a folder; move it away"]
    foreign = entries.keys() - set(archives.members(archive))
    return [
        f"{shown(entries[name])}: is not DIV2K's; move it away"
        for name in sorted(foreign)
        if replaced or entries[name].suffix.lower() in SUFFIXES
    ]


def _incomplete(folder: Path, archive: Archive, missing: Sequence[str]) -> str:
    names = ", ".join(Path(name).name for name in missing[:3]) + (", …" if len(missing) > 3 else "")
    return (
        f"{folder}: lacks {len(missing)} of its {len(archives.members(archive))} images ({names}) and was not unpacked "
        f"by this program; put them there, or move the folder away, and {archive.name} is fetched and unpacked"
    )


def _zips(params: DataParams, todo: Sequence[Archive], progress: Progress) -> dict[str, Path]:
    """By name, the zip files of `todo`: from `params.archives`, or fetched."""
    found: dict[str, Path] = {}
    if params.archives is not None and todo:
        progress.start(f"Checking the archives in {params.archives}", total=len(todo))
        offenders = []
        for archive in todo:
            try:
                if path := archives.locate(archive, Path(params.archives)):
                    found[archive.name] = path
            except SourceError as error:
                offenders.append(str(error))
            progress.advance()
        if offenders:
            raise SourceError("\n".join(dict.fromkeys(offenders)))
    absent = [archive for archive in todo if archive.name not in found]
    _check_space(params, todo, absent)
    downloads = [
        fetch.Download(name=each.name, url=each.url(params.mirror), bytes=each.bytes, sha256=each.sha256)
        for each in absent
    ]
    if downloads:
        found |= fetch.fetch(downloads, _downloaded(params), parallel=params.downloads, progress=progress)
    return found


def _check_space(params: DataParams, todo: Sequence[Archive], absent: Sequence[Archive]) -> None:
    """Refuses to begin what cannot be finished: PNG files take as much room in a folder as in a zip file."""
    parts = (_downloaded(params) / f"{each.name}{end}" for each in absent for end in ("", ".part"))
    there = sum(part.stat().st_blocks * 512 for part in parts if part.is_file())
    size = sum(each.bytes for each in (*todo, *absent)) - there
    free = shutil.disk_usage(params.root).free
    if size > free:
        raise SourceError(
            f"data.root: {params.root} has {size_text(free)} free, but DIV2K's {len(todo)} archives take "
            f"{size_text(size)} while they are fetched and unpacked; free some or set data.root to another disk"
        )


def _downloaded(params: DataParams) -> Path:
    return Path(params.root) / "raw" / "archives"


def _discard(params: DataParams, raw: Path, archive: Archive) -> None:
    """Removes a fetched zip file whose folder is finished."""
    folder = _downloaded(params)
    given = params.archives is not None and Path(params.archives).resolve() == folder.resolve()
    if not params.keep_archives and not given and extract.manifest_path(raw, archive).exists():
        (folder / archive.name).unlink(missing_ok=True)


@contextmanager
def _alone(lock: Path, progress: Progress) -> Iterator[None]:
    told = False

    def sleep(seconds: float) -> None:
        nonlocal told
        if not told:
            progress.say(f"another process fetches or unpacks DIV2K; waiting for it to end ({lock})")
            told = True
        time.sleep(seconds)

    with wait_for_lock(lock, sleep=sleep):
        yield
