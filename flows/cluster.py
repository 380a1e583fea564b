"""A Ray cluster to work on: one of our own that ends on leaving, or one at an address.

Ray's own processes wake some two thousand times a second, and on a machine whose cores are all training, every
such moment stops one rank and so, at the step's all-reduce, all of them: a step took 12 % longer than under torchrun.
So what of Ray serves no purpose here is not started, what polls does so less often, and all of it gives way to
the ranks (benchmarks/launchers.py).
"""

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sr_core import files
from sr_core.errors import ConfigError, SrError
from sr_core.extras import require

CONNECT_TIMEOUT_S = 5.0  # to a cluster's address
SCRATCH = "sr-ray-"  # Ray's sockets lie below it, and a socket's path may have 107 bytes
KEPT_IN = "logs-are-kept-in"  # a file that names where a scratch folder's logs go if its driver dies
LAST = 19  # the niceness that yields most
OBJECT_STORE_BYTES = 128 * 2**20  # only metrics pass through it

# what is set already wins
VARIABLES = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # 2 s by default, which every report waits for
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # 60 s, which elastic workers wait for a node that died
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # the loop runs in a thread, whose own malloc arena would give big blocks back (sr_core/train/memory.py)
    "MALLOC_ARENA_MAX": "1",
    # what polls or counts for a dashboard that is not there
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_event_stats": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_debug_dump_period_milliseconds": "0",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "5000",
    "RAY_worker_niceness": "0",  # 15 by default: training would yield to anything else; torchrun does not
}
# on a busy machine Ray's own processes took longer to start than it waits for them (30 s, 10 s)
PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_raylet_client_num_connect_attempts": "60",
}


def address_of(asked: str) -> str:
    """Where Ray is for `launch.address`: that of a cluster, or `local`."""
    return (os.environ.get("RAY_ADDRESS") or "local") if asked == "auto" else asked


@contextlib.contextmanager
def connected(address: str, logs: Path, *, resources: Mapping[str, float]) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`, or if it is `local`, to one of our own that ends on leaving.

    Our own has `resources` to give away, whatever the machine has, and its GPUs.

    If an error leaves this, such as the loss of one of Ray's own servers, our own cluster's logs are kept in `logs`.
    """
    ray = require("ray", "pipeline")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    own = address == "local"
    with _variables(VARIABLES | (PATIENCE if own else {})), contextlib.ExitStack() as stack:
        if own:
            # all that Ray starts inherits it: a thread that wakes does not interrupt the one that runs
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            ray.init(
                address="local",
                num_cpus=int(resources["CPU"]),
                resources={kind: amount for kind, amount in resources.items() if kind != "CPU"},
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(stack.enter_context(_scratch(logs))),
                **quiet,
            )
            _end_monitors(ray)
        else:
            _check_address(address)
            _join(ray, address, quiet)
        stack.callback(ray.shutdown)
        yield ray


def _join(ray: Any, address: str, settings: Mapping[str, Any]) -> None:
    from ray._private.authentication import authentication_token_setup as tokens

    # whoever has a token starts clusters that ask for it, but is not asked for it when joining one
    tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, ray.exceptions.AuthenticationError):
        raise ConfigError(
            f"launch.address: Ray at {address} did not let us in, expected a cluster of Ray {ray.__version__} "
            "whose token (there: `ray get-auth-token`) is in RAY_AUTH_TOKEN or in ~/.ray/auth_token"
        ) from None


def _check_address(address: str) -> None:
    """Ray itself would try for minutes, and then end the process."""
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise ConfigError(
            f"launch.address: is {address}, expected auto, local or host:port of a cluster's head; from outside "
            "a cluster: ray job submit --address http://… -- python -m flows.launch"
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"launch.address: no Ray cluster answers at {address} ({error}), "
            "expected local, or host:port of a running cluster"
        ) from None


@contextlib.contextmanager
def _scratch(logs: Path) -> Iterator[Path]:
    """A short path for Ray's sockets and logs; sweeps those of drivers that died, of which Ray can be the reason."""
    base = Path("/tmp")
    for stale in base.glob(f"{SCRATCH}[0-9]*-*"):
        if not files.is_alive(int(stale.name.split("-")[2])):
            _keep_logs(stale)
            shutil.rmtree(stale, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-", dir=base))
    (path / KEPT_IN).write_text(str(logs.absolute()))
    try:
        yield path
    except Exception as error:
        if not isinstance(error, SrError):
            _keep_logs(path)
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _keep_logs(scratch: Path) -> None:
    with contextlib.suppress(OSError):  # Ray may not have come as far, or the run be gone
        logs = Path((scratch / KEPT_IN).read_text())
        if logs.parent.is_dir():
            shutil.rmtree(logs, ignore_errors=True)
            shutil.copytree(scratch / "session_latest" / "logs", logs)


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def go_first(*, own: bool, niceness: int) -> None:
    """Lets the calling thread, those it will start, and the collectives' run before the rest of this process.

    If the cluster is one of our own, they run before all else of Ray on this host as well. `niceness` is what the
    training keeps, whatever Ray started this process with.
    """
    others = []
    with contextlib.suppress(OSError):
        for thread in _threads(os.getpid()):
            if int(thread.name) == threading.get_native_id() or "gloo" in (thread / "comm").read_text():
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
                _set_niceness(thread, niceness)
            else:
                others.append(thread)
                _set_niceness(thread, LAST)
    # the next ranks inherit the raylet's: it waits too where they may undo that
    all_wait = bool(others) and _set_niceness(others[0], niceness) and _set_niceness(others[0], LAST)
    for process, command in _session() if own else ():
        if _can_wait(command, all_wait=all_wait):
            _set_all(process, LAST)


def hurry(niceness: int) -> None:
    """Undoes `go_first` in all of Ray on this host: workers that start now inherit it, and nobody trains meanwhile."""
    for process, command in _session():
        if _can_wait(command, all_wait=True):
            _set_all(process, niceness)


def _session() -> Iterator[tuple[int, str]]:
    """The processes of this one's session, with their command lines."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if os.getsid(int(process.name)) == os.getsid(0):
                yield int(process.name), (process / "cmdline").read_text()


def _set_all(process: int, niceness: int) -> None:
    with contextlib.suppress(OSError):  # it has ended
        for thread in _threads(process):
            _set_niceness(thread, niceness)


def _threads(process: int) -> Iterator[Path]:
    return Path(f"/proc/{process}/task").iterdir()


def _set_niceness(thread: Path, niceness: int) -> bool:
    """Whether it now has this niceness: to lower one takes a privilege."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
        return True
    return False


def _can_wait(command: str, *, all_wait: bool) -> bool:
    """Whether this is a process of Ray's that is no rank nor, unless `all_wait`, to become or to start one."""
    kept = ("ray::RayTrainWorker",) if all_wait else ("ray::RayTrainWorker", "ray::IDLE", "raylet/raylet")
    of_ray = command.startswith("ray::") or "flows.launch" in command or "/ray/" in command  # its servers
    return of_ray and not any(name in command for name in kept)


def _end_monitors(ray: Any) -> None:
    """Ends the processes that forward logs and answer a dashboard, which nobody asks for, and that add nodes."""
    node = getattr(ray._private.worker, "_global_node", None)
    for name in ("kill_log_monitor", "kill_monitor", "kill_dashboard"):
        end = getattr(node, name, None)  # private: another Ray may do without
        if end is not None:
            end(check_alive=False)
