"""Time and memory of upscaling: the project's way against the plain float32 NCHW forward of the whole image.

    python benchmarks/upscale.py [--model MODEL] [--set5 ../shared/testsets/Set5]     2 megapixels, EDSR baseline x4
    python benchmarks/upscale.py --huge [--model MODEL]       100 megapixels by the command, PNG read and written

MODEL is a model directory or weight file; without one the network has random weights, which tells time and memory but
nothing of quality. Both sides have the same weights, threads and picture, and each is a process of its own; rounds
alternate, so that a change of the machine's speed meets both. Ours is all of `upscale`, from uint8 to uint8 with the
preparation of the weights; plain is the forward pass of torch's own layers alone. Seconds are of the wall clock; CPU
seconds, which a busy machine changes less, stand beside them. Memory is VmHWM of /proc/self/status, reset before the
first call, above VmRSS then. PSNR, of both sides' uint8 results on Set5, is by benchmark-y.

--huge runs `python -m sr_core upscale` on a picture of 2500x2500 pixels and takes the most memory of the whole process
from wait4 (ru_maxrss).
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from train_step import of_plain_layers

from sr_core.data.images import write_png
from sr_core.evaluate import metrics
from sr_core.evaluate.testsets import open_testset
from sr_core.models import build
from sr_core.models.card import Card
from sr_core.precision import resolve
from sr_core.train.weights import load_model, save_model
from sr_core.upscale import settled, upscale

ROOT = Path(__file__).parents[1]
HUGE = 2500  # LR pixels a side
Upscale = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def main() -> None:
    arguments = _arguments()
    if arguments.huge:
        _huge(arguments)
        return
    sides = {"ours": _start(_ours, arguments), "plain": _start(_plain, arguments)}
    picture = _picture(arguments.height, arguments.width)
    network = _network(arguments)
    precision = resolve("auto", torch.device("cpu"))
    size = f"{arguments.width * network.scale}x{arguments.height * network.scale}"
    print(f"{_name(arguments)} to {size}: {precision} against float32 on {arguments.threads} threads")
    walls: dict[str, list[float]] = {name: [] for name in sides}
    cpus: dict[str, list[float]] = {name: [] for name in sides}
    peaks = dict.fromkeys(sides, 0.0)
    for round_ in range(arguments.rounds + 1):
        for name, connection in sides.items():
            connection.send(picture)
            wall, cpu, peaks[name] = connection.recv()
            walls[name].append(wall)
            cpus[name].append(cpu)
        text = ", ".join(f"{name} {walls[name][-1]:.2f} s ({cpus[name][-1]:.2f} s of CPU)" for name in sides)
        print(f"round {round_}: {text}" + ("  (warm-up, not counted)" if round_ == 0 else ""), flush=True)
    print(", ".join(f"{name}: {peak:.0f} MB above the start" for name, peak in peaks.items()))
    print(f"upscale_memory: 1/{peaks['plain'] / peaks['ours']:.1f}")
    if arguments.set5.is_dir():
        _compare(arguments, sides)
    for connection in sides.values():
        connection.send(None)
    print(f"upscale_speedup_of_cpu_seconds: {_ratio(cpus):.2f}")
    print(f"upscale_speedup: {_ratio(walls):.2f}")


def _ratio(times: dict[str, list[float]]) -> float:
    return statistics.median(plain / own for plain, own in zip(times["plain"][1:], times["ours"][1:], strict=True))


def _compare(arguments: argparse.Namespace, sides: dict[str, Connection]) -> None:
    """Both sides' mean PSNR on Set5."""
    images = open_testset(arguments.set5, _network(arguments).scale)
    means = {}
    for name, connection in sides.items():
        scores = []
        for i in range(len(images)):
            connection.send(("result", images.lr(i)))
            scores.append(metrics.psnr(connection.recv(), images.hr(i), protocol=_PROTOCOL, scale=images.scale))
        means[name] = statistics.mean(scores)
    print(f"Set5: ours {means['ours']:.4f} dB, plain {means['plain']:.4f} dB")
    print(f"upscale_psnr_difference_db: {means['ours'] - means['plain']:+.4f}")


