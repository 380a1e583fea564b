"""The speed of exported networks: onnxruntime against PyTorch, both in float32 on the CPU, with the same threads.

    python benchmarks/onnx_speed.py [--models edsr:baseline wdsr_b:baseline …] [--side 128] [--rounds 5] [--threads 2]

Both sides enlarge the same image in turn, PyTorch in channels_last, onnxruntime without and with the memory that it
keeps for itself (serving/exchange/onnx.py leaves that out). The figure is the geometric mean over the networks of
PyTorch's time over that of the former: above 1 onnxruntime is faster. Weights are random, which the time does not
depend on.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch

from serving.exchange.graph import INPUT, onnx_bytes, traced
from sr_core import models

MODELS = ("edsr:baseline", "srresnet:paper", "wdsr_a:baseline", "wdsr_b:baseline", "srcnn:9-5-5", "rrdb:lite")


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    print(f"x{arguments.scale}, {arguments.side}x{arguments.side}, {arguments.threads} threads, float32, median of")
    print(f"{arguments.rounds} rounds: seconds of PyTorch, of onnxruntime, and of onnxruntime with its own memory")
    ratios = []
    for given in arguments.models:
        name, _, preset = given.partition(":")
        network = models.build(name, scale=arguments.scale, preset=preset or "small", options={})
        own, plain, arena = _measure(network.eval().requires_grad_(False), arguments)
        ratios.append(own / plain)
        print(
            f"{given:<16} {own:7.3f} {plain:7.3f} {arena:7.3f}   {own / plain:.2f} and {own / arena:.2f} x", flush=True
        )
    print(f"onnxruntime_speedup: {math.exp(statistics.mean(map(math.log, ratios))):.2f}")


def _measure(network, arguments) -> list[float]:
    image = torch.rand(1, 3, arguments.side, arguments.side) * 255
    in_order = image.contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "x.onnx"
        with torch.inference_mode(False):
            path.write_bytes(onnx_bytes(traced(network)))
        sessions = [_session(path, arguments.threads, arena) for arena in (False, True)]
        calls = [lambda: network(in_order)]
        calls += [lambda session=session: session.run(None, {INPUT: image.numpy()}) for session in sessions]
        times = [[] for _ in calls]
        for round_ in range(arguments.rounds + 1):
            for call, taken in zip(calls, times, strict=True):
                begin = time.perf_counter()
                call()
                if round_:  # the first is to warm up
                    taken.append(time.perf_counter() - begin)
    return [statistics.median(taken) for taken in times]


def _session(path, threads, arena):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_cpu_mem_arena = threads, arena
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names with presets")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--side", type=int, default=128, help="of the image, LR pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
