"""PSNR and SSIM against MATLAB's own answers, and bicubic on Set5 against the published figures.

    python benchmarks/golden.py [--shared ../shared]

The first table has five images that RCAN enlarged by 4, and what MATLAB says of them. The second has bicubic on Set5,
made in two ways:

    in RGB    as everything is measured here: the LR files (RGB, uint8), enlarged in RGB, rounded to uint8 once
    on Y      as the published figures were made: the HR image's Y rounded to uint8, then imresize down and up in double
              precision with no rounding between, rounded to uint8 at the end; LR files are not looked at

On Y the published figures come out to their last digit, so metric and interpolation are MATLAB's. In RGB they lie
0.012 to 0.019 dB above them: what is compared is then Y unrounded, whose two roundings cost as much. Last line:
`largest difference from the published bicubic, dB: <figure>` (limit: 0.02).
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_core.data.images import read_rgb
from sr_core.data.resize import resize_matrix
from sr_core.evaluate.benchmark import evaluate
from sr_core.evaluate.metrics import PROTOCOLS, luma, psnr, ssim
from sr_core.evaluate.published import TABLE
from sr_core.evaluate.testsets import open_testset

PROTOCOL = PROTOCOLS["benchmark-y"]
PUBLISHED = next(entry for entry in TABLE if entry.name == "bicubic" and entry.protocol == PROTOCOL.name).figures
NEAR_MATLAB, NEAR_DB = 1e-5, 0.02


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One figure of ours and the one that it is to be."""

    name: str
    psnr: float
    ssim: float
    their_psnr: float
    their_ssim: float

    @property
    def distance_db(self) -> float:
        return self.psnr - self.their_psnr

    @property
    def distance_ssim(self) -> float:
        return self.ssim - self.their_ssim


def matlabs(shared: Path) -> Iterator[Compared]:
    """The five images and MATLAB's figures."""
    folder = shared / "golden_metrics" / "x4"
    rows = [line.split("\t") for line in (folder / "matlab.tsv").read_text().splitlines()[1:]]
    for name, their_psnr, their_ssim in (row[:3] for row in rows):
        sr, hr = read_rgb(folder / "SR" / f"{name}_RCAN_x4.png"), read_rgb(folder / "HR" / f"{name}_HR_x4.png")
        yield Compared(
            name=name,
            psnr=psnr(sr, hr, protocol=PROTOCOL, scale=4),
            ssim=ssim(sr, hr, protocol=PROTOCOL, scale=4),
            their_psnr=float(their_psnr),
            their_ssim=float(their_ssim),
        )


def in_rgb(shared: Path, scale: int) -> Compared:
    """Bicubic on Set5 as `evaluate` measures it."""
    images = open_testset(shared / "testsets" / "Set5", scale)
    mean = evaluate({}, images, protocol=PROTOCOL, test_set=images.name).mean("bicubic")
    return _beside_published(f"in RGB x{scale}", scale, mean.psnr, mean.ssim)


def on_y(shared: Path, scale: int) -> Compared:
    """Bicubic on Set5 as the published figures were made."""
    images = open_testset(shared / "testsets" / "Set5", scale)
    pairs = [_degraded_and_enlarged(images.hr(i), scale) for i in range(len(images))]
    # of three equal channels whole-rgb takes the plane itself, where benchmark-y would take their luma
    whole = PROTOCOLS["whole-rgb"]
    values = [
        (psnr(sr, hr, protocol=whole, scale=scale), ssim(sr, hr, protocol=whole, scale=scale)) for sr, hr in pairs
    ]
    mean_psnr, mean_ssim = np.mean(values, axis=0)
    return _beside_published(f"on Y x{scale}", scale, float(mean_psnr), float(mean_ssim))


def _degraded_and_enlarged(hr: NDArray[np.uint8], scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Y of `hr` made smaller and larger again, and Y, both shaved and as three equal channels."""
    y = _rounded(luma(hr))
    height, width = y.shape
    small = _resized(y.astype(np.float64), height // scale, width // scale)
    enlarged = _rounded(_resized(small, height, width))
    inside = (slice(scale, -scale), slice(scale, -scale))
    sr, reference = (np.repeat(plane[inside][..., None], 3, axis=2) for plane in (enlarged, y))
    return sr, reference


def _resized(plane: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    return resize_matrix(plane.shape[0], height) @ plane @ resize_matrix(plane.shape[1], width).T


def _rounded(plane: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.floor(plane + 0.5).clip(0, 255).astype(np.uint8)


def _beside_published(name: str, scale: int, own_psnr: float, own_ssim: float) -> Compared:
    their_psnr, their_ssim = PUBLISHED["Set5"][scale]
    assert their_ssim is not None
    return Compared(name=name, psnr=own_psnr, ssim=own_ssim, their_psnr=their_psnr, their_ssim=their_ssim)


def _print(title: str, rows: Sequence[Compared], digits: int) -> None:
    print(f"\n{title}")
    for row in rows:
        print(
            f"  {row.name:<12} PSNR {row.psnr:.{digits}f}, theirs {row.their_psnr:.{digits}f} ({row.distance_db:+.1e})"
            f"   SSIM {row.ssim:.{digits}f}, theirs {row.their_ssim:.{digits}f} ({row.distance_ssim:+.1e})"
        )


def main() -> int:
    """Prints both tables; returns 1 where a figure is farther away than it may be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    shared = parser.parse_args().shared
    golden = list(matlabs(shared))
    rgb, luminance = ([way(shared, scale) for scale in (2, 3, 4)] for way in (in_rgb, on_y))
    _print("MATLAB's figures", golden, 7)
    _print("bicubic on Set5, published", [*rgb, *luminance], 4)
    worst = max(max(abs(row.distance_db), abs(row.distance_ssim)) for row in golden)
    apart = max(abs(row.distance_db) for row in rgb)
    print(f"\nlargest difference from MATLAB: {worst:.1e}")
    print(
        f"largest difference from the published bicubic, made as they were, dB: "
        f"{max(abs(row.distance_db) for row in luminance):.4f}"
    )
    print(f"largest difference from the published bicubic, dB: {apart:.4f}")
    return 0 if worst <= NEAR_MATLAB and apart <= NEAR_DB else 1


if __name__ == "__main__":
    sys.exit(main())
