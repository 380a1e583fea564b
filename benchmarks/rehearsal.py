"""DIV2K from zero to verified shards without the internet, killed at random moments on the way.

    python benchmarks/rehearsal.py --second-order                        a few images, 10 kills: minutes
    python benchmarks/rehearsal.py --train 800 --valid 100 --kills 20    DIV2K's own size: 65 GB of disk

A local server offers generated archives with DIV2K's names and layout, whose checksums stand in a table of their own.
The flow prepare-data runs twice: once undisturbed, whose time, disk and memory are printed, and once killed by SIGKILL
as often in each phase (fetch, extract, degrade, write, index). In the end the shards of both must be the same, byte
for byte, and no kill may cost more than one chunk of all archives together.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import div2k_like
import range_server

from sr_core.data.fetch import FetchPolicy
from sr_core.data.patches import open_dataset
from sr_core.files import record_of
from sr_core.params import DataParams

PHASES = ("fetch", "extract", "degrade", "write", "index")
INSTRUMENTS = Path(__file__).resolve().parent / "rehearsal_instruments"
LATEST_S = 0.3  # after a phase has begun
LONGEST_WAIT_S = 600.0  # for a phase to come; a phase that does not come any more is skipped
MIXED = {"bicubic": 1.0, "unknown": 1.0}
SECOND_ORDER = {**MIXED, "second_order": 1.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """What there is to download, and what is to be made of it."""

    url: str
    table: Mapping[str, Mapping[str, object]]  # bytes and sha256 of every archive, by name
    counts: Mapping[str, int]  # images of each split
    mixed: Mapping[str, float]


@dataclasses.dataclass(kw_only=True)
class Usage:
    """What one run of the flow took."""

    seconds: float = 0.0
    peak_worker_bytes: int = 0  # of the largest process
    peak_bytes: int = 0  # of all processes together, shared pages counted once each


def main() -> None:
    arguments = _arguments()
    with contextlib.ExitStack() as stack:
        base = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-rehearsal-")))
        archives = base / "archives"
        table = _offered(archives, arguments)
        server = stack.enter_context(range_server.serving(archives))
        counts = {"train": arguments.train, "valid": arguments.valid}
        mixed = SECOND_ORDER if arguments.second_order else MIXED
        offer = Offer(url=server.url, table=table, counts=counts, mixed=mixed)
        runs = {name: base / name for name in ("undisturbed", "killed")}
        for root in runs.values():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            stack.callback(_end_all, root)  # a killed flow leaves its Prefect server behind

        usage = Usage()
        code = _run(runs["undisturbed"], offer, usage)
        if code != 0:
            sys.exit(f"the undisturbed run ended with exit code {code}; see {runs['undisturbed']}/flow.log")
        print(f"undisturbed: {usage.seconds:.0f} s, {_disk(runs['undisturbed'])}")
        print(
            f"memory: {usage.peak_worker_bytes / 1e6:.0f} MB the largest process, {usage.peak_bytes / 1e6:.0f} MB all"
        )

        server.bytes_sent = 0
        kills = _killed(runs["killed"], offer, arguments.kills, arguments.seed)
        size = sum(record["bytes"] for record in table.values())
        chunks = (server.bytes_sent - size) / FetchPolicy().chunk_bytes
        print(f"kills: {', '.join(f'{phase} {count}' for phase, count in kills.items())}")
        print(f"fetched again: {max(0.0, chunks):.2f} chunks in {kills['fetch']} kills while fetching")
        if server.bytes_sent - size > kills["fetch"] * FetchPolicy().chunk_bytes:
            sys.exit("that is more than a chunk for each kill")
        found, expected = (_shards(root) for root in (runs["killed"], runs["undisturbed"]))
        if found != expected:
            wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            sys.exit(f"{len(wrong)} files differ after the kills, such as {wrong[0]}")
        for degradation in ("bicubic", "unknown", "mixed"):
            params = DataParams(source="div2k", root=str(runs["killed"]), degradation=degradation, mixed=mixed)
            open_dataset(params, verify=True)
        print(f"identical shard files: {len(found)}")
        print(f"rehearsal_identical_after_kills: {sum(kills.values())}")


def _offered(archives: Path, arguments: argparse.Namespace) -> dict[str, dict[str, object]]:
    """The archives in a folder, made if they are not there, and their bytes and sha256 by name."""
    wanted = {"train": arguments.train, "valid": arguments.valid}
    table_path = archives / "table.json"
    if table_path.is_file():
        known = json.loads(table_path.read_text())
        if known["counts"] == wanted:
            return dict(known["files"])
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir(parents=True)
    start = time.monotonic()
    paths = div2k_like.write_archives(archives, **wanted, workers=os.cpu_count() or 1)
    files = {path.name: dataclasses.asdict(record_of(path)) for path in paths}
    table_path.write_text(json.dumps({"counts": wanted, "files": files}))
    size = sum(path.stat().st_size for path in paths)
    print(f"offered: {len(paths)} archives, {size / 1e9:.2f} GB, generated in {time.monotonic() - start:.0f} s")
    return files


def _start(root: Path, offer: Offer) -> subprocess.Popen[bytes]:
    marks = root / "marks"
    shutil.rmtree(marks, ignore_errors=True)
    marks.mkdir()
    settings = {
        "data.source": "div2k",
        "data.root": root,
        "data.mirror": offer.url,
        "data.degradation": "mixed",
        "data.mixed": json.dumps(dict(offer.mixed)),
        "data.crop": 48,
    }
    command = [sys.executable, "-m", "flows.prepare"]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(INSTRUMENTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "SR_REHEARSAL": json.dumps({"table": offer.table, "counts": offer.counts, "marks": str(marks)}),
    }
    log = (root / "flow.log").open("ab")
    with log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _run(root: Path, offer: Offer, usage: Usage) -> int:
    start = time.monotonic()
    process = _start(root, offer)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch_memory, args=(root, usage, ended))
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    usage.seconds = time.monotonic() - start
    return code


def _killed(root: Path, offer: Offer, kills: int, seed: int) -> dict[str, int]:
    """Runs the flow again and again, killing it in one phase after the other, and then to its end."""
    dice = random.Random(seed)
    count = dict.fromkeys(PHASES, 0)
    # in the order of the work: what is finished does not come again
    for phase in (phase for phase in PHASES for _ in range(kills // len(PHASES))):
        process = _start(root, offer)
        if _await(root / "marks", phase, process):
            time.sleep(dice.uniform(0, LATEST_S))
            count[phase] += process.poll() is None and any((root / "marks").glob(f"{phase}-*"))
        # the flow alone, whose children must follow; or all that it started, at once
        if dice.random() < 0.5:
            _end_all(root)
        process.kill()
        process.wait()
    code = _run(root, offer, Usage())
    if code != 0:
        sys.exit(f"after {sum(count.values())} kills the flow ended with exit code {code}; see {root}/flow.log")
    return count


def _await(marks: Path, phase: str, process: subprocess.Popen[bytes]) -> bool:
    """Waits until some process is in `phase`; False: the flow ended before."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if any(marks.glob(f"{phase}-*")):
            return True
        time.sleep(0.002)
    return False


