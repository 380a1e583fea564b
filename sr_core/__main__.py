"""The command line of the library.

    python -m sr_core train --set train.steps=1000          one process
    torchrun --nproc-per-node 2 -m sr_core train            several
    python -m flows.train edsr                              Ray Train, with everything around it

Verbs: inspect, fetch, shard, train, status, evaluate, upscale; each with --help. A failure is one sentence on standard
error and an exit code that is not 0; 75 means that training was asked to stop and that the same command goes on.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sr_core.config import load
from sr_core.errors import SrError, explained
from sr_core.params import Params

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.call(arguments)
    except (SrError, OSError) as error:
        print(f"{arguments.verb}: {explained(error)}", file=sys.stderr)
        return explained(error).exit_code
    except KeyboardInterrupt:
        print(f"{arguments.verb}: interrupted", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sr_core", description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    inspect = _verb(verbs, "inspect", _inspect, "look at the photographs before anything is built of them")
    inspect.add_argument("dataset", nargs="?", help="sample, div2k, a folder of photographs or of shards")
    inspect.add_argument("--output", type=Path, help="a folder for the page and its pictures (default: data/reports/…)")
    _verb(verbs, "fetch", _fetch, "bring the photographs to data/raw, verified")
    _verb(verbs, "shard", _shard, "cut them into the shards that training reads")
    _verb(verbs, "train", _train, "train, or go on with a run that was interrupted")
    status = _verb(verbs, "status", _status, "how far a run has come")
    status.add_argument("run", type=Path, nargs="?", help="a run directory (default: that of the parameters)")
    evaluate = _verb(verbs, "evaluate", _evaluate, "measure the finished model beside bicubic, and picture it")
    evaluate.add_argument("--model", type=Path, help="a model directory (default: that of the parameters)")
    upscale = _verb(verbs, "upscale", _upscale, "enlarge your own photographs with a finished model")
    upscale.add_argument("images", type=Path, nargs="+", help="photographs")
    upscale.add_argument("--model", type=Path, help="a model directory (default: that of the parameters)")
    upscale.add_argument("--output", type=Path, help="a folder to write to (default: beside each photograph)")
    upscale.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    return parser


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    call: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--params", default="params.yaml", help="the parameters (default: params.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one, as train.lr=1e-4")
    parser.set_defaults(call=call)
    return parser


def _params(arguments: argparse.Namespace) -> Params:
    return load(arguments.params, arguments.set)


def _inspect(arguments: argparse.Namespace) -> int:
    from sr_core.inspect.look import look
    from sr_core.inspect.report import show
    from sr_core.progress import console

    params = _params(arguments).data
    with console() as progress:
        report, page = look(params, arguments.dataset, output=arguments.output, progress=progress)
    show(report)
    print(f"page and pictures: {page}")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from sr_core.data import sources
    from sr_core.progress import console

    with console() as progress:
        progress.say(f"photographs: {sources.materialise(_params(arguments).data, progress=progress)}")
    return 0


def _shard(arguments: argparse.Namespace) -> int:
    from sr_core.data import shards
    from sr_core.progress import console

    params = _params(arguments)
    with console() as progress:
        version = shards.build(params.data, progress=progress)
        progress.say(f"data version: {version.digest}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from sr_core.data.patches import open_dataset
    from sr_core.files import LAUNCHER_PID
    from sr_core.models import check_trainable
    from sr_core.progress import QUIET, console
    from sr_core.train import run
    from sr_core.train.loop import train
    from sr_core.world import open_world

    params = _params(arguments)
    check_trainable(params)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        os.environ.setdefault(LAUNCHER_PID, str(os.getppid()))
    stop = _StopRequest()
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(open_world(timeout_s=params.train.collective_timeout_s))
        progress = stack.enter_context(console()) if world.is_first else QUIET
        # one rank per host reads every byte of the shards; the others wait for its verdict
        dataset = world.on_each_host(lambda verify: open_dataset(params.data, verify=verify, progress=progress))
        run_dir = run.run_directory(params, dataset.digest)
        result = train(params, world, run_dir, dataset=dataset, progress=progress, should_stop=stop)
        if world.is_first and not result.stopped:
            run.publish(params, run_dir)
            progress.say(f"finished: {run.model_directory(params)} (run {run_dir})")
        if result.stopped:
            progress.say(f"stopped at step {result.step}, checkpoint written; the same command goes on from there")
    return STOPPED if result.stopped else 0


class _StopRequest:
    """Becomes true at the first SIGTERM or SIGINT; the second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True

    def __call__(self) -> bool:
        return self._asked


def _status(arguments: argparse.Namespace) -> int:
    from sr_core.train.status import show

    run_dir = arguments.run
    if run_dir is None:
        from sr_core.train.run import current_directory

        run_dir = current_directory(_params(arguments))
    print(show(run_dir))
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from sr_core.evaluate.tables import table
    from sr_core.evaluate.task import evaluate_task, report_directory
    from sr_core.progress import console

    params = _params(arguments)
    with console() as progress:
        report = evaluate_task(params, model_dir=arguments.model, progress=progress)
    Console().print(table(report))
    print(f"report and pictures: {report_directory(params, arguments.model)}")
    return 0


def _upscale(arguments: argparse.Namespace) -> int:
    from sr_core.progress import console
    from sr_core.train import run, weights
    from sr_core.upscale import fastest_device, upscale_files

    network = weights.load_model(arguments.model or run.model_directory(_params(arguments))).network
    with console() as progress:
        upscale_files(
            network,
            arguments.images,
            folder=arguments.output,
            overwrite=arguments.overwrite,
            device=fastest_device(),
            max_pixels=_max_pixels(arguments),
            progress=progress,
        )
    return 0


def _max_pixels(arguments: argparse.Namespace) -> int:
    """That of the parameters, which need not be there where a model is named."""
    needed = arguments.model is None or arguments.set or Path(arguments.params).exists()
    return (_params(arguments) if needed else Params()).data.max_pixels


if __name__ == "__main__":
    sys.exit(main())
