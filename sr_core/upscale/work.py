"""One image through the halves of one network, box by box.

`encode` reads a tile with the network's overlap, `decode` goes over what it gave in small boxes with the few pixels
that decode itself sees. At the image's edge both end where the image ends and see the network's own padding; at a
tile's edge what the padding spoils is computed and not used. `decode_inner` takes all that lies far enough inside.

Shapes: H W LR size, h w size of a tile with its overlap, S scale.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_core.upscale.boxes import SYMMETRIES, Box, cut, frame, turned
from sr_core.upscale.halves import Decode, Halves

PER_STEP = 257.0  # 65535 / 255


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is enlarged into what, and how."""

    halves: Halves
    image: NDArray[Any]  # (H, W, 3) uint8 or uint16
    out: NDArray[Any]  # (S*H, S*W, 3 or 1) uint8, uint16 or float32 in about 0..255
    device: torch.device
    ensemble: bool  # the mean over the eight symmetries

    @torch.inference_mode()
    def enlarge(self, box: Box, left: list[Box]) -> None:
        """Writes the enlarged `box`; `left` holds at any time what of it is not written yet."""
        scale = self.halves.scale
        whole = Box(top=0, left=0, bottom=self.image.shape[0], right=self.image.shape[1])
        read = box.grown(self.halves.overlap, whole)
        window, inside = self.image[read.slices()], box.moved(-read.top, -read.left)
        if self.ensemble:
            height, width = ((side.stop - side.start) for side in box.slices(scale))
            total = np.zeros((height, width, 3), np.float32)
            for symmetry in SYMMETRIES:
                part = inside.turned(symmetry, *window.shape[:2])
                for done, rgb in self._enlarged(turned(window, symmetry), part):
                    turned(total, symmetry)[done.moved(-part.top, -part.left).slices(scale)] += rgb.cpu().numpy()
            _paste(self.out, box.slices(scale), torch.from_numpy(total) / len(SYMMETRIES))
            left.clear()
            return
        left[:] = [done.moved(read.top, read.left) for done, _ in self._parts(inside, window.shape)]
        for done, rgb in self._enlarged(window, inside):
            _paste(self.out, done.moved(read.top, read.left).slices(scale), rgb)
            left.pop(0)

    def _enlarged(self, window: NDArray[Any], box: Box) -> Iterator[tuple[Box, Tensor]]:
        """The parts of `box` in (h, w, 3), each with its (S*H', S*W', 3) float32 in about 0..255."""
        scale, whole = self.halves.scale, Box(top=0, left=0, bottom=window.shape[0], right=window.shape[1])
        # (h, w, 3) -> (1, 3, h, w): seen this way the numbers already lie in channels_last order; copied, as a
        # read-only or a mirrored array cannot be a tensor
        x = torch.from_numpy(window.astype(np.float32) if window.dtype != np.uint8 else window.copy()).to(self.device)
        x = (x / PER_STEP if window.dtype == np.uint16 else x.float()).permute(2, 0, 1)[None]
        features = x if self.halves.encode is None else self.halves.encode(x)
        for part, decode in self._parts(box, window.shape):
            seen = part.grown(self.halves.reach, whole)
            index = (..., *seen.slices())
            rows, columns = part.moved(-seen.top, -seen.left).slices(scale)
            rgb = decode(features[index], x[index])
            yield part, rgb[0, :, rows, columns].permute(1, 2, 0)  # (1, 3, S*h', S*w') -> (S*H', S*W', 3)

    def _parts(self, box: Box, shape: tuple[int, ...]) -> list[tuple[Box, Decode]]:
        """`box` of a window of `shape` in the boxes that decode takes, and which of the two takes each."""
        work = self.halves
        if work.encode is None:
            return [(box, work.decode)]
        if work.decode_inner is None:
            return [(part, work.decode) for part in cut(box, work.side)]
        far = Box(top=work.reach, left=work.reach, bottom=shape[0] - work.reach, right=shape[1] - work.reach)
        inner = box.clipped(far)
        if inner.is_empty:
            return [(part, work.decode) for part in cut(box, work.side)]
        # strips are `reach` wide and may be as long as fits a box's area
        longest = max(work.side * work.side // (2 * work.reach), work.side)
        near = [(part, work.decode) for strip in frame(box, inner) for part in cut(strip, longest)]
        return near + [(part, work.decode_inner) for part in cut(inner, work.inner_side)]


def _paste(out: NDArray[Any], at: tuple[slice, slice], rgb: Tensor) -> None:
    """The colours, or their mean where `out` has one channel; rounded half up and clipped, unless `out` is float32."""
    if out.shape[2] == 1:
        rgb = rgb.mean(2, keepdim=True)
    if out.dtype == np.uint8:
        rgb = rgb.clamp(0, 255).add_(0.5).to(torch.uint8)
    elif out.dtype == np.uint16:
        rgb = (rgb * PER_STEP).clamp_(0, 65535).add_(0.5).to(torch.int32)
    out[at] = rgb.cpu().numpy()
