"""A real S3 server process for tests, and what is asked of it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "bucket"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class S3Server:
    """moto's, which keeps what it has in memory: stopped and going on means SIGSTOP and SIGCONT."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url

    def make_bucket(self, name: str) -> str:
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        return f"s3://{name}"


@contextlib.contextmanager
def s3_server(folder: Path, port: int | None = None) -> Iterator[S3Server]:
    """A server of one's own; nothing of it is left on leaving."""
    port = port or free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
            while not answers(url):
                assert time.monotonic() < deadline, "moto's S3 server does not come up"
                time.sleep(0.1)
            yield S3Server(process, url)
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def environment() -> dict[str, str]:
    """With credentials, for child processes."""
    return {**os.environ, **CREDENTIALS}
