"""One file from an HTTP server: chunk after chunk, attempt after attempt, until it is whole and its digest is right."""

import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

from sr_core.data.part import Part
from sr_core.data.web import RefusedError, TransferError, Web, content_range, without_user
from sr_core.errors import SourceError
from sr_core.files import record_of, wait_for_lock
from sr_core.progress import duration_text, size_text

ADVICE = "name another place in data.mirror, or a folder that holds the file in data.archives"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """A file to fetch, and what is known of it. `advice` says what to do where it cannot be had."""

    name: str
    url: str
    bytes: int | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None  # of a file whose name carries the first digits only
    advice: str = ADVICE

    @property
    def expected(self) -> str:
        """The hex digits with which its sha256 begins; none where nothing is known."""
        return (self.sha256 or self.sha256_prefix or "").lower()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """How patient to be with networks and servers."""

    chunk_bytes: int = 16 << 20
    timeout_s: float = 30.0  # without a connection, an answer, or another byte
    floor_bytes_per_s: float = 4096.0  # an attempt that stays below it for a whole window is ended
    floor_window_s: float = 30.0
    retries: int = 5  # attempts in a row that may fail before a chunk is gained
    backoff_s: float = 1.0  # before the first retry, doubled for each more
    longest_backoff_s: float = 60.0
    longest_retry_after_s: float = 600.0  # a server that asks for more time is given up
    max_redirects: int = 10


