"""PSNR and SSIM against MATLAB's answers on five images upscaled by RCAN x4."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from sr_core.evaluate.metrics import PROTOCOLS, psnr, ssim

NAMES = ("baby", "bird", "butterfly", "head", "woman")


def read(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_matlab(shared: Path, name: str) -> None:
    folder = shared / "golden_metrics" / "x4"
    rows = [line.split("\t") for line in (folder / "matlab.tsv").read_text().splitlines()[1:]]
    expected = {row[0]: (float(row[1]), float(row[2])) for row in rows}
    assert set(expected) == set(NAMES)
    sr, hr = read(folder / "SR" / f"{name}_RCAN_x4.png"), read(folder / "HR" / f"{name}_HR_x4.png")
    protocol = PROTOCOLS["benchmark-y"]
    assert psnr(sr, hr, protocol=protocol, scale=4) == pytest.approx(expected[name][0], abs=1e-5)
    assert ssim(sr, hr, protocol=protocol, scale=4) == pytest.approx(expected[name][1], abs=1e-5)
