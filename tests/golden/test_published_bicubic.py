"""Bicubic upscaling of Set5 has the PSNR and SSIM that every paper's tables give it.

Within 0.02 dB where RGB is enlarged and rounded, as everything is measured here; to their last digit where Y is rounded
first and enlarged in double precision, as the tables were made (`python benchmarks/golden.py` prints both).
"""

from pathlib import Path

import golden
import numpy as np
import pytest

from sr_core.data.images import read_rgb
from sr_core.data.resize import resize_matrix
from sr_core.evaluate.benchmark import evaluate
from sr_core.evaluate.metrics import PROTOCOLS

PUBLISHED = {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)}


class Set5:
    digest = "set5"

    def __init__(self, folder: Path, scale: int) -> None:
        self.scale = scale
        self._files = sorted(folder.glob(f"image_SRF_{scale}/*_HR.png"))
        self.keys = tuple(path.name for path in self._files)

    def __len__(self) -> int:
        return len(self.keys)

    def lr(self, i: int) -> np.ndarray:
        path = self._files[i]
        return read_rgb(path.with_name(path.name.replace("_HR", "_LR")))

    def hr(self, i: int) -> np.ndarray:
        return read_rgb(self._files[i])


@pytest.mark.parametrize("scale", PUBLISHED)
def test_bicubic_on_set5(shared: Path, scale: int) -> None:
    images = Set5(shared / "testsets" / "Set5", scale)
    assert len(images) == 5
    mean = evaluate({}, images, protocol=PROTOCOLS["benchmark-y"], test_set="Set5").mean("bicubic")
    psnr, ssim = PUBLISHED[scale]
    assert mean.psnr == pytest.approx(psnr, abs=0.02)
    assert mean.ssim == pytest.approx(ssim, abs=0.001)


@pytest.mark.parametrize("scale", PUBLISHED)
def test_made_as_they_were_the_published_figures_come_out(shared: Path, scale: int) -> None:
    found = golden.on_y(shared, scale)
    assert (found.their_psnr, found.their_ssim) == PUBLISHED[scale]
    assert found.psnr == pytest.approx(found.their_psnr, abs=0.005)
    assert found.ssim == pytest.approx(found.their_ssim, abs=0.00005)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_enlarging_is_exact_on_parabolas_and_turns_with_the_image(scale: int) -> None:
    """Keys' kernel with a = -0.5 is the one of its family that reproduces second-degree polynomials."""
    weights = resize_matrix(20, 20 * scale)
    where = (np.arange(20 * scale) + 0.5) / scale - 0.5  # pixel centres, as MATLAB aligns them
    inside = slice(2 * scale, -2 * scale)
    np.testing.assert_allclose((weights @ np.arange(20.0) ** 2)[inside], where[inside] ** 2, atol=1e-11)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-15)
    assert (weights != 0).sum(axis=1).max() == 4
