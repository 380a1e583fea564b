"""A network for programs that know nothing of this project: as ONNX, or as a file of torch.export.

    sr export onnx data/models/edsr-x4-bicubic --output edsr.onnx        or python -m serving.export onnx …
    sr export torch models:/sr-edsr-x4-bicubic@champion --output edsr.pt2

Height, width and batch are dynamic, weight normalisation is fused, and input and output are the network's own:
(N, 3, H, W) float32 RGB in 0..255 -> (N, 3, S*H, S*W) in about 0..255. What was written is run beside the network
before it gets its name: a file that disagrees by more than TOLERANCE is not kept.

Shapes: N batch, H W LR size, S scale.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from serving import onnx, onnx_file
from serving.models import open_any
from serving.plain import plain
from sr_core import files
from sr_core.errors import SrError, explained
from sr_core.extras import require
from sr_core.models.card import Card
from sr_core.train.weights import LoadedModel
from sr_core.upscale import settled

OPSET = 18
TOLERANCE = 1e-4  # on a 0..1 scale
SIZES = ((2, 17, 23), (1, 1, 1), (1, 5, 64), (1, 64, 5), (1, 33, 31))  # N, H, W: all run before a file is kept
INPUT, OUTPUT = "image", "enlarged"
_QUIET = "torch.onnx._internal.exporter._registration"  # the logger that names every operator of torchvision


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A file that was written, and how far it is from the network it was made from."""

    path: Path
    card: Card
    bytes: int
    seconds: float  # of all: reading, exporting, comparing
    difference: float  # largest over SIZES, on a 0..1 scale


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one export; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        made = FORMATS[arguments.format](
            arguments.model, arguments.output, scale=arguments.scale, overwrite=arguments.overwrite
        )
    except (SrError, OSError) as error:
        print(f"export: {explained(error)}", file=sys.stderr)
        return explained(error).exit_code
    print(
        f"{made.card.model} x{made.card.scale}: {made.path}, {made.bytes / 1e6:.2f} MB in {made.seconds:.1f} s, "
        f"within {made.difference:.0e} of PyTorch on a 0..1 scale at {len(SIZES)} sizes"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.export", description=(__doc__ or "").partition("\n")[0])
    formats = parser.add_subparsers(dest="format", required=True, metavar="format")
    texts = {"onnx": f"ONNX, opset {OPSET}, for any runtime", "torch": "a .pt2 file for torch.export.load"}
    for name, text in texts.items():
        one = formats.add_parser(name, help=text, description=text)
        one.add_argument("model", help="a model or run directory, a weight file, models:/name@alias, or bicubic")
        one.add_argument("--output", type=Path, required=True, help="where to write it")
        one.add_argument("--scale", type=int, default=4, help="of interpolation, which has no weights (default: 4)")
        one.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    return parser


def export_onnx(model: str, target: Path, *, scale: int = 4, overwrite: bool = False) -> Exported:
    """Writes the network that `model` names (serving.models.open_any) as the ONNX file `target`.

    Raises:
        SrError: as `open_any`; `target` has another ending or is there already, or the file disagrees with the network.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, onnx.EXTRA)
    return _export(model, target, ".onnx", scale, overwrite, _write_onnx)


def export_torch(model: str, target: Path, *, scale: int = 4, overwrite: bool = False) -> Exported:
    """Writes the network that `model` names as the file `target` for torch.export.load, which needs torch alone.

    Raises:
        SrError: as `export_onnx`, or a fresh process cannot load the file.
    """
    return _export(model, target, ".pt2", scale, overwrite, _write_torch)


FORMATS = {"onnx": export_onnx, "torch": export_torch}


def _export(
    model: str,
    target: Path,
    suffix: str,
    scale: int,
    overwrite: bool,
    write: Callable[[LoadedModel, Path], list[Tensor]],
) -> Exported:
    begin = time.perf_counter()
    if target.suffix != suffix:
        raise SrError(f"{target}: expected a name that ends in {suffix}, the only format written here")
    if target.is_dir():
        raise SrError(f"{target}: is a directory, expected the name of a file")
    if target.exists() and not overwrite:
        raise SrError(f"{target}: exists already; choose another name or add --overwrite")
    loaded = open_any(model, scale=scale)
    if isinstance(loaded.network, onnx.OnnxNetwork):
        raise SrError(f"{model}: is an ONNX file, expected a model of PyTorch; export the one that it was made from")
    loaded = dataclasses.replace(
        loaded, card=settled(dataclasses.replace(loaded.card, precision="float32"), loaded.network)
    )
    with files.atomic_path(target) as temporary:
        found = write(loaded, temporary)
        difference = _difference(loaded.network, found, target)
        size = temporary.stat().st_size
    seconds = time.perf_counter() - begin
    return Exported(path=target, card=loaded.card, bytes=size, seconds=seconds, difference=difference)


def images() -> list[Tensor]:
    """What networks are compared on: noise, (N, 3, H, W) float32 in 0..255, of SIZES."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand((n, 3, height, width), generator=generator) * 255.0 for n, height, width in SIZES]


@torch.inference_mode()
def _difference(network: nn.Module, found: list[Tensor], target: Path) -> float:
    """The largest difference of `found` from what `network` makes of `images`, on a 0..1 scale."""
    network = network.cpu().float().eval()
    largest = 0.0
    for image, other in zip(images(), found, strict=True):
        own = network(image)
        difference = float((own - other).abs().max()) / 255.0 if own.shape == other.shape else float("inf")
        if not difference <= TOLERANCE:  # NaN is not either
            raise SrError(
                f"{target}: is not kept: at {image.shape[2]}x{image.shape[3]} it is {difference:.1e} away from the "
                f"network on a 0..1 scale, expected {TOLERANCE:.0e} at most"
            )
        largest = max(largest, difference)
    return largest


def traced(network: nn.Module) -> torch.export.ExportedProgram:
    """`network` as a graph of torch's operators, of which nothing depends on this project; any N, H, W from 1 on."""
    dynamic = {axis: torch.export.Dim(name) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    example = torch.zeros(2, 3, 7, 9)  # sizes that differ and are not 1: torch.export takes equal ones, or 1, as meant
    program = torch.export.export(plain(network), (example,), dynamic_shapes=(dynamic,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the folders of this machine
    return program


def _write_onnx(loaded: LoadedModel, path: Path) -> list[Tensor]:
    network: Any = loaded.network
    card = dataclasses.asdict(loaded.card)
    text = {
        onnx_file.CARD: json.dumps(card, sort_keys=True),
        onnx_file.MADE_FROM: loaded.card.weights_sha256,
        onnx_file.SCALE: str(network.scale),
        onnx_file.REACH: str(network.receptive_field),
        onnx_file.RANGE: "255",
    }
    path.write_bytes(onnx_file.joined(_onnx_bytes(network), text))
    read_back = onnx.load(path).network
    with torch.inference_mode():
        return [read_back(image) for image in images()]


def _onnx_bytes(network: nn.Module) -> bytes:
    """The same bytes for the same network: without what the exporter tells of the machine and of its own work."""
    import onnx as library

    with _without_noise():
        program = torch.onnx.export(
            traced(network), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, verbose=False
        )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del each.metadata_props[:]
        each.doc_string = ""
    del graph.value_info[:]
    graph.name = "super-resolution"
    for value, sides in ((graph.input[0], ("height", "width")), (graph.output[0], ("out_height", "out_width"))):
        for axis, name in zip((0, 2, 3), ("batch", *sides), strict=True):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    model.doc_string = "RGB, float32, (batch, 3, height, width) in 0..255 -> about 0..255, not clipped"
    library.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    logger = logging.getLogger(_QUIET)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


_IN_A_FRESH_PROCESS = """
import sys
sys.modules.update(dict.fromkeys(("sr_core", "serving", "flows")))  # None: cannot be imported
import numpy, torch
program = torch.export.load(sys.argv[1]).module()
for index in range(int(sys.argv[3])):
    image = torch.from_numpy(numpy.load(f"{sys.argv[2]}/{index}.npy", allow_pickle=False))
    numpy.save(f"{sys.argv[2]}/{index}.npy", program(image).detach().numpy(), allow_pickle=False)
"""


def _write_torch(loaded: LoadedModel, path: Path) -> list[Tensor]:
    card = json.dumps(dataclasses.asdict(loaded.card), sort_keys=True)
    archive = io.BytesIO()  # into a file its members would be called by the temporary name
    torch.export.save(traced(loaded.network), archive, extra_files={"sr_core_card.json": card})
    path.write_bytes(archive.getbuffer())
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(images()):
            np.save(f"{folder}/{index}.npy", image.numpy(), allow_pickle=False)
        command = [sys.executable, "-I", "-c", _IN_A_FRESH_PROCESS, str(path), folder, str(len(SIZES))]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            why = (child.stderr.strip().splitlines() or ["no reason"])[-1]
            raise SrError(f"{loaded.card.model}: cannot be used from a file of torch.export ({why}); take ONNX")
        return [torch.from_numpy(np.load(f"{folder}/{index}.npy", allow_pickle=False)) for index in range(len(SIZES))]


if __name__ == "__main__":
    sys.exit(main())
