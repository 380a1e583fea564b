"""What is measured of a network that was trained against a discriminator, besides PSNR.

Such a network gives up PSNR for looks (Blau and Michaeli 2018, "The perception-distortion tradeoff"), so its report has

    bicubic    parent    alpha 0.2 … alpha 0.8    <the network>    control

where `parent` is the regression network that it began with, `alpha` are networks whose weights lie between the two
(Wang et al. 2018, section 3.4: (1 - alpha) parent + alpha network), and `control` is the parent's output with as much
Gaussian noise as gives it the network's own PSNR. It must score worse than the network and worse than the parent. A
score by which noise is as good as the network, or an improvement, does not tell detail from noise: the report then says
that it does not discriminate, and no version is promoted by it.

The noise is the same in all three channels: NIQE looks at luma, and so does the protocol of most tables.

Shapes: H W HR size.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_core import files
from sr_core.data import images, sources
from sr_core.data.pairs import hr_files
from sr_core.errors import SrError
from sr_core.evaluate import metrics, niqe
from sr_core.params import DataParams, Params
from sr_core.progress import QUIET, Progress

PARENT, CONTROL = "parent", "control"
ALPHAS = (0.2, 0.4, 0.6, 0.8)
MOST_FITTED = 125  # photographs of a large data set that the pristine model is fitted on; the authors had 125
NEAR_DB = 0.001  # within which the control's PSNR is the network's
_MOST_TRIES = 30


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Perceptual:
    """What stands beside the perceptual scores of a report and makes them comparable."""

    label: str  # the score, and what its pristine model was fitted on
    digest: str  # of the pristine model
    crop: int  # HR pixels left out on every side
    metric: str = "niqe"  # lower is better
    judged: str | None = None  # the network of which this score, and not PSNR, tells how good it is
    parent: str | None = None  # what it began with
    control: str | None = None  # the parent's output with noise
    originals: float | None = None  # the mean score of the HR images themselves


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """By which pristine model results are scored, and which of the networks is the one in question."""

    pristine: niqe.Pristine
    judged: str | None = None
    parent: str | None = None

    @property
    def control(self) -> str | None:
        """The control's name, where there is one."""
        return CONTROL if self.judged and self.parent else None

    def score(self, image: NDArray[np.uint8], scale: int) -> float | None:
        """NIQE of (H, W, 3), `scale` pixels of the border left out; None where it is too small."""
        return niqe.niqe(image, self.pristine, crop=scale)

    def record(self, scale: int, originals: Sequence[float | None]) -> Perceptual:
        """What is said of these scores in the report; `originals` are those of the HR images."""
        known = [value for value in originals if value is not None]
        return Perceptual(
            label=self.pristine.label,
            digest=self.pristine.digest,
            crop=scale,
            judged=self.judged,
            parent=self.parent,
            control=self.control,
            originals=math.fsum(known) / len(known) if known else None,
        )


def noisy(
    parent: NDArray[np.uint8],
    hr: NDArray[np.uint8],
    *,
    psnr: float,
    key: str,
    protocol: metrics.Protocol,
    scale: int,
) -> NDArray[np.uint8]:
    """`parent` (H, W, 3) with Gaussian noise by which its PSNR against `hr` becomes `psnr` dB, rounded and clipped.

    The noise is always the same for one `key`. A parent that is no better than `psnr` gets none.
    """
    own, wanted = (_error(each) for each in (metrics.psnr(parent, hr, protocol=protocol, scale=scale), psnr))
    if wanted <= own:
        return parent
    seed = int(files.sha256_bytes(key.encode())[:16], 16)
    noise = np.random.default_rng(seed).standard_normal(parent.shape[:2])[..., None]  # (H, W, 1)
    # bisection: rounding and clipping make the error of a small or a large sigma another than sigma squared
    low, high = 0.0, 4 * math.sqrt(wanted - own) + 1
    for _ in range(_MOST_TRIES):
        sigma = (low + high) / 2
        made = np.floor(parent + sigma * noise + 0.5).clip(0, 255).astype(np.uint8)
        found = metrics.psnr(made, hr, protocol=protocol, scale=scale)
        if abs(found - psnr) < NEAR_DB:
            break
        low, high = (sigma, high) if found > psnr else (low, sigma)
    return made


def _error(psnr: float) -> float:
    """The mean squared error that `psnr` dB stand for."""
    return float(metrics.PEAK**2 / 10 ** (psnr / 10))


def pristine_of(params: Params, *, progress: Progress = QUIET) -> niqe.Pristine:
    """The model in the file `evaluate.niqe_model`; null: fitted on the data set's training photographs.

    What was fitted is kept in data/reports/niqe-<digits>.json, named after the photographs' bytes.

    Raises:
        SrError: the file is none.
        SourceError, ImageError: there are no photographs to fit one on.
    """
    if params.evaluate.niqe_model is not None:
        return niqe.read(Path(params.evaluate.niqe_model))
    raw = sources.materialise(params.data, progress=progress)
    photographs = _spread(hr_files(params.data, raw)["train"])
    digits = files.digest_of([niqe.VERSION, [[path.name, files.record_of(path).sha256] for path in photographs]])[:12]
    kept = Path(params.data.root) / "reports" / f"niqe-{digits}.json"
    if kept.exists():
        try:
            return dataclasses.replace(niqe.read(kept), source="")
        except SrError as error:
            progress.say(f"{error}; it is fitted again")
    pristine = fit(photographs, max_pixels=params.data.max_pixels, progress=progress)
    niqe.write(kept, pristine)
    return pristine


def fit_named(params: DataParams, what: str | None, *, progress: Progress = QUIET) -> niqe.Pristine:
    """A pristine model of the photographs in the folder `what`; `sample`, None: of training photographs.

    Raises:
        SourceError, ImageError: there are no photographs, or too few for a model.
        SrError: there is no such folder.
    """
    if what is not None and (what != "sample" or Path(what).is_dir()):
        folder = Path(what)
        if not folder.is_dir():
            raise SrError(f"{folder}: is not a folder, expected one of photographs to fit NIQE's pristine model on")
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in images.SUFFIXES)
        return fit(tuple(found), max_pixels=params.max_pixels, progress=progress)
    chosen = DataParams(root=params.root) if what else params
    raw = sources.materialise(chosen, progress=progress)
    return fit(hr_files(chosen, raw)["train"], max_pixels=params.max_pixels, progress=progress)


def judge_named(params: Params, *, progress: Progress = QUIET) -> Judge | None:
    """Who scores networks that have no parent: by `evaluate.niqe_model`, or nobody if it is null.

    Raises:
        SrError: the file is no pristine model.
    """
    return Judge(pristine=pristine_of(params, progress=progress)) if params.evaluate.niqe_model is not None else None


def fit(photographs: tuple[Path, ...], *, max_pixels: int, progress: Progress = QUIET) -> niqe.Pristine:
    """The pristine model of these files.

    Raises:
        ImageError: one cannot be decoded, or they are too few or too small for a model.
    """
    progress.start("Fitting NIQE's pristine model", total=len(photographs))

    def read(path: Path) -> NDArray[np.uint8]:
        progress.advance()
        return images.read_rgb(path, max_pixels=max_pixels)

    return niqe.fit((path.stem, lambda path=path: read(path)) for path in photographs)  # type: ignore[misc]


def _spread(photographs: tuple[Path, ...]) -> tuple[Path, ...]:
    """At most MOST_FITTED of them, evenly spread."""
    num = min(MOST_FITTED, len(photographs))
    return tuple(photographs[i * len(photographs) // num] for i in range(num))
