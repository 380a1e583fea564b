"""NIQE: how far an image's statistics are from those of pristine photographs; no reference, lower is better.

Mittal, Soundararajan, Bovik 2013, "Making a completely blind image quality analyzer", by the authors' description and
constants: luma normalised by local mean and deviation (MSCN, 7x7 Gaussian, sigma 7/6), generalised Gaussians
(AGGD) fitted to it and to products of neighbours in blocks of 96x96, at full and at half size (MATLAB's imresize), and
the distance between the multivariate Gaussian of these features and that of the sharp blocks of pristine photographs.
Everything is float64.

The plane is Y of BT.601 (16..235) rounded to whole numbers, as the field's tables for super-resolution have it
(BasicSR, pyiqa); the authors' own program takes MATLAB's rgb2gray. The scores depend on the pristine photographs
more than on anything else: figures by different pristine models cannot be compared, so a model has a digest and a
label that says what it was fitted on, and both go where its figures go.

Shapes: N blocks, F = 36 features (18 at each of two sizes).
"""

import dataclasses
import functools
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_core import files
from sr_core.data.resize import bicubic_down, resize_matrix
from sr_core.errors import ImageError, SrError
from sr_core.evaluate.metrics import Plane, luma

BLOCK = 96  # side of a block at full size
NUM_FEATURES = 36
SHARP = 0.75  # of an image's sharpest block: what is less sharp says nothing of pristine photographs
REDUCED = 2  # how much smaller photographs are made before a pristine model is fitted on them
ENOUGH_BLOCKS = 10 * NUM_FEATURES  # for a pristine model; with fewer sharp ones, all count
FEWEST_BLOCKS = 2  # with fewer there is no covariance
VERSION = 1
_TAPS = 3  # of the Gaussian window, on each side of its centre
_SIGMA = 7 / 6
_PLAIN = 1e-6
_ALPHAS = (200, 10_001)  # shapes of the AGGD that are tried, in thousandths
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # neighbours: right, below, and on both diagonals
_PUBLISHED = ("mu_pris_param", "cov_pris_param")  # names in the file that BasicSR and others distribute


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pristine:
    """The multivariate Gaussian of pristine photographs' features, and where it comes from."""

    mean: NDArray[np.float64]  # (F,)
    covariance: NDArray[np.float64]  # (F, F)
    fitted_on: Mapping[str, str]  # sha256 of the pixels by photograph; empty where a file does not say
    num_blocks: int | None  # how many blocks it was fitted on, where that is known
    digest: str  # changes when a number changes
    source: str  # the file it was read from, where it is not ours

    @property
    def label(self) -> str:
        """What stands beside every figure: `NIQE fitted on 2 photographs at half size (49 blocks): china, flower`."""
        names = list(self.fitted_on)
        if not names:
            return f"NIQE with the pristine model {self.source} ({self.digest[:8]})"
        shown = names if len(names) <= 8 else [*names[:3], "…", names[-1]]
        blocks = f" ({self.num_blocks} blocks)" if self.num_blocks else ""
        return f"NIQE fitted on {len(names)} photographs at half size{blocks}: {', '.join(shown)}"


def niqe(image: NDArray[np.uint8], pristine: Pristine, *, crop: int = 0) -> float | None:
    """The distance of `image` (H, W, 3) uint8 from `pristine`; lower is better.

    `crop` pixels are left out on every side, then what does not fill blocks of 96x96 on the right and below. None if
    fewer than two blocks are left whose features are defined: a plain area has none.
    """
    inside = image[crop : image.shape[0] - crop, crop : image.shape[1] - crop] if crop else image
    if inside.shape[0] // BLOCK * (inside.shape[1] // BLOCK) < FEWEST_BLOCKS:
        return None
    found = features(_plane(inside))
    whole = found[np.isfinite(found).all(axis=1)]
    if len(whole) < FEWEST_BLOCKS:
        return None
    # as the authors have it: the mean of each feature over the blocks that have it, the covariance over whole blocks
    difference = pristine.mean - np.nanmean(found, axis=0)
    inverse = np.linalg.pinv((pristine.covariance + np.cov(whole, rowvar=False)) / 2, hermitian=True)
    return math.sqrt(max(0.0, float(difference @ inverse @ difference)))


