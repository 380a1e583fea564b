"""DIV2K's archives become folders, each whole or not at all, and what lies in them can be checked later.

A zip file is looked through before anything is written: what is not one of the archive's images by its very name,
would leave the folder, is a link, encrypted, there twice, or grows out of proportion is refused, all of it in one
error. While it is unpacked nothing is believed of its header: each member's size, CRC and PNG mark are checked, and
no more is written than was announced. The folder then appears by one rename.

`.manifests/<archive>.json` keeps the size and sha256 of every file. It is written just before the rename: if a crash
falls between the two, the folder is not what the manifest says, and the archive is unpacked again. Sizes are compared
whenever the data set is used (`lacking`), digests when its files are read anyway (`check_digests`).
"""

import copy
import dataclasses
import errno
import hashlib
import json
import os
import queue
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath, PureWindowsPath

from sr_core.data.archives import Archive, member_of, members
from sr_core.errors import SourceError, listed, shown
from sr_core.files import CHUNK_BYTES, FileRecord, commit_directory, size_mismatch, to_json, write_atomic
from sr_core.progress import Progress, size_text

MANIFESTS = ".manifests"
MOST_RATIO = 20  # unpacked to packed bytes; that of PNG files is 1
SMALL_BYTES = 1 << 20  # a member up to this size may have any ratio
MOST_THREADS = 4  # the disk keeps no more busy

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_LITTER = {"__MACOSX", ".DS_Store", "Thumbs.db"}  # of file managers: left out
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags of a member: encrypted, strongly, and its header too
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# what zipfile raises on damage
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What an archive left on the disk: every file, by its path below data/raw/div2k."""

    archive_sha256: str
    files: Mapping[str, FileRecord]


def extract(path: Path, archive: Archive, raw: Path, *, progress: Progress) -> Manifest:
    """Unpacks the zip file at `path`, which should be `archive`, to its folder below `raw`, replacing that folder.

    Raises:
        SourceError: it is damaged or holds what it should not, and lists all of that; or the disk is full.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(path))]
        found = _checked(opened[0], path, archive)
        size = sum(info.file_size for info in found.values())
        _check_space(path, raw, size)
        opened += [stack.enter_context(_opened(path)) for _ in range(_num_threads() - 1)]
        progress.start(f"Unpacking {archive.name}", total=len(found))
        try:
            with commit_directory(raw / archive.folder) as folder:
                files = _unpack(opened, found, folder, path, progress)
                manifest = Manifest(archive_sha256=archive.sha256, files=files)
                write_atomic(manifest_path(raw, archive), to_json(dataclasses.asdict(manifest)))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room(path, raw, size) from None
            raise
    return manifest


def manifest_path(raw: Path, archive: Archive) -> Path:
    """Where the manifest of `archive` is."""
    return raw / MANIFESTS / f"{Path(archive.name).stem}.json"


