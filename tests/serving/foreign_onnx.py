"""ONNX files as others write them, node by node."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from serving.exchange.plain import FilterInterpolation
from sr_core.models.interpolation import Bicubic


def write(path, nodes, weights, *, kind=TensorProto.FLOAT, shape=("n", 3, "h", "w"), scale=2, outputs=("y",)):
    """A model of `nodes` from x to `outputs`, with `weights` by name."""
    axes = (shape[0], 3, *(side * scale if isinstance(side, int) else f"{scale}{side}" for side in shape[2:]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def enlarging(scale=2, source="x", target="y"):
    """Nodes and weights of bicubic interpolation, with a border of zeros."""
    filters = FilterInterpolation(Bicubic(scale)).filters.numpy()
    nodes = [
        helper.make_node("Conv", [source, "filters"], ["phases"], group=3, pads=[2, 2, 2, 2]),
        helper.make_node("DepthToSpace", ["phases"], [target], blocksize=scale, mode="CRD"),
    ]
    return nodes, {"filters": filters}


def clipped(path, white, *, scale=2, **more):
    """Bicubic interpolation that clips its result to 0..white, as networks for that range do."""
    nodes, weights = enlarging(scale, target="raw")
    nodes.append(helper.make_node("Clip", ["raw", "low", "high"], ["y"]))
    return write(path, nodes, {**weights, "low": np.float32(0), "high": np.float32(white)}, scale=scale, **more)


def bent(path, *, convolutions=3, scale=2, **more):
    """3x3 convolutions with a bias and tanh, each reaching a pixel further, added to the interpolated image of 0..1."""
    generator = torch.Generator().manual_seed(0)
    nodes, weights = enlarging(scale, target="base")
    last = "x"
    for index in range(convolutions):
        out = 3 * scale**2 if index == convolutions - 1 else 3
        weights[f"w{index}"] = (torch.randn((out, 3, 3, 3), generator=generator) * 0.4).numpy()
        weights[f"b{index}"] = (torch.randn(out, generator=generator) * 0.3).numpy()
        nodes.append(helper.make_node("Conv", [last, f"w{index}", f"b{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh", [f"c{index}"], [f"t{index}"]))
        last = f"t{index}"
    nodes.append(helper.make_node("DepthToSpace", [last], ["shuffled"], blocksize=scale, mode="CRD"))
    nodes.append(helper.make_node("Mul", ["shuffled", "small"], ["detail"]))
    nodes.append(helper.make_node("Add", ["base", "detail"], ["y"]))
    return write(path, nodes, {**weights, "small": np.float32(0.02)}, scale=scale, **more)
