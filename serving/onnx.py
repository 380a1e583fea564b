"""Networks in ONNX files, as every other network is used: `sr upscale --model x.onnx`.

onnxruntime computes, on the CPU, in float32 and with as many threads as torch has.

Shapes: B batch, H W LR size, S scale.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from serving import onnx_file
from sr_core.errors import CheckpointError, SrError
from sr_core.extras import require
from sr_core.models.card import from_dict
from sr_core.train.weights import LoadedModel

EXTRA = "onnx"
_OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc", "bad allocation", "out of memory")


class OnnxNetwork(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255, by onnxruntime; it cannot be trained."""

    scale_dependent: tuple[str, ...] = ()

    def __init__(self, session: Any, *, scale: int, receptive_field: int, white: float = 255.0) -> None:
        """`white` is what the file's network takes and gives for 255."""
        super().__init__()
        self.scale, self.receptive_field, self._white = scale, receptive_field, white
        self._session, self._input = session, session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W).

        Raises:
            MemoryError: there is not enough for an image of this size.
        """
        factor = self._white / 255.0
        image = x.detach().float() if factor == 1.0 else x.detach().float() * factor
        try:
            (enlarged,) = self._session.run([self._output], {self._input: image.cpu().contiguous().numpy()})
        except Exception as error:  # onnxruntime's errors have no class in common
            if any(sign in str(error) for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise SrError(f"onnxruntime cannot enlarge an image of {tuple(x.shape)}: {_first_line(error)}") from None
        out = torch.from_numpy(enlarged)
        return (out if factor == 1.0 else out / factor).to(x.device)


def load(path: Path) -> LoadedModel:
    """The network in the ONNX file at `path` and its card, of which every byte is verified.

    Raises:
        CheckpointError: it cannot be read, is truncated or damaged, or is no network that enlarges images.
        MissingExtraError: onnxruntime is not installed.
    """
    text = onnx_file.read(path)
    if not text:
        raise CheckpointError(f"{path}: was not written by `sr export onnx`")
    try:
        card = from_dict(json.loads(text[onnx_file.CARD]), where=f"{path}, card")
        scale, reach, white = (text[name] for name in (onnx_file.SCALE, onnx_file.REACH, onnx_file.RANGE))
        network = OnnxNetwork(session_of(path), scale=int(scale), receptive_field=int(reach), white=float(white))
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: lacks what this version of sr_core writes ({error}); export it anew") from None
    return LoadedModel(network=network.eval(), card=card)


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
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class in common
        raise CheckpointError(f"{path}: onnxruntime does not take it ({_first_line(error)}); export it anew") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
