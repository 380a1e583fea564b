"""A network as a graph: of torch's operators (torch.export), and of ONNX's.

The same network gives the same bytes: what the exporters tell of this machine and of their own work is left out.

Shapes: N batch, H W LR size.
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from serving.exchange.plain import plain
from sr_core.errors import SrError

OPSET = 18  # of December 2022: onnxruntime from 1.14 on
EXAMPLE = (2, 3, 20, 30)  # sizes that differ and are not 1: torch.export takes equal ones, or 1, as meant
INPUT, OUTPUT = "image", "enlarged"
_NAMES_TORCHVISIONS_OPERATORS = "torch.onnx._internal.exporter._registration"  # a logger


def traced(network: nn.Module) -> torch.export.ExportedProgram:
    """`network` as a graph of torch's operators, of which nothing depends on this project; any N, H, W from 1 on.

    Raises:
        SrError: it does what torch.export cannot follow.
    """
    dynamic = {axis: torch.export.Dim(name) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    try:
        program = torch.export.export(plain(network), (torch.zeros(EXAMPLE),), dynamic_shapes=(dynamic,))
    except Exception as error:  # of many classes, and over pages
        why = " ".join(str(error).split())[:200]
        raise SrError(f"{type(network).__name__}: torch.export cannot trace it ({why})") from None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the folders of this machine
    return program


def values_alive(program: torch.export.ExportedProgram) -> int:
    """How many numbers onnxruntime holds at once for each LR pixel: what is needed later, a result, its input copied.

    It brings what a convolution reads and writes into another order, and frees it when nothing needs it any more.
    Measured at 256x256 were 0.85 to 1.1 times this for EDSR, SRResNet, RRDB lite and both WDSRs, 0.5 for SRCNN, and 1.8
    for the small RRDB, which needs little.
    """
    nodes = list(program.graph.nodes)
    last = {each: i for i, node in enumerate(nodes) for each in node.all_input_nodes}
    sizes = {node: _values(node) for node in nodes}
    alive = most = 0
    for i, node in enumerate(nodes):
        copied = max((sizes[each] for each in node.all_input_nodes), default=0)
        most = max(most, alive + sizes[node] + copied)
        alive += sizes[node] * (node in last) - sum(sizes[each] for each in node.all_input_nodes if last[each] == i)
    return round(most / (EXAMPLE[0] * EXAMPLE[2] * EXAMPLE[3]))


def _values(node: torch.fx.Node) -> int:
    """Of what a node computes of the example; weights are not."""
    value = node.meta.get("val")
    if node.op != "call_function" or not isinstance(value, torch.Tensor):
        return 0
    # a dynamic side that was asked for its int would be that int from then on
    return math.prod(side if isinstance(side, int) else side.node.hint for side in value.shape)


def torch_bytes(program: torch.export.ExportedProgram, extra: Mapping[str, Any]) -> bytes:
    """`program` as torch.export.save writes it, with text files `extra` by name.

    torch.export.load unpickles parts of such a file, so this project reads none that it has not just written itself.
    """
    archive = io.BytesIO()  # into a file its members would be called by that file's name
    torch.export.save(program, archive, extra_files=dict(extra))
    return archive.getvalue()


def onnx_bytes(program: torch.export.ExportedProgram) -> bytes:
    """`program` as a serialised ModelProto of opset OPSET, checked: (N, 3, H, W) `image` -> `enlarged`.

    torch.onnx's way over torch.export, as the way over TorchScript is deprecated.
    """
    import onnx

    with _without_noise():
        exported = torch.onnx.export(
            program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
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
