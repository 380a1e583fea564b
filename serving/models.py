"""Models by any name that a user may give: the only place that resolves `models:/…` and `.onnx`.

data/models/edsr-x4-bicubic, data/runs/…, weights.pth    what sr_core.train.weights.open_model takes
bicubic, nearest, bilinear, lanczos                      interpolation, at any scale
models:/sr-edsr-x4-bicubic@champion                      a registered version (serving/registered.py)
edsr.onnx                                                what `sr export onnx` wrote
"""

from collections.abc import Callable
from pathlib import Path

from sr_core.train.start import REGISTRY
from sr_core.train.weights import LoadedModel, load_model, open_model


def open_any(
    name: str,
    *,
    scale: int = 4,
    uri: str | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> LoadedModel:
    """The model that `name` means; `scale` is for interpolation alone.

    `uri` is MLflow's (None: MLFLOW_TRACKING_URI, or mlflow.db in the current folder), `cache` a folder for copies of
    registered versions, and `say` is told where the registry does not answer and a copy is used, or what was measured
    of an ONNX file that others wrote (None: standard error).

    Raises:
        CheckpointError: it cannot be read, or is not what its card or the registry says.
        ConfigError: there is no such version in the registry.
        TrackError: the registry does not answer, and there is no copy.
    """
    if name.startswith(REGISTRY):
        from serving.registered import fetch

        return load_model(fetch(name, uri=uri, cache=cache, say=say))
    if name.lower().endswith(".onnx"):
        from serving.exchange import onnx

        return onnx.load(Path(name), say=say)
    return open_model(Path(name), scale)
