"""The LR image of an HR image: the data set's own file where there is one, made here otherwise."""

import numpy as np
from numpy.typing import NDArray

from sr_core.data.images import read_rgb
from sr_core.data.pairs import ImagePair
from sr_core.data.resize import bicubic_down
from sr_core.errors import SourceError


def lr_of(pair: ImagePair, hr: NDArray[np.uint8] | None, scale: int, degradation: str) -> NDArray[np.uint8]:
    """The (H // scale, W // scale, 3) LR image of `pair`, whose HR image is `hr` (H, W, 3); None: not decoded yet.

    Raises:
        ImageError: a file cannot be decoded.
        SourceError: there is no LR file, and `degradation` cannot be made here.
    """
    if degradation in pair.lr:
        return read_rgb(pair.lr[degradation][0])
    if degradation != "bicubic":
        raise SourceError(f"{pair.hr}: has no LR file, and data.degradation {degradation} cannot be made here")
    return bicubic_down(read_rgb(pair.hr) if hr is None else hr, scale, border="mirror")
