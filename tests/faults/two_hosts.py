"""Two hosts on this machine: each has its own network address, host name, /tmp and Ray node, and they share no disk.

Where root permits, a host is a network namespace on a bridge, with a mount namespace in which /tmp is a folder of its
own. Else both are plain Ray nodes on one disk. Code and environment are the same files for both, as in an image.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from processes import MARK, alive, wait_until

from flows import cluster

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PORT = 6379  # of the head; in its own network there is no other


@dataclasses.dataclass(frozen=True)
class Running:
    """A process on a host, and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def wait(self, timeout_s: float) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)


class Host:
    """One of them: what runs on it carries a mark, so that all of it can be killed at once."""

    def __init__(self, name: str, address: str, namespace: str, folder: Path, variables: dict[str, str]) -> None:
        self.name, self.address, self.tmp = name, address, folder / "tmp"
        self.mark, self._namespace, self._folder, self._variables = uuid.uuid4().hex, namespace, folder, variables
        self._started: list[subprocess.Popen[bytes]] = []
        self.tmp.mkdir(parents=True)

    def start(self, command: list[str], **variables: str) -> Running:
        """Starts `command` on this host."""
        environment = {**os.environ, **self._variables, MARK: self.mark, **variables}
        path = self._folder / f"{uuid.uuid4().hex}.log"
        with path.open("w") as log:
            process = subprocess.Popen([*self._prefix(), *command], cwd=ROOT, env=environment, stdout=log, stderr=log)
        self._started.append(process)
        return Running(process, path)

    def _prefix(self) -> list[str]:
        if not IS_ROOT:
            return []
        own = f"mount --bind {self._folder}/hosts /etc/hosts; mount --bind {self.tmp} /tmp; hostname {self.name}"
        command = ["sh", "-c", f'set -e; {own}; exec "$@"', "sh"]
        return ["ip", "netns", "exec", self._namespace, "unshare", "--mount", "--uts", *command]

    def join(self, head: "Host", *, num_cpus: int = 1) -> None:
        """Starts a Ray node: the head's own, or one that joins it."""
        where = ["--head", "--port", str(PORT), "--include-dashboard", "false"]
        if head is not self:
            where = ["--address", f"{head.address}:{PORT}"]
        size = ["--num-cpus", str(num_cpus), "--object-store-memory", str(cluster.OBJECT_STORE_BYTES)]
        self.start([*RAY, "start", *where, *size, "--node-ip-address", self.address, "--block"], **cluster.VARIABLES)

    def is_in(self) -> bool:
        """Whether a Ray node runs on it."""
        return any("/raylet " in command for command in alive(self.mark).values())

    def kill(self) -> None:
        """SIGKILLs everything that runs on it, as a lost machine would end."""
        while here := alive(self.mark):
            for pid in here:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda here=here: not (alive(self.mark).keys() & here.keys()), 10)
        while self._started:
            self._started.pop().wait(10)


@contextlib.contextmanager
def two_hosts(folder: Path, **variables: str) -> Iterator[tuple[Host, Host, str]]:
    """Two hosts without Ray, whose disks are below `folder`, and the address by which both reach this machine.

    All that runs on them has `variables` in its environment.
    """
    variables = {**variables, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex + uuid.uuid4().hex}
    with contextlib.ExitStack() as stack:
        addresses, names, here = (
            stack.enter_context(_network()) if IS_ROOT else (["127.0.0.1"] * 2, ["", ""], "127.0.0.1")
        )
        hosts = []
        for label, address, name in zip("ab", addresses, names, strict=True):
            host = Host(f"sr-host-{label}", address, name, folder / label, variables)
            lines = [f"{each} sr-host-{other}\n" for other, each in zip("ab", addresses, strict=True)]
            (folder / label / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
            stack.callback(host.kill)
            hosts.append(host)
        yield hosts[0], hosts[1], here


@contextlib.contextmanager
def _network() -> Iterator[tuple[list[str], list[str], str]]:
    """Two network namespaces on a bridge: their addresses, their names, and this machine's address there."""
    unique = os.getpid()
    subnet = f"10.{200 + unique // 250 % 50}.{unique % 250}"
    bridge, names = f"srbr{unique}", [f"srns{unique}a", f"srns{unique}b"]
    addresses = [f"{subnet}.2", f"{subnet}.3"]
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for name, address in zip(names, addresses, strict=True):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)  # its end of the cable goes with it
            outer = f"v{name}"
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", outer, "master", bridge, "up")
            for words in (
                ["addr", "add", f"{address}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["link", "set", "lo", "up"],
            ):
                _ip("-n", name, *words)
            _ip("-n", name, "route", "add", "default", "via", f"{subnet}.1")
        yield addresses, names, f"{subnet}.1"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
