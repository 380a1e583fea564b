"""How soon the web page answers, and what its process holds in memory while people use it.

    python benchmarks/web.py                                  # about two minutes on one core
    python benchmarks/web.py --uploads 50 --at-once 4 --memory 1G --preset baseline --side 400

Starts `python -m serving.web` on one core, with an EDSR that was never trained, and waits for the first page. Then
visitors upload photographs, so many at once, each of another size; one in ten is no photograph. Resident memory is
read from the kernel before them, after a quarter of them and at the end; its highest value is the kernel's own.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from gradio_client import Client, handle_file

from sr_core import models
from sr_core.data.images import read_rgb, write_png
from sr_core.models.card import Card
from sr_core.train import weights
from sr_core.upscale.pictures import settled

ROOT = Path(__file__).resolve().parents[1]
SCALE = 4
GROWTH = "growth between them, MB"
WRONG = b"this is no photograph"


def main() -> None:
    """Prints what was measured; the memory's growth last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--memory", default="1G")
    parser.add_argument("--preset", default="baseline", help="of EDSR")
    parser.add_argument("--side", type=int, default=160, help="of the photographs, in pixels")
    parser.add_argument("--starts", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_model(root, given.preset)
        starts = [_time_start(root, given.memory) for _ in range(given.starts)]
        wall_s, cpu_s = (statistics.median(column) for column in zip(*starts, strict=True))
        print(f"first page after: {wall_s:.2f} s, of which {cpu_s:.2f} s on the core (medians of {given.starts})")
        found = _visit(root, given)
        print(json.dumps(found, indent=1))
        print(f"growth of resident memory: {found[GROWTH]} MB")


def _write_model(root: Path, preset: str) -> None:
    torch.manual_seed(0)
    network = models.build("edsr", scale=SCALE, preset=preset, options={})
    card = settled(Card(model="edsr", preset=preset, options={}, scale=SCALE, precision="float32"), network)
    weights.save_model(root / "models" / "edsr", network.state_dict(), card, {})


@contextlib.contextmanager
def _served(root: Path, memory: str) -> Iterator[tuple[str, int]]:
    """Its address and process; one core is all that it has."""
    command = [sys.executable, "-m", "serving.web", "--root", str(root), "--port", "0", "--memory", memory]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    core = {sorted(os.sched_getaffinity(0))[0]}
    server = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[-1], server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        server.stdout.close()


def _time_start(root: Path, memory: str) -> tuple[float, float]:
    """From the process's start to the first page that is whole: by the clock, and of its core's time."""
    start_s = time.monotonic()
    with _served(root, memory) as (url, pid), urllib.request.urlopen(url) as page:
        page.read()
        wall_s = time.monotonic() - start_s
        ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return wall_s, ticks / os.sysconf("SC_CLK_TCK")


def _visit(root: Path, given: argparse.Namespace) -> dict[str, object]:
    photos = [_photograph(root / f"{i}.png", i, given.side) for i in range(given.uploads)]
    with _served(root, given.memory) as (url, pid):
        time.sleep(8)  # torch is imported behind the first page
        idle = _resident(pid)
        errors: list[str] = []
        marks, start_s = [], time.monotonic()
        quarter = max(given.uploads // 4, 1)
        for part in (photos[:quarter], photos[quarter:]):
            with ThreadPoolExecutor(given.at_once) as pool:
                errors += [error for error in pool.map(lambda photo: _upload(url, photo), part) if error]
            time.sleep(1)
            marks.append(_resident(pid))
        seconds = time.monotonic() - start_s
        return {
            "uploads": given.uploads,
            "at once": given.at_once,
            "seconds": round(seconds - 2, 1),
            "errors": errors,
            "resident MB, torch imported": _megabytes(idle),
            f"resident MB after {quarter}": _megabytes(marks[0]),
            f"resident MB after {given.uploads}": _megabytes(marks[1]),
            "highest resident MB": _megabytes(_resident(pid, "VmHWM")),
            GROWTH: _megabytes(marks[1] - marks[0]),
        }


def _photograph(path: Path, number: int, side: int) -> Path:
    if number % 10 == 9:
        path.write_bytes(WRONG)
        return path
    shape = (side - number % 7, side + 3 * (number % 5), 3)
    write_png(path, np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8))
    return path


def _upload(url: str, photo: Path) -> str | None:
    """One visitor; None, or what went wrong."""
    wrong = photo.read_bytes() == WRONG
    with tempfile.TemporaryDirectory() as folder:
        visitor = Client(url, verbose=False, download_files=folder)
        try:
            values = visitor.predict(
                handle_file(photo), "edsr", "trained here", None, "benchmark-y", api_name="/enlarge"
            )
        except Exception as error:
            return None if wrong and "is no PNG" in str(error) else f"{photo.name}: {error}"
        finally:
            visitor.close()
        result = Path(next(value["value"] for value in values if isinstance(value, dict) and "value" in value))
        height, width = read_rgb(photo).shape[:2]
        fits = not wrong and read_rgb(result).shape == (SCALE * height, SCALE * width, 3)
        return None if fits else f"{photo.name}: became {result}"


def _resident(pid: int, name: str = "VmRSS") -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)


if __name__ == "__main__":
    main()
