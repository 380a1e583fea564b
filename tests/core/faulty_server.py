"""A real HTTP server on a free port that answers well, or with the faults that it is told to show first."""

import contextlib
import dataclasses
import datetime
import email.utils
import functools
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 1 << 14


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for."""

    path: str
    range: str | None
    if_range: str | None
    headers: dict[str, str]


class Server(ThreadingHTTPServer):
    """`faults` answer the first requests, in order; what follows is answered well from `files`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.always: Fault | None = None  # instead of answering well
        self.etags: dict[str, str] = {}
        self.has_etag = True
        self.modified = "Sat, 01 Jan 2022 00:00:00 GMT"
        self.kind = "application/zip"
        self.pause_s = 0.0  # after each piece of 16 KiB
        self.requests: list[Request] = []
        self.sent = 0  # bytes of bodies
        self.ended = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that go away are what is tested


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]*", "", self.path)  # as a proxy is asked
        headers = dict(self.headers.items())
        asked = Request(path=path, range=headers.get("Range"), if_range=headers.get("If-Range"), headers=headers)
        self.server.requests.append(asked)
        content = self.server.files.get(path.lstrip("/"))
        if self.server.faults:
            self.server.faults.pop(0)(self, content or b"")
        elif self.server.always is not None:
            self.server.always(self, content or b"")
        elif content is None:
            self.head(404, length=0)
        else:
            well(self, content)

    def head(self, status: int, *, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        for name, value in {"Content_Type": self.server.kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, content: bytes) -> None:
        for start in range(0, len(content), PIECE):
            piece = content[start : start + PIECE]
            self.server.sent += len(piece)
            self.wfile.write(piece)
            time.sleep(self.server.pause_s)

    def etag(self, content: bytes) -> dict[str, str]:
        tag = self.server.etags.get(self.path.lstrip("/"), f'"{hashlib.sha256(content).hexdigest()[:8]}"')
        return {"ETag": tag} if self.server.has_etag else {"Last_Modified": self.server.modified}

    def wanted(self, content: bytes) -> tuple[int, int] | None:
        """Start and stop of the range that was asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found is None or self.headers.get("If-Range") not in {None, *self.etag(content).values()}:
            return None
        return int(found[1]), min(int(found[2] or len(content)) + 1, len(content))

    def log_message(self, *args: object) -> None:
        pass


Fault = Callable[[Handler, bytes], None]


@contextlib.contextmanager
def served() -> Iterator[Server]:
    """A running server; no thread of it is left."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def well(handler: Handler, content: bytes) -> None:
    wanted = handler.wanted(content)
    if wanted is None:
        whole(handler, content)
    elif wanted[0] >= len(content):
        handler.head(416, length=0, Content_Range=f"bytes */{len(content)}")
    else:
        part(handler, content, *wanted, says=wanted)


def whole(handler: Handler, content: bytes) -> None:
    """As if there were no ranges."""
    handler.head(200, length=len(content), **handler.etag(content))
    handler.body(content)


def part(handler: Handler, content: bytes, start: int, stop: int, *, says: tuple[int, int]) -> None:
    text = f"bytes {says[0]}-{says[1] - 1}/{len(content)}"
    handler.head(206, length=stop - start, Content_Range=text, **handler.etag(content))
    handler.body(content[start:stop])


def wrong_range(handler: Handler, content: bytes) -> None:
    start, stop = handler.wanted(content) or (0, len(content))
    part(handler, content, start, stop, says=(start + 1, stop + 1))


def later_range(handler: Handler, content: bytes) -> None:
    start, stop = handler.wanted(content) or (0, len(content))
    part(handler, content, start + 1, stop, says=(start + 1, stop))


def more_than_asked(handler: Handler, content: bytes) -> None:
    start, _ = handler.wanted(content) or (0, 0)
    part(handler, content, start, len(content), says=(start, len(content)))


def no_range_named(handler: Handler, content: bytes) -> None:
    start, stop = handler.wanted(content) or (0, len(content))
    handler.head(206, length=stop - start)
    handler.body(content[start:stop])


def ignores_if_range(handler: Handler, content: bytes) -> None:
    del handler.headers["If-Range"]
    well(handler, content)


def not_satisfiable(handler: Handler, content: bytes) -> None:
    handler.head(416, length=0)


def page(handler: Handler, content: bytes) -> None:
    text = b"<html>Please log in</html>"
    handler.head(200, length=len(text), Content_Type="text/html; charset=utf-8")
    handler.body(text)


def message(handler: Handler, content: bytes) -> None:
    text = b'{"error": "maintenance"}'
    handler.head(200, length=len(text), Content_Type="application/json")
    handler.body(text)


def other_size(handler: Handler, content: bytes) -> None:
    well(handler, content[:-1])


def without_length(handler: Handler, content: bytes) -> None:
    handler.head(200, length=None)
    handler.body(content)


def in_chunks(handler: Handler, content: bytes, *, ends: bool = True) -> None:
    """Transfer-Encoding: chunked."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(content), PIECE):
        piece = content[start : start + PIECE]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    if ends:
        handler.wfile.write(b"0\r\n\r\n")
    handler.close_connection = not ends


def endless(handler: Handler, content: bytes) -> None:
    handler.head(200, length=None)
    while not handler.server.ended.is_set():
        handler.body(content)


def cut(fraction: float, *, has_length: bool = True) -> Fault:
    """Closes when `fraction` of the body has gone."""

    def answer(handler: Handler, content: bytes) -> None:
        wanted = handler.wanted(content)
        start, stop = wanted or (0, len(content))
        kept = content[start : start + int((stop - start) * fraction)]
        length = stop - start if has_length else None
        if wanted is None or not has_length:
            handler.head(200, length=length, **handler.etag(content))
        else:
            text = f"bytes {start}-{stop - 1}/{len(content)}"
            handler.head(206, length=length, Content_Range=text, **handler.etag(content))
        handler.body(kept)
        handler.close_connection = True

    return answer


def ends_at(fraction: float) -> Fault:
    """Ignores ranges and closes when `fraction` of the file has gone."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.head(200, length=len(content), **handler.etag(content))
        handler.body(content[: int(len(content) * fraction)])
        handler.close_connection = True

    return answer


def stall(handler: Handler, content: bytes) -> None:
    """Half of the body, then nothing, with the connection open."""
    handler.head(200, length=len(content))
    handler.body(content[: len(content) // 2])
    handler.server.ended.wait(60)


def drip(handler: Handler, content: bytes) -> None:
    """One byte in 0.3 s."""
    handler.head(200, length=len(content))
    for number in content:
        handler.wfile.write(bytes([number]))
        if handler.server.ended.wait(0.3):
            return


def drip_head(handler: Handler, content: bytes) -> None:
    """The same, before the body has begun."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.ended.wait(0.3):
        handler.wfile.write(b"x")


def hang_up(handler: Handler, content: bytes) -> None:
    handler.close_connection = True


def nonsense(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


def status(code: int, **headers: str) -> Fault:
    return functools.partial(_status, code, headers)


def _status(code: int, headers: dict[str, str], handler: Handler, content: bytes) -> None:
    handler.head(code, length=0, **headers)


def retry_at(seconds: float) -> str:
    """A date for Retry-After."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return email.utils.format_datetime(moment, usegmt=True)


def redirect(location: str) -> Fault:
    return status(302, Location=location)
