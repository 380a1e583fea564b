"""LPIPS by the weight files that `evaluate.lpips_weights` names: none come with this project, and none are fetched."""

from pathlib import Path

from sr_core.evaluate import lpips
from sr_core.evaluate.lpips import Lpips
from sr_core.params import Params
from sr_core.train.weights import load_state

OFF = (
    "LPIPS: not measured; evaluate.lpips_weights names no files, expected a backbone of torchvision's and the authors' "
    "linear layers (docs/evaluation.md)"
)


def lpips_named(params: Params) -> Lpips | None:
    """LPIPS by the files in `evaluate.lpips_weights`; None if there are none.

    Raises:
        CheckpointError: one cannot be read, or they are not the weights of one LPIPS.
    """
    paths = [Path(name) for name in params.evaluate.lpips_weights]
    return lpips.make({path.name: load_state(path) for path in paths}) if paths else None
