"""The command line of the library.

    python -m sr_core train --set train.steps=1000          one process
    python -m sr_core.torchrun --nproc-per-node 2 -m sr_core train      several
    python -m flows.train edsr                              Ray Train, with everything around it

Verbs: inspect, fetch, shard, train, status, evaluate, fit-niqe, upscale, import, export, interpolate; each with --help.
A failure is one sentence on standard error and an exit code that is not 0; 75 means that training was asked to stop and
that the same command goes on.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from sr_core import faults
from sr_core.config import changes, from_dict, load
from sr_core.errors import STOPPED, CheckpointError, ConfigError, SrError, explained, say_once
from sr_core.params import Params
from sr_core.train_params import ProtocolName

if TYPE_CHECKING:
    from sr_core.train.weights import LoadedModel

PARAMS = "params.yaml"


def main(
    argv: Sequence[str] | None = None,
    *,
    open_model: "Callable[[str, int], LoadedModel] | None" = None,
    called: str = "python -m sr_core",
) -> int:
    """Runs one verb; returns the exit code.

    `open_model` finds more models than this library knows, for upscale and evaluate; `called` is what the usage begins
    with.
    """
    arguments = _parser(called).parse_args(argv)
    arguments.open_model = open_model
    try:
        faults.point("import")
        code: int = arguments.call(arguments)
    except (SrError, OSError) as error:
        say_once(f"{arguments.verb}: {explained(error)}")
        return explained(error).exit_code
    except KeyboardInterrupt:
        print(f"{arguments.verb}: interrupted", file=sys.stderr)
        return 130
    return code


def _parser(called: str = "python -m sr_core") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called, description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    inspect = _verb(verbs, "inspect", _inspect, "look at the photographs before anything is built of them")
    inspect.add_argument("dataset", nargs="?", help="sample, div2k, a folder of photographs or of shards")
    inspect.add_argument("--output", type=Path, help="a folder for the page and its pictures (default: data/reports/…)")
    _verb(verbs, "fetch", _fetch, "bring the photographs to data/raw, verified")
    _verb(verbs, "shard", _shard, "cut them into the shards that training reads")
    train = _verb(verbs, "train", _train, "train, or go on with a run that was interrupted")
    train.add_argument("--run", type=Path, help="go on in this run directory (default: that of the parameters)")
    status = _verb(verbs, "status", _status, "how far a run has come")
    place = "a run directory, or s3://bucket/prefix/runs/<run> (default: the directory of the parameters' run)"
    status.add_argument("run", nargs="?", help=place)
    status.add_argument("--watch", action="store_true", help="anew every few seconds, until training ends")
    _add_evaluate(verbs)
    fit = _verb(verbs, "fit-niqe", _fit_niqe, "fit the pristine model by which NIQE judges, for evaluate.niqe_model")
    fit.add_argument("photographs", nargs="?", help="a folder, or sample (default: the training photographs)")
    fit.add_argument("--output", type=Path, required=True, help="a .json file")
    upscale = _verb(verbs, "upscale", _upscale, "enlarge your own photographs with a finished model")
    _add_upscale(upscale)
    _add_exchange(verbs)
    return parser


_GET_ONE = (
    "name a weight file or bicubic by --model, or train one in the project's folder by `python -m flows.train edsr`"
)


_MODEL = "a model or run directory, a weight file, or bicubic and its like (default: the model of the parameters)"


def _add_evaluate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = _verb(verbs, "evaluate", _evaluate, "measure the finished model beside bicubic, and picture it")
    several = "with --images several, by `sr` also models:/name@champion or .onnx files"
    evaluate.add_argument("--model", type=Path, nargs="+", help=f"{_MODEL}; {several}")
    evaluate.add_argument(
        "--images", nargs="+", help="folders of test images, such as Set5, or sample (default: validation images)"
    )
    evaluate.add_argument(
        "--degradation", nargs="+", help="with --images, of the LR images: bicubic (default), unknown, mild, …"
    )
    evaluate.add_argument(
        "--protocol", choices=get_args(ProtocolName), help="by which PSNR and SSIM are taken (default: the set's usual)"
    )
    evaluate.add_argument("--ensemble", action="store_true", help="also as the mean over the 8 symmetries (EDSR+)")
    evaluate.add_argument(
        "--output", type=Path, help="with --images, a folder for the reports (default: data/reports/…)"
    )


def _add_upscale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="image", help="files, folders, quoted patterns, or - for stdin")
    parser.add_argument("--model", help=f"{_MODEL}; by `sr` also models:/name@champion or an .onnx file")
    parser.add_argument("--output", metavar="PLACE", help="a folder, a file, or - (default: beside each photograph)")
    formats = ("png", "jpg", "webp", "tiff")
    parser.add_argument("--format", choices=formats, help="of the results (default: the output file's, or png)")
    parser.add_argument("--recursive", action="store_true", help="look into the folders below a folder as well")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    parser.add_argument("--ensemble", action="store_true", help="the mean over 8 symmetries: better, 8 times the work")
    parser.add_argument("--memory", metavar="512M", help="what the work may take beside the pictures and the network")
    parser.add_argument("--tile", type=int, metavar="N", help="a tile's side in pixels (default: the model card's)")
    precision = "the number format (default: the model card's)"
    parser.add_argument("--precision", choices=("auto", "bf16", "float32"), help=precision)


def _add_exchange(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verbs that read weights and write weights."""
    take = _verb(verbs, "import", _import, "make a model directory of a weight file that others published")
    take.add_argument("file", type=Path, help="a .pt, .pth or .safetensors file with a state dict")
    give = _verb(
        verbs, "export", _export, "write a model as one .safetensors file, its card inside", reads_params=False
    )
    give.add_argument("model", type=Path, help="a model or run directory, or a weight file")
    blend = _verb(
        verbs, "interpolate", _interpolate, "make a network between two, parameter by parameter", reads_params=False
    )
    for name in ("first", "second"):
        blend.add_argument(name, type=Path, help=f"the {name} model: a model or run directory, or a weight file")
    blend.add_argument("--alpha", type=float, required=True, help="0: the first network, 1: the second")
    for parser in (take, give, blend):
        parser.add_argument("--output", type=Path, required=True, help="where to write it")
        parser.add_argument("--overwrite", action="store_true", help="replace a model that is there already")


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    call: Callable[[argparse.Namespace], int],
    text: str,
    *,
    reads_params: bool = True,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(call=call)
    if reads_params:
        parser.add_argument("--params", default=PARAMS, help=f"the parameters (default: {PARAMS})")
        change = "change one, as train.lr=1e-4"
        parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=change)
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
    from sr_core.data import shards, sync
    from sr_core.progress import console

    params = _params(arguments)
    with console() as progress:
        version = shards.build(params.data, progress=progress)
        sync.push(params, progress=progress)
        progress.say(f"data version: {version.digest}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    stop = _StopRequest()  # before what takes seconds to import
    from sr_core.data import sync
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
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(open_world(timeout_s=params.train.collective_timeout_s))
        progress = stack.enter_context(console()) if world.is_first else QUIET
        given = world.on_first(lambda: run.given_directory(params, arguments.run)) if arguments.run else None
        sync.bring(params, world, progress=progress, should_stop=stop)
        # one rank per host reads every byte of the shards that were not brought; the others wait for its verdict
        own = params.storage.remote is None
        dataset = world.on_each_host(lambda first: open_dataset(params.data, verify=first and own, progress=progress))
        faults.point("shard_open")
        run_dir = given or world.on_first(lambda: run.run_directory(params, dataset.digest))
        result = train(params, world, run_dir, dataset=dataset, progress=progress, should_stop=stop)
        world.on_first(lambda: None)  # rank 0 writes: torchrun kills it 30 s after another rank's end with 75
        if world.is_first and not result.stopped:
            run.publish(params, run_dir)
            progress.say(f"finished: {run.model_directory(params)} (run {run_dir})")
        if result.stopped:
            progress.say(f"stopped at step {result.step}, checkpoint written; the same command goes on from there")
    return STOPPED if result.stopped else 0


class _StopRequest:
    """Becomes true at the first SIGTERM or SIGINT; the second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self._asked: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and number in self._asked:
            raise KeyboardInterrupt
        self._asked.append(number)

    def __call__(self) -> bool:
        return bool(self._asked)

    @property
    def by(self) -> str | None:
        """The signal's name."""
        return signal.Signals(self._asked[0]).name if self._asked else None


def _status(arguments: argparse.Namespace) -> int:
    from sr_core.train.status_page import show

    if arguments.run is None:
        from sr_core.train.run import current_directory

        show(current_directory(_params(arguments)), watch=arguments.watch)
    elif "://" in arguments.run:
        import tempfile

        from sr_core.train.remote_run import picture

        if arguments.watch:
            raise ConfigError(
                "--watch: goes with a directory; of a run in a remote store there is one picture at a time"
            )
        given = arguments.params != PARAMS or Path(PARAMS).exists()
        endpoint = _params(arguments).storage.endpoint if given else None
        with tempfile.TemporaryDirectory() as folder:
            show(picture(arguments.run, endpoint, Path(folder)), watch=False)
    else:
        show(Path(arguments.run), watch=arguments.watch)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from sr_core.evaluate.command import Request, run

    request = Request(
        models=arguments.model,
        images=arguments.images,
        degradations=arguments.degradation,
        protocol=arguments.protocol,
        ensemble=arguments.ensemble,
        output=arguments.output,
        changes=changes(arguments.set),
    )
    params = _params_if_any(arguments) if arguments.images else _params(arguments)
    run(request, params, arguments.open_model)
    return 0


def _fit_niqe(arguments: argparse.Namespace) -> int:
    from sr_core.evaluate import niqe
    from sr_core.evaluate.perceptual import fit_named
    from sr_core.progress import console

    needed = arguments.photographs is None or arguments.params != PARAMS or Path(PARAMS).exists()
    params = _params(arguments) if needed else from_dict(changes(arguments.set), where="--set")
    with console() as progress:
        pristine = fit_named(params.data, arguments.photographs, progress=progress)
    niqe.write(arguments.output, pristine)
    print(f"{pristine.label}\n-> {arguments.output}")
    return 0


def _upscale(arguments: argparse.Namespace) -> int:
    from sr_core.train.weights import open_model
    from sr_core.upscale import command

    params, name = _params_and_model(arguments)
    opened = (arguments.open_model or open_model)(name, params.data.scale)
    return command.run(arguments, opened.network, opened.card, max_pixels=params.data.max_pixels)


def _params_and_model(arguments: argparse.Namespace) -> tuple[Params, str]:
    """The parameters, and which model is to be used."""
    from sr_core.train.run import model_directory

    if arguments.model is not None:
        return _params_if_any(arguments), arguments.model
    if arguments.params == PARAMS and not Path(PARAMS).exists():
        raise ConfigError(f"--model: none is named, and there is no {PARAMS} here to say which was trained; {_GET_ONE}")
    params = _params(arguments)
    directory = model_directory(params)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no model is there, as none has been trained yet; {_GET_ONE}")
    return params, str(directory)


def _params_if_any(arguments: argparse.Namespace) -> Params:
    """The parameters, which need not be there where a model is named."""
    needed = arguments.model is None or arguments.params != PARAMS or Path(PARAMS).exists()
    return _params(arguments) if needed else from_dict(changes(arguments.set), where="--set")


def _import(arguments: argparse.Namespace) -> int:
    from sr_core.train.exchange import given_by, import_model

    loaded = import_model(arguments.file, arguments.output, given_by(arguments.set), overwrite=arguments.overwrite)
    card, origin = loaded.card, loaded.card.origin
    print(f"{arguments.file}: {card.model} x{card.scale}{f' by the names of {origin.names}' if origin else ''}")
    for key, value in loaded.assumed.items():
        print(f"{key} is not in the file: taken as {value}, as published; where that is wrong, add --set {key}=…")
    print(f"model: {arguments.output}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from sr_core.train.exchange import export_model

    card = export_model(arguments.model, arguments.output, overwrite=arguments.overwrite)
    print(f"{card.model} x{card.scale}: {arguments.output}")
    return 0


def _interpolate(arguments: argparse.Namespace) -> int:
    from sr_core.train.exchange import interpolate

    card = interpolate(
        arguments.first, arguments.second, arguments.alpha, arguments.output, overwrite=arguments.overwrite
    )
    shares = " + ".join(f"{parent.weight:g} {parent.model} {parent.weights_sha256[:8]}" for parent in card.parents)
    print(f"{card.model} x{card.scale}, {shares}: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
