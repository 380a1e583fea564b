"""The entry point `sr`: every verb of the library, and of the pipeline around it.

    sr train --set train.steps=1000        as python -m sr_core train
    sr pipeline edsr                       as python -m flows.train edsr
    sr upscale photo.jpg --model models:/sr-edsr-x4-bicubic@champion    as python -m serving.commands upscale …
    sr export onnx data/models/…           as python -m serving.exchange.export onnx data/models/…

A verb's module is imported when it is called, so a core install has the library's verbs.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence

from sr_core.errors import SrError

CORE = (
    *("inspect", "fetch", "shard", "train", "status", "evaluate", "fit-niqe", "upscale"),
    *("import", "export", "interpolate"),
)
PIPELINE: Mapping[str, tuple[str, str]] = {
    "prepare": ("flows.prepare", "photographs to shards, as a flow"),
    "pipeline": ("flows.train", "from photographs to a registered model"),
    "compare": ("flows.compare", "models beside each other: table, plots, pictures and a page"),
    "launch": ("flows.launch", "train with Ray alone"),
    "track": ("flows.track", "ship training runs to MLflow"),
    "promote": ("flows.promote", "make a registered version champion"),
    "lineage": ("flows.lineage", "where a registered model comes from, and what of it is so"),
    "rollback": ("flows.rollback", "give the title back to the champion before"),
    "web": ("serving.web.command", "a page on which photographs are enlarged"),
    "vote": ("serving.opinions.page", "a blind test of a comparison's pictures"),
    "opinions": ("serving.opinions.command", "what people said in it"),
}
ANY_MODEL = ("upscale", "evaluate")  # verbs of the library that take models of the registry and ONNX here
EXPORTS: Mapping[str, tuple[str, str]] = {  # `sr export <name>`, beside the library's export
    "onnx": ("serving.exchange.export", "a model as ONNX, for any runtime"),
    "torch": ("serving.exchange.export", "a model as a file of torch.export"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else "--help"
    if verb == "export" and (form := "".join(arguments[1:2])) in EXPORTS:
        return _call(EXPORTS[form][0], arguments[1:])
    if verb in ANY_MODEL:
        return _call("serving.commands", arguments)
    if verb in CORE:
        return _call("sr_core.__main__", arguments)
    if verb in PIPELINE:
        return _call(PIPELINE[verb][0], arguments[1:])
    print(_usage())
    return 0 if verb in {"-h", "--help"} else 2


def _call(module: str, arguments: list[str]) -> int:
    try:
        code: int = importlib.import_module(module).main(arguments)
    except SrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return code


def _usage() -> str:
    verbs = [f"  {verb:<13}python -m sr_core {verb}" for verb in CORE]
    table = {**PIPELINE, **{f"export {name}": entry for name, entry in EXPORTS.items()}}
    verbs += [f"  {verb:<13}{text}" for verb, (_, text) in table.items()]
    return "\n".join(["usage: sr verb …    (sr verb --help says more)", "", *verbs])


if __name__ == "__main__":
    sys.exit(main())
