"""`sr upscale` and `sr evaluate`: the library's commands, with any model that has a name: of the registry, or ONNX.

sr upscale photo.jpg --model models:/sr-edsr-x4-bicubic@champion
sr evaluate --images Set5 --model models:/sr-edsr-x4-bicubic@champion edsr.onnx
python -m serving.commands upscale photo.jpg --model edsr.onnx
"""

import sys
from collections.abc import Sequence

from serving.models import open_any
from sr_core import __main__ as library
from sr_core.errors import say_once
from sr_core.train.weights import LoadedModel


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb that the arguments begin with; returns the exit code."""
    return library.main(sys.argv[1:] if argv is None else argv, open_model=_open, called="sr")


def _open(name: str, scale: int) -> LoadedModel:
    return open_any(name, scale=scale, say=say_once)


if __name__ == "__main__":
    sys.exit(main())
