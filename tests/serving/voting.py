"""A comparison's folder, made by hand: photographs of noise and slopes, and what two models make of them."""

import numpy as np
from PIL import Image

SETS = ("Made-x4-bicubic",)
SECRETS = ("edsr", "srgan", "bicubic", "nearest", "waldo", "Made-x4", "lr.png", "hr.png")  # never to be shown
SCALE = 4


def comparison(folder, name="mine", *, images=("waldo-1", "waldo-2"), models=("edsr", "srgan"), side=96, seed=0):
    """Writes data/compare/<name> with HR of `side` x `side` + 16; the models are HR with less and less noise."""
    rng = np.random.default_rng(seed)
    directory = folder / name
    for test_set in SETS:
        for image in images:
            place = directory / "images" / test_set / image
            place.mkdir(parents=True)
            hr = _photograph(rng, side, side + 16)
            lr = hr[::SCALE, ::SCALE]
            save(place / "hr.png", hr)
            save(place / "lr.png", lr)
            for strength, model in enumerate(("bicubic", *models)):
                noise = rng.normal(0, 40 / (strength + 1), hr.shape)
                save(place / f"{model}.png", (hr + noise).clip(0, 255).astype(np.uint8))
    return directory


def save(path, pixels):
    Image.fromarray(pixels).save(path)


def _photograph(rng, height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin(rows / rng.uniform(3, 9)) + np.cos(columns / rng.uniform(3, 9))
    return (128 + 50 * waves[..., None] * rng.uniform(0.4, 1, 3)).clip(0, 255).astype(np.uint8)
