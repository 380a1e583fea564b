"""What a step costs on 1 and 2 workers here, and what the model fitted to it predicts for 8, 64 and 512 GPUs.

    python benchmarks/scale.py                   measures (some 4 minutes) and prints the tables
    python benchmarks/scale.py --write           the same, and renews docs/scale.json and the tables of docs/scale.md
    python benchmarks/scale.py --predict --step-s 0.12 --bandwidth-gbps 200      your own figures; measures nothing

`--predict` without a step time takes that of EDSR-full's floating-point operations at `--peak-tflops` and
`--utilisation`. The model is benchmarks/scale_model.py, its assumptions are in docs/scale.md.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scale_model import Link, Step, Worker, edsr_crop_flops, edsr_parameters, fit_compute, fit_link, predict, strong

from sr_core import files

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT, FIGURES = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.json"
FULL = {"blocks": 32, "features": 256, "scale": 4}
BATCH, CROP = 16, 48  # the paper's
NUMBERS = (1, 8, 64, 512)
LINKS = (
    Link(name="NVLink, 300 GB/s", bytes_per_s=300e9, latency_s=3e-6),
    Link(name="Ethernet, 200 Gb/s", bytes_per_s=200e9 / 8, latency_s=10e-6),
    Link(name="Ethernet, 25 Gb/s", bytes_per_s=25e9 / 8, latency_s=30e-6),
)
# the update reads and writes weights, gradients, two moments and the average: about eleven passes of four bytes each
UPDATE_BYTES, MEMORY_BYTES_PER_S = 11 * 4, 1.5e12
Figures = Mapping[str, Any]
Row = Sequence[object]


def main() -> None:
    arguments = parser().parse_args()
    if arguments.predict:
        print(predicted_table(assumed_gpu(arguments), _links(arguments), arguments.batch))
        return
    figures = measure(arguments.steps)
    if arguments.write:
        files.write_atomic(FIGURES, files.to_json(figures))
        write_document(figures, arguments)
    print(measured_tables(figures))
    print(predicted_table(assumed_gpu(arguments, figures), LINKS, arguments.batch))


def measure(steps: int) -> Figures:
    """The figures of 1 and of 2 workers on this machine."""
    with tempfile.TemporaryDirectory(prefix="sr-scale-") as scratch:
        root = Path(scratch)
        _python("-m", "sr_core", "shard", "--set", f"data.root={root}", "--set", f"data.crop={CROP}")
        workers = {}
        for num in (1, 2):
            result = root / f"{num}.json"
            launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num))
            rest = (str(result), "--root", str(root), "--steps", str(steps))
            _python(*launch, "benchmarks/scale_rank.py", *rest)
            workers[str(num)] = json.loads(result.read_text())
    machine = {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[2]}
    return {"machine": machine, "torch": torch.__version__, "workers": workers}


def write_document(figures: Figures, arguments: argparse.Namespace) -> None:
    """Renews what stands between the markers of docs/scale.md."""
    text = DOCUMENT.read_text()
    for name, table in {
        "measured": measured_tables(figures),
        "predicted": predicted_table(assumed_gpu(arguments, figures), LINKS, arguments.batch),
    }.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        text = re.sub(f"{begin}.*?{end}", lambda _, new=f"{begin}\n\n{table}\n\n{end}": new, text, flags=re.DOTALL)
    files.write_atomic(DOCUMENT, text)


def measured_tables(figures: Figures) -> str:
    """What was measured, and how far the model is from it."""
    one, two = figures["workers"]["1"], figures["workers"]["2"]
    machine = figures["machine"]
    saved, crop_s = one["checkpoint"], one["loader_crop_s"]
    parts = ("step_s", "forward_backward_s", "all_reduce_s", "update_s")
    steps = [
        (
            num,
            f"EDSR-{step['preset']}",
            step["crops"],
            f"{step['bytes'] / 1e6:.1f}",
            *(_ms(step[part]) for part in parts),
        )
        for num, each in figures["workers"].items()
        for step in each["steps"]
    ]
    link = _fitted_link(figures)
    reduced = [
        (each["bytes"], _ms(each["seconds"]), _ms(link.all_reduce_s(each["bytes"], 2))) for each in two["all_reduce"]
    ]
    heads = "workers|network|crops each|gradients (MB)|step (ms)|forward, backward|all-reduce and wait|update"
    return "\n\n".join(
        (
            f"{machine['cores']} cores of {machine['cpu']}, load {machine['load']:.1f} (15 min), "
            f"torch {figures['torch']}, gloo, one thread per worker.",
            _table(heads.split("|"), steps),
            _table(("all-reduce of (bytes)", "measured (ms)", "fitted (ms)"), reduced),
            f"Fitted: {link.bytes_per_s / 1e9:.2f} GB/s and {1e6 * link.latency_s:.0f} µs. "
            f"Loader: {1e6 * crop_s:.0f} µs a crop, {1 / crop_s:.0f} crops/s on one thread. "
            f"Checkpoint of EDSR-full: {saved['bytes'] / 1e6:.0f} MB, snapshot {_ms(saved['snapshot_s'])} ms, "
            f"write {saved['write_s']:.2f} s.",
            _table(("network", "crops each", "two workers, measured (ms)", "model (ms)", "error"), _residuals(figures)),
        )
    )


def _residuals(figures: Figures) -> Iterable[Row]:
    """The model with compute of one worker and the link of two, against steps of two."""
    one, two = figures["workers"]["1"], figures["workers"]["2"]
    link = _fitted_link(figures)
    for preset in dict.fromkeys(step["preset"] for step in one["steps"]):
        crop_s, fixed_s = fit_compute(
            [(each["crops"], each["step_s"]) for each in one["steps"] if each["preset"] == preset]
        )
        for step in two["steps"]:
            if step["preset"] == preset:
                worker = Worker(crop_s=crop_s, fixed_s=fixed_s, gradient_bytes=step["bytes"])
                model_s = predict(worker, link, num=2, crops=step["crops"]).seconds
                error = f"{100 * (model_s / step['step_s'] - 1):+.0f} %"
                yield f"EDSR-{preset}", step["crops"], _ms(step["step_s"]), _ms(model_s), error


def _fitted_link(figures: Figures) -> Link:
    times = [(each["bytes"], each["seconds"]) for each in figures["workers"]["2"]["all_reduce"]]
    return fit_link("gloo on this machine", times, 2)


def assumed_gpu(arguments: argparse.Namespace, figures: Figures | None = None) -> Worker:
    """A GPU that trains EDSR-full: assumed but for loader and checkpoint, which were measured here."""
    figures = figures or (json.loads(FIGURES.read_text()) if FIGURES.exists() else None)
    parameters = edsr_parameters(**FULL)
    fixed_s = UPDATE_BYTES * parameters / MEMORY_BYTES_PER_S
    crop_s = edsr_crop_flops(CROP, **FULL) / (1e12 * arguments.peak_tflops * arguments.utilisation)
    if arguments.step_s is not None:
        crop_s = max(0.0, arguments.step_s - fixed_s) / arguments.batch
    one = figures["workers"]["1"] if figures else None
    return Worker(
        crop_s=crop_s,
        fixed_s=fixed_s,
        gradient_bytes=4 * parameters,
        loader_crop_s=one["loader_crop_s"] if one else 0.0,
        snapshot_s=one["checkpoint"]["snapshot_s"] if one else 0.0,
        write_s=one["checkpoint"]["write_s"] if one else 0.0,
    )


def _links(arguments: argparse.Namespace) -> Sequence[Link]:
    if arguments.bandwidth_gbps is None:
        return LINKS
    bytes_per_s, latency_s = 1e9 * arguments.bandwidth_gbps / 8, 1e-6 * arguments.latency_us
    return (Link(name=f"{arguments.bandwidth_gbps:g} Gb/s", bytes_per_s=bytes_per_s, latency_s=latency_s),)


def predicted_table(worker: Worker, links: Sequence[Link], batch: int) -> str:
    """EDSR-full on more GPUs."""
    flops = edsr_crop_flops(CROP, **FULL)
    head = (
        f"EDSR-full: {edsr_parameters(**FULL):,} parameters, {worker.gradient_bytes / 1e6:.0f} MB of gradients, "
        f"{flops / 1e9:.0f} GFLOP a crop. One GPU: {_ms(worker.compute_s(batch))} ms for {batch} crops, "
        f"{flops * batch / worker.compute_s(batch) / 1e12:.0f} TFLOP/s."
    )
    return "\n\n".join((head, _table(HEADS, [row for link in links for row in _rows(worker, link, batch)])))


HEADS = ("link", "GPUs", "batch", "crops each", "step (ms)", "compute", "all-reduce", "crops/s", "efficiency")


def _rows(worker: Worker, link: Link, batch: int) -> Iterable[Row]:
    alone = predict(worker, link, num=1, crops=batch)
    for num in NUMBERS[1:]:
        yield _row(link, predict(worker, link, num=num, crops=batch), num * batch, alone)
    for num in NUMBERS[1:]:
        step = strong(worker, link, num=num, batch=batch)
        nothing = (link.name, num, batch, "less than 1", *("–",) * 5)
        yield nothing if step is None else _row(link, step, batch, alone)


def _row(link: Link, step: Step, batch: int, alone: Step) -> Row:
    crops_per_s = batch / step.seconds
    efficiency = f"{100 * crops_per_s / (step.num * alone.crops_per_s):.0f} %"
    times = (_ms(each) for each in (step.seconds, step.compute_s, step.all_reduce_s))
    return link.name, step.num, batch, step.crops, *times, f"{crops_per_s:.0f}", efficiency


def _table(heads: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _python(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--steps", type=int, default=5, help="measured steps of each kind")
    made.add_argument("--write", action="store_true", help="renew docs/scale.json and docs/scale.md")
    made.add_argument("--predict", action="store_true", help="measure nothing")
    made.add_argument("--step-s", type=float, help="of one GPU with --batch crops")
    made.add_argument("--batch", type=int, default=BATCH, help="crops per GPU; and of all of them, where it is fixed")
    made.add_argument("--peak-tflops", type=float, default=312.0, help="of a GPU in bf16; 312: an A100")
    made.add_argument("--utilisation", type=float, default=0.4, help="the part of it that training reaches")
    made.add_argument("--bandwidth-gbps", type=float, help="of the ring's slowest link (default: three of them)")
    made.add_argument("--latency-us", type=float, default=10.0, help="of a message on it")
    return made


if __name__ == "__main__":
    main()
