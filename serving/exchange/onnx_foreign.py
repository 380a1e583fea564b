"""An ONNX file that others wrote: what of it has to be known to use it is measured, or it is refused in a sentence.

It must take one float32 image (N, 3, H, W), RGB, of any height and width, and give one S times as large. Then

scale            is that of the sizes of a small image and its result
white            is 1 or 255, whichever makes the result look like the image: networks do no more than add detail
receptive field  is how far from a cut through an image the result still differs by more than TOLERANCE

Shapes: N batch, H W LR size, S scale.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from serving.exchange.onnx_file import Facts
from sr_core.errors import CheckpointError
from sr_core.models.interpolation import Bicubic
from sr_core.params import SCALES

WHITES = (255.0, 1.0)
TOLERANCE = 1e-4  # on a 0..1 scale, of the receptive field
MARGIN = 2  # LR pixels more than were measured on one image
_SIDES = (64, 128, 256)  # LR pixels, of images in which the receptive field is looked for
_LIKE = 0.05  # mean difference to bicubic of a result that looks like its image, on a 0..1 scale
_CLEARLY = 3.0  # times as far must the other range be
_SAME = 1e-3  # mean difference of two results between which nobody has to choose
_WANTED = "expected one float32 image (N, 3, H, W) of any height and width"

Run = Callable[[Tensor], Tensor]


def measure(session: Any, path: Path, *, white: float | None = None) -> Facts:
    """What has to be known of the network in `session`, of the file at `path`; `white` is measured if it is None.

    Raises:
        CheckpointError: it is no network that enlarges images, or something of it could not be found out.
    """
    _check_signature(session, path)
    name = session.get_inputs()[0].name

    def run(image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        try:
            out = torch.from_numpy(session.run(None, {name: image.numpy()})[0])
        except Exception as error:  # onnxruntime's errors have no class in common
            text = str(error).strip().partition("\n")[0][:200]
            raise CheckpointError(f"{path}: cannot enlarge an image of {width}x{height} ({text}); {_WANTED}") from None
        if not bool(torch.isfinite(out).all()):
            raise CheckpointError(f"{path}: gives NaN or infinity for an image of {width}x{height}; take another file")
        return out

    scale = _scale(run, path)
    white = _white(run, scale, path) if white is None else white
    return Facts(scale=scale, white=white, receptive_field=_reach(run, scale, white, path))


def _check_signature(session: Any, path: Path) -> None:
    for what, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        if len(values) != 1:
            raise CheckpointError(f"{path}: has {len(values)} {what}, {_WANTED} and one result")
        value = values[0]
        shape = value.shape or []
        if value.type != "tensor(float)" or len(shape) != 4:
            raise CheckpointError(f"{path}: {value.name} is {value.type} of shape {shape}, {_WANTED}")
    _, colours, *sides = session.get_inputs()[0].shape
    if (isinstance(colours, int) and colours != 3) or any(isinstance(side, int) for side in sides):
        raise CheckpointError(f"{path}: takes images of shape {session.get_inputs()[0].shape}, {_WANTED}")


def _scale(run: Run, path: Path) -> int:
    found = set()
    for height, width in ((32, 48), (17, 23)):
        out = run(_picture(height, width))
        along, rest = divmod(out.shape[2], height)
        if rest or out.shape != (1, 3, along * height, along * width):
            raise CheckpointError(f"{path}: gives {tuple(out.shape)} for an image of {width}x{height}; {_WANTED}")
        found.add(along)
    scale = found.pop()
    if found or scale not in SCALES:
        raise CheckpointError(f"{path}: enlarges by {scale}, expected {', '.join(map(str, SCALES))}")
    return scale


def _picture(height: int, width: int) -> Tensor:
    """Slopes in each colour, (1, 3, H, W) in 0.1..0.9."""
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    colours = (down + across) / 2, (down + 1 - across) / 2, (1 - down + 0 * across)
    return (0.1 + 0.8 * torch.stack(colours))[None]


def _white(run: Run, scale: int, path: Path) -> float:
    picture = _picture(32, 48)
    wanted = Bicubic(scale)(picture)
    results = [run(picture * white) / white for white in WHITES]
    if _mean_difference(*results) <= _SAME and _mean_difference(results[0], wanted) <= _LIKE:
        return WHITES[0]
    distances = [_mean_difference(result, wanted) for result in results]
    near = min(distances)
    if near <= _LIKE and max(distances) >= _CLEARLY * near:
        return WHITES[distances.index(near)]
    shown = ", ".join(f"{far:.3f} for {white:g}" for white, far in zip(WHITES, distances, strict=True))
    raise CheckpointError(
        f"{path}: whether white is 1 or 255 in it could not be found out (distances to bicubic: {shown}); say it in "
        f"a copy: sr export onnx {path} --white 1 --output copy.onnx, or --white 255"
    )


def _mean_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def _reach(run: Run, scale: int, white: float, path: Path) -> int:
    """How near to its border a part of an image has to be for its result to differ from that of the whole."""
    cut = 8
    for side in _SIDES:
        inside = slice(cut, side - cut)
        whole = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(0)) * white
        part = whole[..., inside, inside].contiguous()
        whole.add_(white).div_(2)[..., inside, inside] = part  # a light frame, so that a mean over the whole shows
        near = slice(scale * cut, scale * (side - cut))
        differs = (run(whole)[..., near, near] - run(part)).abs() > TOLERANCE * white
        pixels = functional.max_pool2d(differs.float().amax(1), scale)[0] > 0  # by LR pixel
        length = len(pixels)
        to_border = torch.minimum(torch.arange(length), length - 1 - torch.arange(length))
        distance = torch.minimum(to_border[:, None], to_border[None, :])
        reach = int(distance[pixels].max()) + 1 if pixels.any() else 0
        if reach + MARGIN < length // 2:
            return reach + MARGIN
    raise CheckpointError(
        f"{path}: a pixel of its result depends on more than {length // 2} pixels around it, so that images cannot be "
        "cut into tiles; expected a network of convolutions"
    )