def _end_all(root: Path) -> None:
    for pid in _processes_of(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes_of(root: Path) -> Iterator[int]:
    """All processes that a rehearsal in `root` started, by their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(root / "marks").encode() in (process / "environ").read_bytes():
                yield int(process.name)


def _watch_memory(root: Path, usage: Usage, ended: threading.Event) -> None:
    while not ended.wait(0.5):
        proportional = 0
        for pid in _processes_of(root):
            with contextlib.suppress(OSError, IndexError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
                # pages of mapped files are the kernel's to take back
                proportional += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
                usage.peak_worker_bytes = max(usage.peak_worker_bytes, sizes["Rss"])
        usage.peak_bytes = max(usage.peak_bytes, proportional)


def _disk(root: Path) -> str:
    sizes = {
        name: sum(path.stat().st_size for path in (root / name).rglob("*") if path.is_file())
        for name in ("raw", "shards")
    }
    return ", ".join(f"{size / 1e9:.2f} GB {name}" for name, size in sizes.items())


def _shards(root: Path) -> dict[str, str]:
    shards = root / "shards"
    return {str(path.relative_to(shards)): record_of(path).sha256 for path in shards.rglob("*") if path.is_file()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=6)
    parser.add_argument("--valid", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10, help="spread evenly over the phases")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--second-order", action="store_true", help="mix in the second-order track, made here")
    parser.add_argument("--folder", type=Path, help="keep everything here, and use the archives that are there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