_PROTOCOL = metrics.PROTOCOLS["benchmark-y"]


def _start(make: Callable[[argparse.Namespace], Upscale], arguments: argparse.Namespace) -> Connection:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=_serve, args=(make, arguments, theirs), daemon=True).start()
    return ours


def _serve(make: Callable[[argparse.Namespace], Upscale], arguments: argparse.Namespace, to: Connection) -> None:
    """Answers each picture with seconds, CPU seconds and the most memory in MB; ("result", picture) with the result."""
    torch.set_num_threads(arguments.threads)
    run = make(arguments)
    start_kb = None
    while (given := to.recv()) is not None:
        if isinstance(given, tuple):
            to.send(run(given[1]))
            continue
        if start_kb is None:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
            start_kb = _status_kb("VmRSS")
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        run(given)
        taken = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
        to.send((*taken, (_status_kb("VmHWM") - start_kb) / 1e3))


def _status_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _network(arguments: argparse.Namespace) -> Any:
    if arguments.model:
        return load_model(arguments.model).network
    torch.manual_seed(0)
    return build(arguments.network, scale=arguments.scale, preset=arguments.preset, options={}).eval()


def _name(arguments: argparse.Namespace) -> str:
    return str(arguments.model or f"{arguments.network} {arguments.preset} x{arguments.scale}, random weights")


def _ours(arguments: argparse.Namespace) -> Upscale:
    network = _network(arguments)
    return lambda image: upscale(network, image)


def _plain(arguments: argparse.Namespace) -> Upscale:
    network: nn.Module = of_plain_layers(_network(arguments).requires_grad_(False)).eval()

    @torch.inference_mode()
    def run(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float().contiguous()
        out: NDArray[np.uint8] = network(x).clamp_(0, 255).add_(0.5).to(torch.uint8)[0].permute(1, 2, 0).numpy()
        return out

    return run


def _picture(height: int, width: int) -> NDArray[np.uint8]:
    """Something smooth with noise."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / 17 + k) * np.cos(columns / 23 - k) for k in range(3)], axis=2)
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    picture: NDArray[np.uint8] = (128 + 90 * waves + noise).clip(0, 255).astype(np.uint8)
    return picture


def _huge(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, model = Path(folder) / "huge.png", arguments.model
        write_png(source, _picture(arguments.side, arguments.side))
        if not model:
            network, model = _network(arguments), Path(folder) / "model"
            card = Card(model=arguments.network, preset=arguments.preset, options={}, scale=arguments.scale)
            save_model(model, network.state_dict(), settled(card, network), {})
        command = [sys.executable, "-m", "sr_core", "upscale", str(source), "--model", str(model), "--output", folder]
        begun_s = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun_s
        if process.returncode:
            raise SystemExit(f"the command ended with exit code {process.returncode}")
        cpu = usage.ru_utime + usage.ru_stime
        print(f"{_name(arguments)}, {arguments.side}x{arguments.side}: {seconds:.0f} s, {cpu:.0f} s of CPU")
        print(f"upscale_huge_peak_mb: {usage.ru_maxrss / 1e3:.0f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory or weight file")
    parser.add_argument("--network", default="edsr", help="without --model")
    parser.add_argument("--preset", default="baseline", help="without --model")
    parser.add_argument("--scale", type=int, default=4, help="without --model")
    parser.add_argument("--height", type=int, default=306, help="LR pixels")
    parser.add_argument("--width", type=int, default=408, help="LR pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--set5", type=Path, default=ROOT.parent / "shared" / "testsets" / "Set5")
    parser.add_argument("--huge", action="store_true", help="100 megapixels instead")
    parser.add_argument("--side", type=int, default=HUGE, help="LR pixels a side, with --huge")
    return parser.parse_args()


if __name__ == "__main__":
    main()