class Transfer:
    """`run` fetches the file, in a thread of its own; the other methods are for the thread that watches it."""

    def __init__(
        self,
        download: Download,
        folder: Path,
        policy: FetchPolicy,
        *,
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self.download, self.path = download, folder / download.name
        self.position = self._already()  # bytes that need not come any more
        self._policy, self._stop, self._say = policy, stop, say
        self._web = Web(timeout_s=policy.timeout_s, max_redirects=policy.max_redirects)
        self._received, self._attempt, self._is_asking = 0, 0, False
        self._seen = (0, 0.0, 0)  # at the last look: attempt, moment, bytes received
        self._trusts_ranges, self._trusts_caches, self._has_waited = True, True, False
        self._url = without_user(download.url)  # for messages and records
        self._location = download.url  # where redirects have led

    def run(self) -> None:
        """Has the file in its place, by fetching it or by waiting for who does.

        Raises:
            SourceError: the file cannot be had, or is not what was expected.
            OSError: it cannot be written.
        """
        lock = self.path.parent / ".locks" / self.path.name
        with contextlib.suppress(_StoppedError), contextlib.closing(self._web):
            self._sleep(0)
            with wait_for_lock(lock, sleep=self._sleep_for_other):
                if not self._is_there():
                    self._fetch()
                self.position = self.path.stat().st_size

    def cut(self, reason: str) -> None:
        """Ends the attempt that is under way."""
        self._web.cut(reason)

    def cut_if_slow(self) -> None:
        """Ends an attempt that has stayed below the floor for a window; to be called several times in one."""
        now, floor, window_s = time.monotonic(), self._policy.floor_bytes_per_s, self._policy.floor_window_s
        attempt, since, received = self._seen
        if attempt == self._attempt and now - since < window_s:
            return
        self._seen = self._attempt, now, self._received
        if attempt == self._attempt and self._is_asking and self._received - received < floor * (now - since):
            self.cut(f"sends less than {size_text(floor)}/s for {window_s:g} s")

    def _already(self) -> int:
        for path in (self.path, self.path.with_name(f"{self.path.name}.part")):
            if path.is_file():
                size = path.stat().st_size
                return size if self.download.bytes is None else min(size, self.download.bytes)
        return 0

    def _is_there(self) -> bool:
        if not self.path.is_file():
            return False
        size, expected = self.download.bytes, self.download.expected
        if size in {None, self.path.stat().st_size} and (
            not expected or record_of(self.path).sha256.startswith(expected)
        ):
            return True
        self._say(f"{self.path}: is not the file that is expected, and is fetched again")
        return False

    def _fetch(self) -> None:
        started_s, download = time.monotonic(), self.download
        part = Part(self.path, url=self._url, of=download.expected or self._url, total=download.bytes)
        with part.opened():
            self._receive(part)
            if not part.sha256.startswith(download.expected):
                self._say(f"{download.name}: its sha256 is wrong, so it is fetched once more from the beginning")
                self._trusts_ranges = self._trusts_caches = False
                self._restart(part)
                self._receive(part)
            if not part.sha256.startswith(download.expected):
                part.discard()
                raise SourceError(f"{self._url}: has sha256 {part.sha256}, expected {download.expected}")
            part.commit()
        seconds = time.monotonic() - started_s
        speed = f"{size_text(self._received / max(seconds, 1e-3))}/s"
        self._say(f"{download.name}: {size_text(part.position)} in {duration_text(seconds)}, {speed}")

    def _receive(self, part: Part) -> None:
        """Brings `part` to its end, in as many attempts as are worth it."""
        policy, failures, gained = self._policy, 0, part.position
        while not part.is_whole:
            try:
                self._attempt_to_end(part)
            except RefusedError as error:
                raise SourceError(f"{self._url}: {error}") from error
            except TransferError as error:
                if part.position >= gained + policy.chunk_bytes:  # further than ever: a server may cut each attempt
                    failures, gained = 0, part.position
                failures += 1
                self._pause(failures, error)

    def _attempt_to_end(self, part: Part) -> None:
        self._attempt, self._is_asking, self._location = self._attempt + 1, True, self.download.url
        try:
            while not part.is_whole:
                self._request(part)
                part.record()
        except (TransferError, _StoppedError):
            self._web.close()
            part.record()
            raise
        finally:
            self._is_asking = False
            self.position = part.position

    def _pause(self, failures: int, error: TransferError) -> None:
        policy = self._policy
        if self._stop.is_set():
            raise _StoppedError
        if failures > policy.retries:
            raise SourceError(f"{self._url}: {error}, in {failures} attempts") from error
        if error.wait_s > policy.longest_retry_after_s:
            raise SourceError(f"{self._url}: {error}, and asks to wait {duration_text(error.wait_s)}") from error
        longest = min(policy.longest_backoff_s, policy.backoff_s * 2 ** (failures - 1))
        wait_s = max(error.wait_s, longest * random.uniform(0.5, 1.0))  # or all clients come back at once
        self._say(f"{self.download.name}: {error}; trying again in {duration_text(wait_s)}")
        self._sleep(wait_s)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StoppedError

    def _sleep_for_other(self, seconds: float) -> None:
        if not self._has_waited:
            self._say(f"{self.download.name}: another process fetches it, and is waited for")
        self._has_waited = True
        self._sleep(seconds)

    def _request(self, part: Part) -> None:
        """Appends the next chunk, or the whole file where the server sends it all."""
        response = self._get(self._headers(part))
        if response.status == 416:
            self._at_end(part, response)
        elif self._is_page(response):
            raise TransferError("answers with a web page (text/html), not with the file")
        elif response.status == 206:
            self._append(part, response, self._end_of_range(part, response))
        else:  # the range was ignored, or the file is no longer the one that the part is of
            if self.download.bytes is None:
                part.total = None
            if response.length is not None:
                self._check_size(part, response.length)  # first: no page may cost what has come
            part.restart()
            self._trusts_ranges = True  # if this is cut, they are worth another try
            self._append(part, response, response.length)
        self._web.finish(response)

    def _get(self, headers: dict[str, str]) -> HTTPResponse:
        try:
            response = self._web.get(self._location, headers)
        except RefusedError as error:
            if self._location == self.download.url:
                raise
            raise TransferError(str(error)) from error  # where a redirect led may be valid for minutes only
        self._location = self._web.location
        return response

    def _is_page(self, response: HTTPResponse) -> bool:
        """Whether this is a page, as of a login or of maintenance, with the status 200."""
        if response.headers.get_content_type() != "text/html" or self.download.name.endswith((".html", ".htm")):
            return False
        size = (content_range(response) or (0, 0, response.length))[2]
        return size is None or size != self.download.bytes

    def _headers(self, part: Part) -> dict[str, str]:
        headers = {"User-Agent": "sr-pipeline"}
        if not self._trusts_caches:
            headers["Cache-Control"] = "no-cache"
        if self._trusts_ranges:
            headers["Range"] = f"bytes={part.position}-{self._end_of_chunk(part) - 1}"
            if part.position and part.validator is not None:
                headers["If-Range"] = part.validator[1]
        return headers

    def _end_of_chunk(self, part: Part) -> int:
        end = part.position + self._policy.chunk_bytes
        return end if part.total is None else min(end, part.total)

    def _end_of_range(self, part: Part, response: HTTPResponse) -> int:
        """Where the bytes of an answer 206 end, which are those that were asked for."""
        found = content_range(response) if self._trusts_ranges else None
        if found is None or found[0] != part.position:
            self._trusts_ranges = False
            raise TransferError(f"answers with the wrong range {response.headers.get('Content-Range')!r}")
        name, value = part.validator or ("ETag", None)
        if value is not None and response.headers.get(name, value) != value:
            self._restart(part)
            raise TransferError("has changed since the first bytes came")
        self._check_size(part, found[2])
        return found[1]

    def _at_end(self, part: Part, response: HTTPResponse) -> None:
        """A status 416: the file ends where the part does, or earlier, or the server cannot tell."""
        if part.total is None and response.headers.get("Content-Range") == f"bytes */{part.position}":
            part.total = part.position
            return
        self._trusts_ranges = False
        raise TransferError("answers HTTP 416, as if the file were shorter")

    def _check_size(self, part: Part, size: int) -> None:
        if part.total not in {None, size}:
            expected = part.total
            if self.download.bytes is None:  # it has changed
                self._restart(part)
            raise TransferError(f"is {size} bytes, expected {expected}")
        part.total = size

    def _restart(self, part: Part) -> None:
        part.restart()
        part.total = self.download.bytes

    def _append(self, part: Part, response: HTTPResponse, end: int | None) -> None:
        if part.validator is None:
            part.validator = _validator(response)
        for piece in self._web.pieces(response):
            self._sleep(0)
            self._received += len(piece)
            part.append(piece if part.total is None else piece[: part.total - part.position])
            self.position = part.position
            if part.num_unrecorded >= self._policy.chunk_bytes:
                part.record()
            if part.is_whole:  # of what a server sends beyond, the digest tells whether it matters
                return
        if end is None and part.total is None:
            part.total = part.position
        if part.position < (end or part.total or 0):
            raise TransferError(f"ends at byte {part.position} of {end or part.total}")


class _StoppedError(Exception):
    """The thread that watches wants an end."""


def _validator(response: HTTPResponse) -> tuple[str, str] | None:
    """The header by which a later request can tell that the file is still this one (RFC 9110, section 13.1.5)."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag is not None and not etag.startswith("W/"):
        return "ETag", etag
    return None if modified is None else ("Last-Modified", modified)
