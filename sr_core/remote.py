"""A store that several hosts share: an S3 bucket's prefix, or a folder.

    s3://bucket/prefix      credentials and region as AWS's own tools find them; another server by storage.endpoint
    file:///folder, /folder

Names in it are keys such as `runs/<run>/params.json`. What stands under a key is there whole or not at all: a put to
S3 is, and in a folder it is a rename. `create` has one winner (a conditional put, or a hard link). No call waits
without limit, and one that fails for want of a connection is repeated a few times. s3fs is imported where it is used.
"""

import contextlib
import dataclasses
import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.callbacks import Callback

from sr_core import files
from sr_core.errors import RemoteError
from sr_core.files import FileRecord

PIECE_BYTES = 8 << 20  # of a file that is fetched
PART_BYTES = 16 << 20  # of a file that is put in parts
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 30.0
SLOWEST_BYTES_PER_S = 100e3  # a call that moves less is given up
WAITS_S = (0.5, 1.0, 2.0)  # before each repetition

Moved = Callable[[int], object]  # is told of bytes that have gone over


def _nobody(_num_bytes: int) -> None:
    pass


class Store(Protocol):
    """What both kinds of store do. Every method raises RemoteError where the store cannot be used."""

    @property
    def url(self) -> str:
        """Where it is, for sentences."""

    def read(self, key: str) -> bytes | None:
        """What stands under `key`, or None."""

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Its bytes `start` to `end` - 1; FileNotFoundError if there is none."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key below the folder `prefix` and its bytes."""

    def write(self, key: str, data: bytes) -> None:
        """Puts `data` under `key`, over what stands there."""

    def upload(self, path: Path, key: str, moved: Moved = _nobody) -> None:
        """The same with a file."""

    def create(self, key: str, data: bytes) -> bool:
        """The same if nothing stands there; whether that was so. Of several callers one wins."""

    def delete(self, key: str) -> None:
        """Removes it, if it is there."""


def open_store(url: str, endpoint: str | None = None) -> Store:
    """The store at `url`; nothing is asked of it yet.

    Raises:
        RemoteError: the protocol is unknown, or s3fs is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _Folder(root=Path(url))
    if scheme == "file":
        return _Folder(root=Path(unquote(urlsplit(url).path)))
    if scheme != "s3":
        raise RemoteError(f"storage.remote: {url} has the protocol {scheme}, expected s3://, file:// or a folder")
    if not rest.strip("/"):
        raise RemoteError(f"storage.remote: {url} names no bucket, expected s3://bucket/prefix")
    return _Objects(rest.strip("/"), endpoint)


def fetch(store: Store, key: str, path: Path, record: FileRecord, *, moved: Moved = _nobody) -> None:
    """Brings the file under `key` to `path`, which appears when every byte is there and `record` says it is right.

    What an interrupted fetch has left is not fetched again. One at a time for each `path`: hold a lock.

    Raises:
        RemoteError: it is not there, is damaged, or cannot be had.
        OSError: it cannot be written; nothing of it is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{record.sha256[:16]}.part")
    resumed = part.exists()
    try:
        found = _append(store, key, part, record, moved)
        if found != record and resumed:  # what was left of it may be what a crash of the machine made of it
            part.unlink()
            moved(-found.bytes)
            found = _append(store, key, part, record, moved)
    except FileNotFoundError:
        part.unlink(missing_ok=True)
        raise RemoteError(f"{store.url}/{key}: is not there, expected {record.bytes} bytes") from None
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    if found != record:
        part.unlink()
        raise RemoteError(
            f"{store.url}/{key}: has {found.bytes} bytes with sha256 {found.sha256[:12]}…, expected {record.bytes} "
            f"with {record.sha256[:12]}…"
        )
    files.commit_file(part, path)


