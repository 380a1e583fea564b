"""Every network with the same time to train: which gain over bicubic a few minutes on this machine buys.

    python benchmarks/zoo.py [--models srcnn edsr] [--minutes 3] [--scale 4] [--output docs/comparison.md]

Each network is trained on the sample's photographs by `python -m sr_core train` in one process with all cores, as its
recipe in profiles/sample.yaml says except for the number of steps: a short run tells what a step and everything around
the steps take, and then there are as many steps as fill the time from the command's start to its end, validation and
saving included. The milestones of the learning rate move in proportion, and the recipe's own moving average stays.

Afterwards all of them, and the interpolations, enlarge the photographs that were held out (chelsea and coffee) in
float32. Measured beside them: the command's time, a step's time without validation, seconds per megapixel of output.
Generators that are fine-tuned against a discriminator are not here: PSNR is not what they are trained for.

The last line is `zoo_least_gain_db: <figure>`, the least gain over bicubic in PSNR of the networks trained.
"""

import argparse
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from sr_core import config
from sr_core.data.patches import open_dataset
from sr_core.data.shards import build as build_shards
from sr_core.evaluate.benchmark import BASELINE, EvalReport, evaluate
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.files import write_atomic
from sr_core.models import MODELS, build, check_trainable
from sr_core.params import GANS, Params
from sr_core.precision import resolve
from sr_core.progress import console
from sr_core.train import metrics_log, run
from sr_core.train.weights import load_model

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "profiles" / "sample.yaml"
NETWORKS = [name for name, entry in MODELS.items() if entry.is_trainable and name not in GANS]
INTERPOLATIONS = [name for name, entry in MODELS.items() if not entry.is_trainable]
VALIDATIONS = 4  # during a run
FIRST_STEPS, CALIBRATION_S = 12, 15.0
PROTOCOL = PROTOCOLS["benchmark-y"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A training that is done, and what it took."""

    params: Params
    command_s: float
    step_s: float  # over the second half, without validation

    @property
    def around_s(self) -> float:
        """Start, validation and saving."""
        return self.command_s - self.params.train.steps * self.step_s


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="sr-zoo-") as scratch:
        root = arguments.root or Path(scratch)
        chosen = [_params(_settings(name, arguments.scale, root)) for name in arguments.models]
        for params in chosen:
            check_trainable(params)
        with console() as progress:
            build_shards(chosen[0].data, progress=progress)
        trained = [_train_for(params, 60 * arguments.minutes) for params in chosen]
        report, megapixels = _measure(trained)
    table = "\n".join(_rows(trained, report, megapixels))
    print(table)
    if arguments.output:
        write_atomic(arguments.output, _page(arguments, report, table))
    print(f"zoo_least_gain_db: {min(report.gain_db(one.params.model.name) for one in trained):.2f}")


def _settings(name: str, scale: int, root: Path) -> list[str]:
    return [f"model.name={name}", f"data.scale={scale}", f"data.root={root.resolve()}", "train.num_threads=null"]


def _params(settings: Sequence[str]) -> Params:
    return config.load(PROFILE, settings)


def _train_for(params: Params, seconds: float) -> Trained:
    """Trains for about `seconds`, after finding out how many steps that is."""
    first = _train(params, FIRST_STEPS)
    calibrated = _train(params, max(FIRST_STEPS, round(CALIBRATION_S / first.step_s)))
    return _train(params, max(FIRST_STEPS, round((seconds - calibrated.around_s) / calibrated.step_s)))


def _train(params: Params, steps: int) -> Trained:
    """Trains `params.model` for so many steps, with the milestones where they would be in so long a run."""
    name = params.model.name
    settings = [
        *_settings(name, params.data.scale, Path(params.data.root)),
        f"train.steps={steps}",
        f"train.lr_milestones={_milestones(params, steps)}",
        f"train.log_every={-(-steps // 2)}",
        f"train.eval_every={-(-steps // VALIDATIONS)}",
        f"train.checkpoint_every={steps}",
    ]
    own = _params(settings)
    shutil.rmtree(run.current_directory(own), ignore_errors=True)  # a run of as many steps would be gone on with
    given = [word for setting in settings for word in ("--set", setting)]
    begun_s = time.perf_counter()
    command = [sys.executable, "-m", "sr_core", "train", "--params", str(PROFILE), *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    command_s = time.perf_counter() - begun_s
    if done.returncode:
        raise SystemExit(f"{name}: training ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    events = [event.values for event in metrics_log.read(run.current_directory(own)) if "train/step_s" in event.values]
    step_s = events[-1]["train/step_s"]
    print(f"{name}: {steps} steps of {1000 * step_s:.0f} ms, {command_s:.1f} s in all", flush=True)
    return Trained(params=own, command_s=command_s, step_s=step_s)


def _milestones(params: Params, steps: int) -> list[int]:
    """The recipe's milestones, moved in proportion; those that fall together are one."""
    train = params.train
    return sorted({max(1, round(milestone * steps / train.steps)) for milestone in train.lr_milestones})


def _measure(trained: Sequence[Trained]) -> tuple[EvalReport, float]:
    """The scores on the photographs that were held out, and how many megapixels one of these has in the mean."""
    data = trained[0].params.data
    networks = {name: build(name, scale=data.scale, preset="small", options={}) for name in INTERPOLATIONS}
    del networks[BASELINE]  # measured anyway
    networks |= {one.params.model.name: load_model(run.model_directory(one.params)).network for one in trained}
    images = open_dataset(data, verify=False).valid
    for _ in range(2):  # the first pass warms up
        report = evaluate(networks, images, protocol=PROTOCOL, test_set="sample validation")
    pixels = [images.hr(i).shape[0] * images.hr(i).shape[1] for i in range(len(images))]
    return report, sum(pixels) / len(pixels) / 1e6


def _rows(trained: Sequence[Trained], report: EvalReport, megapixels: float) -> list[str]:
    """A Markdown table."""
    titles = ["network", "preset", "parameters", "steps", "ms per step", "s in all", "s per megapixel"]
    titles += ["PSNR, dB", "SSIM", "gain, dB"]
    rows = [f"| {' | '.join(titles)} |", f"|---|---|{'---:|' * (len(titles) - 2)}"]
    for one in trained:
        model = one.params.model
        network = build(model.name, scale=one.params.data.scale, preset=model.preset, options=model.options)
        count = sum(parameter.numel() for parameter in network.parameters())
        preset = ", ".join([model.preset, *(f"{key} {value}" for key, value in model.options.items())])
        took = f"{one.params.train.steps:,} | {1000 * one.step_s:.0f} | {one.command_s:.0f}"
        rows.append(f"| {model.name} | {preset} | {count:,} | {took} | {_scores(report, model.name, megapixels)} |")
    return rows + [f"| {name} | | 0 | | | | {_scores(report, name, megapixels)} |" for name in INTERPOLATIONS]


def _scores(report: EvalReport, name: str, megapixels: float) -> str:
    mean = report.mean(name)
    return f"{mean.seconds / megapixels:.2f} | {mean.psnr:.2f} | {mean.ssim:.4f} | {report.gain_db(name):+.2f}"


def _page(arguments: argparse.Namespace, report: EvalReport, table: str) -> str:
    """docs/comparison.md: the table, the command that made it, and the machine."""
    return f"""# The networks side by side

Each has {arguments.minutes:g} minutes of wall clock, from the start of its command to its end, to train on the sample's
photographs with its recipe in [profiles/sample.yaml](../profiles/sample.yaml); a few minutes tell how fast a network
learns, not how far it gets. A step's time is that of one process without validation. Measured on the photographs that
were held out ({" and ".join(report.images)}), {report.describe()}.

Made by

    python {" ".join(["benchmarks/zoo.py", *sys.argv[1:]])}

on {datetime.now(UTC):%-d %B %Y}, {_machine()}.

{table}

The networks: [models.md](models.md).
"""


def _machine() -> str:
    """The processor, the cores that this process has, and the number format of training."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    precision = resolve("auto", torch.device("cpu"))
    return f"{cores} cores of {cpu}, torch {torch.__version__}, trained in {precision}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=None, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=3.0, help="wall clock of each training")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--root", type=Path, help="a folder for shards, runs and models (default: a temporary one)")
    parser.add_argument("--output", type=Path, help="write the table there too, with the command and the machine")
    arguments = parser.parse_args()
    arguments.models = arguments.models or [name for name in NETWORKS if arguments.scale in MODELS[name].scales]
    return arguments


if __name__ == "__main__":
    main()
