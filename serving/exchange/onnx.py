"""Networks in ONNX files, as every other network is used: `sr upscale --model x.onnx`.

onnxruntime computes, on the CPU, in float32 and with as many threads as torch has.

Shapes: B batch, H W LR size, S scale.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from serving.exchange import onnx_file, onnx_foreign
from serving.exchange.onnx_file import Facts
from sr_core import files
from sr_core.errors import CheckpointError, ConfigError, SrError
from sr_core.extras import require
from sr_core.models.card import Card, Origin
from sr_core.train.weights import AUTHORS_LICENCE, LoadedModel
from sr_core.upscale import settled

EXTRA = "onnx"
_OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc", "bad allocation", "out of memory")


class OnnxNetwork(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255, by onnxruntime; it cannot be trained."""

    scale_dependent: tuple[str, ...] = ()

    def __init__(self, session: Any, facts: Facts, path: Path) -> None:
        """`path` is the file that `session` was made of."""
        super().__init__()
        self.path, self.facts = path, facts
        self.scale, self.receptive_field = facts.scale, facts.receptive_field
        self.num_parameters = facts.num_parameters
        self.tile_overlap = facts.receptive_field if facts.tile_overlap is None else facts.tile_overlap
        if facts.values is not None:  # by this the tile is chosen, and a network that does not say it is taken for EDSR
            self.decode_values = facts.values
        (taken,), (given,) = session.get_inputs(), session.get_outputs()
        self._session, self._input, self._output = session, taken.name, given.name
        self._takes_one = isinstance(taken.shape[0], int)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W).

        Raises:
            MemoryError: there is not enough for an image of this size.
        """
        image = x.detach().float().cpu()
        if self.facts.white != 255.0:
            image = image * (self.facts.white / 255.0)
        parts = torch.split(image, 1) if self._takes_one else (image,)
        out = torch.cat([self._run(part) for part in parts]) if len(parts) > 1 else self._run(parts[0])
        return (out if self.facts.white == 255.0 else out * (255.0 / self.facts.white)).to(x.device)

    def _run(self, image: Tensor) -> Tensor:
        try:
            (enlarged,) = self._session.run([self._output], {self._input: image.contiguous().numpy()})
        except Exception as error:  # onnxruntime's errors have no class in common
            if any(sign in str(error) for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise SrError(f"onnxruntime cannot enlarge an image of {tuple(image.shape)}: {first_line(error)}") from None
        return torch.from_numpy(enlarged)


def load(path: Path, *, white: float | None = None, say: Callable[[str], None] | None = None) -> LoadedModel:
    """The network in the ONNX file at `path` and its card, of which every byte is verified.

    A file that others wrote is used as it was measured (onnx_foreign.py), which `say` is told (None: standard
    error); `white` says what stands for 255 in it.

    Raises:
        CheckpointError: it cannot be read, is truncated or damaged, or is no network that enlarges images.
        ConfigError: `white` is given for a file that says it itself.
        MissingExtraError: onnxruntime is not installed.
    """
    said = onnx_file.read(path)
    if said is None:
        return _foreign(path, white, say)
    if white is not None:
        raise ConfigError(f"{path}: says itself what white is; leave out --white")
    card, facts = said
    return _loaded(OnnxNetwork(session_of(path), facts, path), card)


def _loaded(network: OnnxNetwork, card: Card) -> LoadedModel:
    return LoadedModel(network=network.eval(), card=settled(card, network))


def _foreign(path: Path, white: float | None, say: Callable[[str], None] | None) -> LoadedModel:
    session = session_of(path)
    facts = onnx_foreign.measure(session, path, white=white)
    sha256 = files.record_of(path).sha256
    card = Card(
        model=path.stem,
        preset="",
        options={},
        scale=facts.scale,
        precision="float32",
        origin=Origin(file=path.name, sha256=sha256, names="ONNX"),
        weights_sha256=sha256,
        licence=AUTHORS_LICENCE,
    )
    sentence = (
        f"{path}: has no card; measured: enlarges by {facts.scale}, white is {facts.white:g}, a pixel depends on "
        f"{facts.receptive_field} around it (sr export onnx {path} --output … writes that down)"
    )
    print(sentence, file=sys.stderr) if say is None else say(sentence)
    return _loaded(OnnxNetwork(session, facts, path), card)


def network_bytes(path: Path) -> bytes:
    """The network in the ONNX file at `path`, its weights inside, without what is said of it.

    Raises:
        CheckpointError: it has more than 2 GB, or weights in other files that are not there.
    """
    library = require("onnx", EXTRA)
    try:
        model = library.load(path)
        del model.metadata_props[:]
        data: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # protobuf's and the system's
        raise CheckpointError(f"{path}: cannot be copied ({first_line(error)}); take a file of at most 2 GB") from None
    return data


def session_of(path: Path) -> Any:
    """onnxruntime's session for the file at `path`.

    Raises:
        CheckpointError: onnxruntime does not take it.
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 4  # what goes wrong is raised, and then said once
    # memory that onnxruntime keeps for itself made it a fifth faster, with half as much again at the peak: of EDSR
    # baseline on 300x300, 1.58 GB for 1.06; torch takes 0.91
    options.enable_cpu_mem_arena = False
    try:
        # left to fall back to another provider, it prints what went wrong before it tries the same again
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's errors have no class in common
        raise CheckpointError(f"{path}: onnxruntime does not take it ({first_line(error)}); export it anew") from None


def first_line(error: Exception) -> str:
    """What onnxruntime says, without what follows over pages."""
    return str(error).strip().partition("\n")[0][:300]