def fit(photographs: Iterable[tuple[str, Callable[[], NDArray[np.uint8]]]]) -> Pristine:
    """The pristine model of photographs (name, and what reads it as (H, W, 3)), each reduced to half its size first.

    Of each the blocks count that are sharper than 0.75 of its sharpest, as the authors have it. Where that leaves fewer
    than ten blocks for each feature, all blocks count, and they overlap by half.

    Reducing rids photographs of the grain and the JPEG that few are without, and which a model of them takes for
    natural. Measured on the sample, with noise that costs EDSR's output 0.5 dB: by a model of the seven photographs as
    they are that noise made it 10 % more natural, by one of them reduced 33 % less so. (By their 74 sharp blocks as
    they are, whose covariance is too poor, noise took a third off a blurred photograph's score.)

    Raises:
        ImageError: not even two blocks are left.
    """
    sharp: list[NDArray[np.float64]] = []
    every: list[NDArray[np.float64]] = []
    fitted_on: dict[str, str] = {}
    for name, read_pixels in photographs:
        image = read_pixels()
        if min(image.shape[:2]) < REDUCED * BLOCK:
            continue
        plane = _plane(bicubic_down(image, REDUCED))
        sharpness, found, overlapping = _sharpness(plane), features(plane), features(plane, step=BLOCK // 2)
        found = found[sharpness > SHARP * sharpness.max()]
        sharp.append(found[np.isfinite(found).all(axis=1)])
        every.append(overlapping[np.isfinite(overlapping).all(axis=1)])
        fitted_on[name] = files.sha256_bytes(np.ascontiguousarray(image).tobytes())
    blocks = sharp if sum(map(len, sharp)) >= ENOUGH_BLOCKS else every
    num = sum(map(len, blocks))
    if num < FEWEST_BLOCKS:
        raise ImageError(
            f"{len(fitted_on)} photographs have {num} blocks of {BLOCK}x{BLOCK} pixels at half their size for NIQE's "
            f"pristine model, expected {ENOUGH_BLOCKS} or more: name more photographs, or larger ones"
        )
    joined = np.concatenate(blocks)
    return _pristine(joined.mean(axis=0), np.cov(joined, rowvar=False), fitted_on, num, "")


def features(plane: Plane, *, step: int = BLOCK) -> NDArray[np.float64]:
    """The features of a block each `step` pixels of `plane` (H, W), row by row, (N, F); not finite where plain."""
    height, width = ((length - BLOCK) // step * step + BLOCK for length in plane.shape)
    plane = plane[:height, :width]
    found = []
    for part in (1, 2):
        side, apart = BLOCK // part, step // part
        normalised = _mscn(plane)[0]
        tops = range(0, len(plane) - side + 1, apart)
        found.append(np.concatenate([_features(_blocks(normalised[top : top + side], apart)) for top in tops]))
        plane = _halved(plane) if part == 1 else plane
    return np.concatenate(found, axis=1)


def write(path: Path, pristine: Pristine) -> None:
    """`pristine` as the .json file that `read` reads.

    Raises:
        SrError: `path` is not a .json's name.
    """
    if path.suffix != ".json":
        raise SrError(f"{path}: expected a name that ends in .json, which is how pristine models are written")
    plain = {
        "version": VERSION,
        "mean": pristine.mean.tolist(),
        "covariance": pristine.covariance.tolist(),
        "fitted_on": dict(pristine.fitted_on),
        "num_blocks": pristine.num_blocks,
    }
    files.write_atomic(path, files.to_json(plain))


def read(path: Path) -> Pristine:
    """The pristine model in `path`: .json of `fit-niqe`, or the .npz that others distribute.

    Raises:
        SrError: there is none, or it is damaged.
    """
    expected = f"expected a .json written by `python -m sr_core fit-niqe`, or an .npz with {' and '.join(_PUBLISHED)}"
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_json(path)
    except OSError as error:
        raise SrError(f"{path}: cannot be read ({error.strerror or error}); {expected}") from None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SrError(f"{path}: is not a pristine model of NIQE ({error}); {expected}") from None


def _read_json(path: Path) -> Pristine:
    tree = json.loads(path.read_text(encoding="utf-8"))
    if tree["version"] != VERSION:
        raise ValueError(f"version {tree['version']}, not {VERSION}")
    mean, covariance = (np.asarray(tree[key], np.float64) for key in ("mean", "covariance"))
    return _pristine(mean, covariance, dict(tree["fitted_on"]), tree["num_blocks"], path.name)


def _read_npz(path: Path) -> Pristine:
    with np.load(io.BytesIO(path.read_bytes())) as arrays:
        mean, covariance = (np.asarray(arrays[name], np.float64) for name in _PUBLISHED)
    return _pristine(mean.ravel(), covariance, {}, None, path.name)


def _pristine(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    fitted_on: Mapping[str, str],
    num_blocks: int | None,
    source: str,
) -> Pristine:
    if mean.shape != (NUM_FEATURES,) or covariance.shape != (NUM_FEATURES, NUM_FEATURES):
        raise ValueError(f"mean {mean.shape} and covariance {covariance.shape}, not of {NUM_FEATURES} features")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("not all its numbers are finite")
    return Pristine(
        mean=mean,
        covariance=covariance,
        fitted_on=fitted_on,
        num_blocks=num_blocks,
        digest=files.digest_of([mean.tolist(), covariance.tolist()]),
        source=source,
    )


def _plane(image: NDArray[np.uint8]) -> Plane:
    return np.floor(luma(image) + 0.5)


def _mscn(plane: Plane) -> tuple[Plane, Plane]:
    """`plane` less its local mean over its local deviation + 1, and that deviation."""
    mean = _blur(plane)
    deviation = np.sqrt(np.abs(_blur(plane * plane) - mean * mean))
    normalised = (plane - mean) / (deviation + 1)
    # 0 where the window is plain: else rounding would put these pixels on one side of zero, which the fits look at
    normalised[np.abs(normalised) < _PLAIN] = 0
    return normalised, deviation


def _blur(plane: Plane) -> Plane:
    """(H, W) -> (H, W): the 7x7 Gaussian mean; beyond the border, the pixels on it."""
    weights = np.exp(-(np.arange(-_TAPS, _TAPS + 1) ** 2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    height, width = plane.shape
    padded = np.pad(plane, _TAPS, mode="edge")
    rows = sum(weight * padded[i : i + height] for i, weight in enumerate(weights))
    return np.asarray(sum(weight * rows[:, i : i + width] for i, weight in enumerate(weights)))


def _halved(plane: Plane) -> Plane:
    """(H, W) -> (H/2, W/2) for even sides: MATLAB's imresize(plane, 0.5), whose eight taps are everywhere the same."""
    taps = resize_matrix(32, 16)[8, 13:21]
    for _ in range(2):
        padded = np.pad(plane, ((3, 4), (0, 0)), mode="symmetric")
        length = len(plane) // 2
        plane = np.asarray(sum(tap * padded[i : i + 2 * length : 2] for i, tap in enumerate(taps))).T
    return plane


def _blocks(strip: Plane, step: int) -> NDArray[np.float64]:
    """The squares, `step` pixels apart, of a strip (side, W), (N, side, side)."""
    windows = np.lib.stride_tricks.sliding_window_view(strip, len(strip), axis=1)[:, ::step]  # (side, N, side)
    return np.ascontiguousarray(windows.transpose(1, 0, 2))


def _sharpness(plane: Plane) -> NDArray[np.float64]:
    """The mean local deviation in every block, row by row, (N,)."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    deviation = _mscn(plane[: rows * BLOCK, : columns * BLOCK])[1]
    return np.asarray(deviation.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3)).ravel())


def _features(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, side, side) of MSCN -> (N, F/2)."""
    alpha, left, right = _aggd(blocks)
    columns = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        # within the block, and around its border, as circshift has it
        alpha, left, right = _aggd(blocks * np.roll(blocks, shift, axis=(1, 2)))
        ratio = np.array([math.gamma(2 / a) / math.gamma(1 / a) for a in alpha])
        columns += [alpha, (right - left) * ratio, left, right]
    return np.stack(columns, axis=1)


def _aggd(blocks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shape and scales left and right of zero of the asymmetric generalised Gaussian fitted to each block, (N,) each.

    By moments (Lasmar et al. 2009); a block without values on both sides of zero has scales that are not finite.
    """
    values = blocks.reshape(len(blocks), -1)
    squares = values * values
    negative, positive = values < 0, values > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt((squares * negative).sum(axis=1) / negative.sum(axis=1))
        right = np.sqrt((squares * positive).sum(axis=1) / positive.sum(axis=1))
        ratio = left / right
        moment = np.abs(values).mean(axis=1) ** 2 / squares.mean(axis=1)
        moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    alphas, moments = _table()
    # moments rises with alpha: the nearest is on one side of where it would stand
    above = np.searchsorted(moments, np.nan_to_num(moment)).clip(1, len(moments) - 1)
    nearest = np.where(moment - moments[above - 1] <= moments[above] - moment, above - 1, above)
    alpha = alphas[nearest]
    scale = np.array([math.sqrt(math.gamma(1 / a) / math.gamma(3 / a)) for a in alpha])
    return alpha, left * scale, right * scale


@functools.cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapes alpha, and gamma(2/alpha)^2 / (gamma(1/alpha) gamma(3/alpha)) of each."""
    alphas = np.arange(*_ALPHAS) / 1000
    moments = [math.gamma(2 / a) ** 2 / (math.gamma(1 / a) * math.gamma(3 / a)) for a in alphas]
    return alphas, np.array(moments)