def _append(store: Store, key: str, part: Path, record: FileRecord, moved: Moved) -> FileRecord:
    """Goes on with `part` to its end; returns what it then is."""
    digest, position = hashlib.sha256(), 0
    with part.open("a+b") as file:
        if file.tell() > record.bytes:
            file.truncate(0)
        file.seek(0)
        while chunk := file.read(files.CHUNK_BYTES):
            digest.update(chunk)
            position += len(chunk)
        moved(position)
        while position < record.bytes:
            piece = store.read_range(key, position, min(position + PIECE_BYTES, record.bytes))
            if not piece:
                break
            file.write(piece)
            file.flush()
            digest.update(piece)
            position += len(piece)
            moved(len(piece))
    return FileRecord(bytes=position, sha256=digest.hexdigest())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    """A folder, perhaps of a network file system."""

    root: Path

    @property
    def url(self) -> str:
        return str(self.root)

    def read(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def read_range(self, key: str, start: int, end: int) -> bytes:
        with (self.root / key).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def sizes(self, prefix: str) -> dict[str, int]:
        found = {}
        for path in (self.root / prefix).rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                if path.is_file() and not path.name.startswith("."):
                    found[str(path.relative_to(self.root))] = path.stat().st_size
        return found

    def write(self, key: str, data: bytes) -> None:
        files.write_atomic(self.root / key, data)

    def upload(self, path: Path, key: str, moved: Moved = _nobody) -> None:
        with files.atomic_path(self.root / key) as temporary, path.open("rb") as source, temporary.open("wb") as copy:
            while piece := source.read(PIECE_BYTES):
                copy.write(piece)
                moved(len(piece))

    def create(self, key: str, data: bytes) -> bool:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(data)
            os.link(temporary, path)  # with its content at once, which opening it exclusively would not give
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def delete(self, key: str) -> None:
        path = self.root / key
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or gone
            path.parent.rmdir()


class _Objects:
    """A prefix of an S3 bucket."""

    def __init__(self, base: str, endpoint: str | None) -> None:
        self._base = base
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
        self._endpoint = endpoint
        config: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"total_max_attempts": 1},
        }
        if endpoint is not None:  # other servers have no host name for each bucket
            config["s3"] = {"addressing_style": "path"}
        try:
            self._fs = fsspec.filesystem(
                "s3", endpoint_url=endpoint, config_kwargs=config, use_listings_cache=False, skip_instance_cache=True
            )
        except ImportError:
            raise RemoteError(
                f"storage.remote: {self.url} needs s3fs, which is not installed; pip install 'sr-pipeline[s3]'"
            ) from None
        self._fs.retries = 1  # `_call` repeats

    @property
    def url(self) -> str:
        return f"s3://{self._base}"

    def read(self, key: str) -> bytes | None:
        try:
            data: bytes = self._call("cat_file", self._at(key))
        except FileNotFoundError:
            return None
        return data

    def read_range(self, key: str, start: int, end: int) -> bytes:
        try:
            data: bytes = self._call("cat_file", self._at(key), num_bytes=end - start, start=start, end=end)
        except RemoteError as error:
            if _code(error) in {"InvalidRange", "416"}:  # it ends before
                return b""
            raise
        return data

    def sizes(self, prefix: str) -> dict[str, int]:
        found = self._call("find", self._at(prefix), detail=True)
        cut = len(self._base) + 1
        return {name[cut:]: int(detail["size"]) for name, detail in found.items()}

    def write(self, key: str, data: bytes) -> None:
        self._call("pipe_file", self._at(key), data, num_bytes=len(data))

    def upload(self, path: Path, key: str, moved: Moved = _nobody) -> None:
        parts = {"callback": _Told(moved), "chunksize": PART_BYTES, "max_concurrency": 2}
        self._call("put_file", str(path), self._at(key), num_bytes=path.stat().st_size, **parts)

    def create(self, key: str, data: bytes) -> bool:
        try:
            self._call("pipe_file", self._at(key), data, num_bytes=len(data), mode="create")
        except FileExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._call("rm_file", self._at(key))

    def _at(self, key: str) -> str:
        return f"{self._base}/{key}"

    def _call(self, method: str, *arguments: Any, num_bytes: int = 0, **options: Any) -> Any:
        """What s3fs's `method` returns, repeated while there is no connection.

        Each attempt has a limit of its own: a read's timeout does not count while a request waits for something else.

        Raises:
            RemoteError: a sentence on what is wrong.
            FileNotFoundError, FileExistsError: about the key.
        """
        limit_s = 2 * READ_TIMEOUT_S + num_bytes / SLOWEST_BYTES_PER_S
        for wait_s in (*WAITS_S, None):
            try:
                return getattr(self._fs, method)(*arguments, timeout=limit_s, **options)
            except Exception as error:  # botocore's are not to be imported here
                if isinstance(error, FileExistsError) or (_is_missing(error) and not _is_of_bucket(error)):
                    raise
                if wait_s is None or not _is_passing(error):
                    raise RemoteError(self._sentence(error)) from error
                time.sleep(wait_s)
        raise AssertionError

    def _sentence(self, error: Exception) -> str:
        names, text = _names(error), str(error).strip() or type(error).__name__
        if _is_of_bucket(error):
            return f"{self.url}: there is no bucket {self._base.partition('/')[0]}; make it, or change storage.remote"
        if names & _NO_CREDENTIALS:
            return (
                f"{self.url}: no credentials were found ({text}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or AWS_PROFILE"
            )
        if isinstance(error, PermissionError):
            return f"{self.url}: access is refused ({text}); check the credentials and the bucket's policy"
        if _is_passing(error):
            where = f" at {self._endpoint}" if self._endpoint else ""
            return f"{self.url}: the server{where} does not answer ({text}); check storage.endpoint and the network"
        return f"{self.url}: {text}"


class _Told(Callback):  # type: ignore[misc]
    def __init__(self, moved: Moved) -> None:
        super().__init__()
        self._moved = moved

    def relative_update(self, inc: int = 1) -> None:
        self._moved(inc)


_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOError",
}
_PASSING = {"HTTPClientError", "ConnectionError", "TimeoutError", "IncompleteRead", "ResponseParserError"}
_PASSING_ERRNOS = {errno.EBUSY, errno.EREMOTEIO}  # s3fs's for 503, 409, 500


def _names(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _code(error: RemoteError) -> str:
    """What the server calls it."""
    response = getattr(error.__cause__ and error.__cause__.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError)


def _is_of_bucket(error: Exception) -> bool:
    return _is_missing(error) and "bucket does not exist" in str(error)


def _is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    return bool(_names(error) & _PASSING) or (isinstance(error, OSError) and error.errno in _PASSING_ERRNOS)
