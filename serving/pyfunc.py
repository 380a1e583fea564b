"""A registered model as MLflow loads it: uint8 photographs in, uint8 photographs out.

    model = mlflow.pyfunc.load_model("models:/sr-edsr-x4-bicubic@champion")
    model.predict(photographs)  # (N, H, W, 3) uint8 RGB -> (N, S*H, S*W, 3)

The artefact holds weights.safetensors and card.json and names this module as its loader: no pickle, and no code that
would run on loading. The weights' sha256 is checked against the card.

Shapes: N photographs, H W LR size, S scale.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_core.errors import ImageError
from sr_core.train.weights import LoadedModel, load_model
from sr_core.upscale import fastest_device, upscale


class Upscaler:
    """What MLflow calls a Python model: an object with `predict`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._network, self._device = loaded.network, fastest_device()

    def predict(self, photographs: Any, params: dict[str, Any] | None = None) -> npt.NDArray[np.uint8]:  # noqa: ARG002
        """(N, H, W, 3) uint8 RGB -> (N, S*H, S*W, 3), or (H, W, 3) -> (S*H, S*W, 3); of any size.

        A model loaded through MLflow takes N photographs only: MLflow checks the signature first.

        Raises:
            ImageError: not an array of that type and shape.
        """
        images = np.asarray(photographs)
        if images.dtype != np.uint8 or images.ndim not in {3, 4} or images.shape[-1] != 3 or 0 in images.shape:
            raise ImageError(
                f"the photographs are {images.dtype} of shape {images.shape}, expected uint8 RGB of shape "
                "(number, height, width, 3): round and clip to 0..255 first, and leave out transparency"
            )
        if images.ndim == 3:
            return upscale(self._network, images, device=self._device)
        return np.stack([upscale(self._network, image, device=self._device) for image in images])


def _load_pyfunc(data_path: str) -> Upscaler:
    """The name by which MLflow looks for the loader; `data_path` is the model directory in the artefact."""
    return Upscaler(load_model(Path(data_path)))
