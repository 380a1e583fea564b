"""A network as a graph: of torch's operators (torch.export), and of ONNX's.

The same network gives the same bytes: what the exporters tell of this machine and of their own work is left out.

Shapes: N batch, H W LR size.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from serving.plain import plain
from sr_core.errors import SrError

OPSET = 18  # of December 2022: onnxruntime from 1.14 on
INPUT, OUTPUT = "image", "enlarged"
_NAMES_TORCHVISIONS_OPERATORS = "torch.onnx._internal.exporter._registration"  # a logger


def traced(network: nn.Module) -> torch.export.ExportedProgram:
    """`network` as a graph of torch's operators, of which nothing depends on this project; any N, H, W from 1 on.

    Raises:
        SrError: it does what torch.export cannot follow.
    """
    dynamic = {axis: torch.export.Dim(name) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    example = torch.zeros(2, 3, 7, 9)  # sizes that differ and are not 1: torch.export takes equal ones, or 1, as meant
    try:
        program = torch.export.export(plain(network), (example,), dynamic_shapes=(dynamic,))
    except Exception as error:  # of many classes, and over pages
        why = " ".join(str(error).split())[:200]
        raise SrError(f"{type(network).__name__}: torch.export cannot trace it ({why})") from None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the folders of this machine
    return program


def torch_bytes(network: nn.Module, extra: Mapping[str, Any]) -> bytes:
    """`network` as torch.export.save writes it, with text files `extra` by name.

    torch.export.load unpickles parts of such a file, so this project reads none that it has not just written itself.
    """
    archive = io.BytesIO()  # into a file its members would be called by that file's name
    torch.export.save(traced(network), archive, extra_files=dict(extra))
    return archive.getvalue()


def onnx_bytes(network: nn.Module) -> bytes:
    """`network` as a serialised ModelProto of opset OPSET, checked: (N, 3, H, W) `image` -> `enlarged`.

    torch.onnx's way over torch.export, as the way over TorchScript is deprecated.
    """
    import onnx

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
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    logger = logging.getLogger(_NAMES_TORCHVISIONS_OPERATORS)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