def load_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`; None: there is none, or it cannot be read."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): FileRecord(**record) for name, record in fields["files"].items()}
        return Manifest(archive_sha256=fields["archive_sha256"], files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def lacking(raw: Path, files: Mapping[str, FileRecord]) -> list[str]:
    """A line on every file of a manifest that is missing below `raw` or has another size."""
    return [line for name, record in files.items() if (line := size_mismatch(raw / name, record))]


def expected_digests(raw: Path) -> dict[Path, str]:
    """The sha256 of every file below `raw` that came out of an archive, as its manifest has it."""
    manifests = [load_manifest(path) for path in sorted((raw / MANIFESTS).glob("*.json"))]
    return {raw / name: record.sha256 for each in manifests if each for name, record in each.files.items()}


def check_digests(raw: Path, found: Mapping[Path, str]) -> None:
    """Compares the sha256 of files below `raw` with what their archives held; files of no archive pass.

    Raises:
        SourceError: some differ; lists all of them.
    """
    expected = expected_digests(raw)
    changed = [str(path) for path, sha256 in found.items() if expected.get(path, sha256) != sha256]
    if changed:
        raise SourceError(
            f"{raw}: {len(changed)} files are no longer what their archives held (sha256 differs); delete them and run "
            f"the same command again, then their archives are unpacked again, and fetched if need be:{listed(changed)}"
        )


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise SourceError(f"{path}: is no whole zip file ({error}); delete it, and it is fetched again") from None


def _checked(opened: zipfile.ZipFile, path: Path, archive: Archive) -> dict[str, zipfile.ZipInfo]:
    """The members by the names they shall have."""
    expected = set(members(archive))
    folded = {name.casefold(): name for name in expected}
    found: dict[str, zipfile.ZipInfo] = {}
    offenders = []
    counts = Counter(member_of(archive, info.orig_filename) for info in opened.infolist())
    for info in opened.infolist():
        name = member_of(archive, info.orig_filename)
        if fault := _fault(info):
            offenders.append(f"{shown(name)}: {fault}")
        elif name in expected:
            found[name] = info
        elif not (_LITTER & set(name.split("/")) or (info.is_dir() and f"{archive.folder}/".startswith(name))):
            twin = folded.get(name.casefold())
            offenders.append(f"{shown(name)}: {'not expected' if twin is None else f'{twin} in other letters'}")
    offenders += [f"{shown(name)}: there {count} times" for name, count in counts.items() if count > 1]
    offenders += [f"{name}: missing" for name in sorted(expected - counts.keys())]
    size = path.stat().st_size
    packed = sum(info.compress_size for info in opened.infolist())
    unpacked = sum(info.file_size for info in opened.infolist())
    if packed > size:
        offenders.append(f"its members overlap: they take {packed} of its {size} bytes")
    if unpacked > max(SMALL_BYTES, MOST_RATIO * size):
        offenders.append(f"all members: {unpacked} bytes out of {size}, which no images need")
    if offenders:
        raise SourceError(
            f"{path}: is not {archive.name} as its authors publish it, so nothing was unpacked; delete it, and it is "
            f"fetched again from {archive.url()}:{listed(offenders)}"
        )
    return found


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member by its header alone."""
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    faults = (
        (shown(name) != name, "its name holds control characters"),
        (name.startswith("/") or PureWindowsPath(name).drive, "an absolute path"),
        ("\\" in name, "its name holds a backslash"),
        (".." in name.split("/"), "leads out of the folder"),
        (kind == stat.S_IFLNK, "a link"),
        (kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), "a special file"),
        (info.flag_bits & _ENCRYPTED, "encrypted"),
        (info.compress_type not in _METHODS, f"packed by method {info.compress_type}, expected stored or deflated"),
        (
            info.file_size > max(SMALL_BYTES, MOST_RATIO * info.compress_size),
            f"{info.file_size} bytes out of {info.compress_size}, which no image needs",
        ),
    )
    return next((text for wrong, text in faults if wrong), None)


def _unpack(
    opened: Sequence[zipfile.ZipFile],
    found: Mapping[str, zipfile.ZipInfo],
    folder: Path,
    path: Path,
    progress: Progress,
) -> dict[str, FileRecord]:
    """Writes every member into `folder`, in as many threads as there are open files."""
    free: queue.SimpleQueue[zipfile.ZipFile] = queue.SimpleQueue()
    for each in opened:
        free.put(each)

    def write(name: str) -> FileRecord | str:
        mine = free.get()
        try:
            return _write(mine, found[name], folder / PurePosixPath(name).name)
        except _DAMAGE as error:
            return f"{name}: damaged ({error})"
        finally:
            free.put(mine)

    pool = ThreadPoolExecutor(len(opened))
    results: dict[str, FileRecord | str] = {}
    try:
        for name, result in zip(found, pool.map(write, found), strict=True):
            results[name] = result
            progress.advance()
    finally:
        pool.shutdown(cancel_futures=True)
    damage = [result for result in results.values() if isinstance(result, str)]
    if damage:
        raise SourceError(
            f"{path}: {len(damage)} members cannot be unpacked; delete it, and it is fetched again:{listed(damage)}"
        )
    return {name: result for name, result in results.items() if isinstance(result, FileRecord)}


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> FileRecord:
    """Writes one member, at most as long as its header says, and checks it."""
    # zipfile stops silently where the header's size is reached: told of one byte more, it shows whether there is more
    info, announced = copy.copy(info), info.file_size
    info.file_size += 1
    digest, size, head = hashlib.sha256(), 0, b""
    with opened.open(info) as member, target.open("wb") as file:
        while chunk := member.read(CHUNK_BYTES):
            size += len(chunk)
            if size > announced:
                raise zipfile.BadZipFile(f"more than the {announced} bytes that its header says")
            head = head or chunk[: len(_PNG_HEAD)]
            digest.update(chunk)
            file.write(chunk)
    if size != announced:
        raise zipfile.BadZipFile(f"{size} bytes, its header says {announced}")
    if head != _PNG_HEAD:
        raise zipfile.BadZipFile("no PNG file")
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def _num_threads() -> int:
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


def _check_space(path: Path, raw: Path, size: int) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(raw).free < size:
        raise _no_room(path, raw, size)


def _no_room(path: Path, raw: Path, size: int) -> SourceError:
    return SourceError(
        f"{raw}: no space left to unpack {path.name}, which takes {size_text(size)}; free some or set data.root to "
        "another disk, and run the same command again"
    )
