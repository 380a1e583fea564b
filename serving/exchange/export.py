"""A network for programs that know nothing of this project: as ONNX, or as a file of torch.export.

    sr export onnx data/models/edsr-x4-bicubic --output edsr.onnx        or python -m serving.exchange.export onnx …
    sr export torch models:/sr-edsr-x4-bicubic@champion --output edsr.pt2

Height, width and batch are dynamic, weight normalisation is fused, and input and output are the network's own:
(N, 3, H, W) float32 RGB in 0..255 -> (N, 3, S*H, S*W) in about 0..255. What was written is run beside the network
before it gets its name: a file that disagrees by more than TOLERANCE is not kept.

Shapes: N batch, H W LR size, S scale.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from serving.exchange import onnx, onnx_file, onnx_foreign
from serving.exchange.graph import OPSET, onnx_bytes, torch_bytes, traced, values_alive
from serving.exchange.onnx_file import Facts
from serving.models import open_any
from sr_core import files
from sr_core.errors import SrError, explained
from sr_core.extras import require
from sr_core.models.card import Card
from sr_core.train.weights import LoadedModel

TOLERANCE = 1e-4  # on a 0..1 scale
Sizes: TypeAlias = Sequence[tuple[int, int, int]]  # N, H, W
SIZES: Sizes = ((2, 17, 23), (1, 1, 1), (1, 5, 64), (1, 64, 5), (1, 33, 31))  # all are run before a file is kept
FOREIGN_SIZES: Sizes = ((1, 17, 23),)  # the network stays as it is
Writer: TypeAlias = Callable[[LoadedModel, Path, Sequence[Tensor]], list[Tensor]]  # writes, and runs what it wrote


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
        given = {"scale": arguments.scale, "overwrite": arguments.overwrite}
        if arguments.format == "onnx":
            made = export_onnx(arguments.model, arguments.output, white=arguments.white, **given)
        else:
            made = export_torch(arguments.model, arguments.output, **given)
    except (SrError, OSError) as error:
        print(f"export: {explained(error)}", file=sys.stderr)
        return explained(error).exit_code
    print(
        f"{made.card.model} x{made.card.scale}: {made.path}, {made.bytes / 1e6:.2f} MB in {made.seconds:.1f} s, "
        f"at most {made.difference:.0e} from the network it was made of, on a 0..1 scale"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.exchange.export", description=(__doc__ or "").partition("\n")[0]
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="format")
    texts = {"onnx": f"ONNX, opset {OPSET}, for any runtime", "torch": "a .pt2 file for torch.export.load"}
    for name, text in texts.items():
        one = formats.add_parser(name, help=text, description=text)
        one.add_argument("model", help="a model or run directory, a weight file, models:/name@alias, or bicubic")
        one.add_argument("--output", type=Path, required=True, help="where to write it")
        one.add_argument("--scale", type=int, default=4, help="of interpolation, which has no weights (default: 4)")
        one.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
        if name == "onnx":
            white = "what stands for 255 in an ONNX file that others wrote (default: as measured)"
            one.add_argument("--white", type=float, choices=onnx_foreign.WHITES, help=white)
    return parser


def export_onnx(
    model: str, target: Path, *, scale: int = 4, overwrite: bool = False, white: float | None = None
) -> Exported:
    """Writes the network that `model` names (serving.models.open_any) as the ONNX file `target`.

    Of an ONNX file that others wrote it writes a copy that says what was measured of it, or that white is `white`.

    Raises:
        SrError: as `open_any`; `target` has another ending or is there already, or the file disagrees with the network.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, onnx.EXTRA)
    begin = time.perf_counter()
    _check(target, ".onnx", overwrite)
    if not model.endswith(".onnx"):
        if white is not None:
            raise SrError("--white: is for ONNX files that others wrote; leave it out")
        return _write(open_any(model, scale=scale), target, SIZES, _write_onnx, begin)
    loaded = onnx.load(Path(model), white=white)
    if loaded.card.preset:
        raise SrError(f"{model}: was written by this command and says all that is known of it; copy it")
    return _write(loaded, target, FOREIGN_SIZES, _write_onnx, begin)


def export_torch(model: str, target: Path, *, scale: int = 4, overwrite: bool = False) -> Exported:
    """Writes the network that `model` names as the file `target` for torch.export.load, which needs torch alone.

    Raises:
        SrError: as `export_onnx`, or a fresh process cannot load the file.
    """
    begin = time.perf_counter()
    _check(target, ".pt2", overwrite)
    loaded = open_any(model, scale=scale)
    if isinstance(loaded.network, onnx.OnnxNetwork):
        raise SrError(f"{model}: is an ONNX file, expected a model of PyTorch; export the one that it was made from")
    return _write(loaded, target, SIZES, _write_torch, begin)


