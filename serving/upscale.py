"""`sr upscale`: the library's command, with any model that has a name: also of the registry, or an ONNX file.

sr upscale photo.jpg --model models:/sr-edsr-x4-bicubic@champion
python -m serving.upscale photo.jpg --model edsr.onnx
"""

import sys
from collections.abc import Sequence

from serving.models import open_any
from sr_core import __main__ as library
from sr_core.errors import say_once
from sr_core.train.weights import LoadedModel


def main(argv: Sequence[str] | None = None) -> int:
    """Enlarges what the arguments name; returns the exit code."""
    arguments = ["upscale", *(sys.argv[1:] if argv is None else argv)]
    return library.main(arguments, open_model=_open, called="sr")


def _open(name: str, scale: int) -> LoadedModel:
    return open_any(name, scale=scale, say=say_once)


if __name__ == "__main__":
    sys.exit(main())
