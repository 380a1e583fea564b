"""A local HTTP server that offers the files of a folder with range requests, and counts what it sends."""

import contextlib
import dataclasses
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 256 * 2**10


@dataclasses.dataclass(kw_only=True)
class Server:
    """Where it is, and how many bytes of files it has sent."""

    folder: Path
    url: str = ""
    bytes_sent: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serves `folder` on a free port of this machine."""
    server = Server(folder=folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = folder / self.path.rpartition("/")[2]
            if not path.is_file():
                self.send_error(404)
                return
            size = path.stat().st_size
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted else 0
            stop = min(size, int(wanted[2]) + 1) if wanted and wanted[2] else size
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("ETag", f'"{path.name}-{size}"')
            self.send_header("Accept-Ranges", "bytes")
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.end_headers()
            with path.open("rb") as file, contextlib.suppress(ConnectionError):
                file.seek(start)
                while start < stop:
                    block = file.read(min(BLOCK_BYTES, stop - start))
                    self.wfile.write(block)
                    start += len(block)
                    with server.lock:
                        server.bytes_sent += len(block)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that was killed

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield server
        listener.shutdown()