def _check(target: Path, suffix: str, overwrite: bool) -> None:
    """What can be known before the work begins."""
    if target.suffix != suffix:
        raise SrError(f"{target}: expected a name that ends in {suffix}, the only format written here")
    if target.is_dir():
        raise SrError(f"{target}: is a directory, expected the name of a file")
    if target.exists() and not overwrite:
        raise SrError(f"{target}: exists already; choose another name or add --overwrite")


def _write(loaded: LoadedModel, target: Path, sizes: Sizes, write: Writer, begin: float) -> Exported:
    noise = images(sizes)
    with files.atomic_path(target) as temporary:
        difference = _difference(loaded.network, noise, write(loaded, temporary, noise), target)
        size = temporary.stat().st_size
    seconds = time.perf_counter() - begin
    return Exported(path=target, card=loaded.card, bytes=size, seconds=seconds, difference=difference)


def images(sizes: Sizes = SIZES) -> list[Tensor]:
    """What networks are compared on: noise, (N, 3, H, W) float32 in 0..255."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand((n, 3, height, width), generator=generator) * 255.0 for n, height, width in sizes]


@torch.inference_mode()
def _difference(network: nn.Module, noise: list[Tensor], found: list[Tensor], target: Path) -> float:
    """The largest difference of `found` from what `network` makes of `noise`, on a 0..1 scale."""
    network = network.cpu().float().eval()
    largest = 0.0
    for image, other in zip(noise, found, strict=True):
        own = network(image)
        difference = float((own - other).abs().max()) / 255.0 if own.shape == other.shape else float("inf")
        if not difference <= TOLERANCE:  # NaN is not either
            raise SrError(
                f"{target}: is not kept: at {image.shape[2]}x{image.shape[3]} it is {difference:.1e} away from the "
                f"network on a 0..1 scale, expected {TOLERANCE:.0e} at most"
            )
        largest = max(largest, difference)
    return largest


def _write_onnx(loaded: LoadedModel, path: Path, noise: Sequence[Tensor]) -> list[Tensor]:
    card = dataclasses.replace(loaded.card, precision="float32", tile=None)  # the tile is that of onnxruntime's memory
    if isinstance(loaded.network, onnx.OnnxNetwork):
        data, facts = onnx.network_bytes(loaded.network.path), loaded.network.facts
    else:
        data, facts = _made(loaded.network)
    path.write_bytes(onnx_file.joined(data, card, facts))
    read_back = onnx.load(path).network
    with torch.inference_mode():
        return [read_back(image) for image in noise]


def _made(network: nn.Module) -> tuple[bytes, Facts]:
    program, known = traced(network), cast(Any, network)
    facts = Facts(
        scale=known.scale,
        receptive_field=known.receptive_field,
        tile_overlap=getattr(network, "tile_overlap", None),
        values=values_alive(program),
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
    )
    return onnx_bytes(program), facts


_IN_A_FRESH_PROCESS = """
import sys
sys.modules.update(dict.fromkeys(("sr_core", "serving", "flows")))  # None: cannot be imported
import numpy, torch
program = torch.export.load(sys.argv[1]).module()
for index in range(int(sys.argv[3])):
    image = torch.from_numpy(numpy.load(f"{sys.argv[2]}/{index}.npy", allow_pickle=False))
    numpy.save(f"{sys.argv[2]}/{index}.npy", program(image).detach().numpy(), allow_pickle=False)
"""


def _write_torch(loaded: LoadedModel, path: Path, noise: Sequence[Tensor]) -> list[Tensor]:
    card = json.dumps(dataclasses.asdict(loaded.card), sort_keys=True)
    path.write_bytes(torch_bytes(traced(loaded.network), {"sr_core_card.json": card}))
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(noise):
            np.save(f"{folder}/{index}.npy", image.numpy(), allow_pickle=False)
        command = [sys.executable, "-I", "-c", _IN_A_FRESH_PROCESS, str(path), folder, str(len(noise))]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            why = (child.stderr.strip().splitlines() or ["no reason"])[-1]
            raise SrError(f"{loaded.card.model}: cannot be used from a file of torch.export ({why}); take ONNX")
        return [torch.from_numpy(np.load(f"{folder}/{index}.npy", allow_pickle=False)) for index in range(len(noise))]


if __name__ == "__main__":
    sys.exit(main())
