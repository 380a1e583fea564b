"""How long models take for a million pixels of their result, on this machine and as a picture is upscaled every day.

Each model is warmed up once. Then all of them take turns, in each round beginning with another one, so that what the
machine does beside this falls on all alike; of a model's rounds the median counts. Times are of upscaling alone: from
uint8 to uint8, without files.

Shapes: H W LR size, S scale.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from sr_core.compare.report import Speed, Timing
from sr_core.data.pictures import Picture
from sr_core.precision import resolve
from sr_core.progress import QUIET, Progress
from sr_core.train.weights import LoadedModel
from sr_core.upscale import settings_of, upscale_picture

MEGAPIXELS = 0.5  # of the result, about: larger than what starting a network up takes


def probe(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """A square of (H, W, 3), repeated where it is too small, whose enlargement has about MEGAPIXELS."""
    side = math.isqrt(round(MEGAPIXELS * 1e6)) // scale
    times = [-(-side // length) for length in image.shape[:2]]
    return np.ascontiguousarray(np.tile(image, (*times, 1))[:side, :side])


def measure(
    models: Mapping[str, LoadedModel],
    image: NDArray[np.uint8],
    *,
    rounds: int,
    device: torch.device,
    progress: Progress = QUIET,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, Speed], Timing]:
    """The speed of each of `models`, all of one scale, on `image` (H, W, 3), and what stands beside the figures.

    Raises:
        SrError: the device has not even memory for the smallest tile.
    """
    names = list(models)
    taken: dict[str, list[float]] = {name: [] for name in names}
    settings = {name: settings_of(model.card) for name, model in models.items()}
    picture, megapixels = Picture(pixels=image), 0.0
    progress.start("Measuring speed", total=(rounds + 1) * len(names))
    for turn in range(-1, rounds):  # the first one warms up
        first = max(turn, 0) % len(names)
        for name in names[first:] + names[:first]:
            begun_s = clock()
            result = upscale_picture(models[name].network, picture, settings[name], device=device).pixels
            seconds = clock() - begun_s
            megapixels = result.shape[0] * result.shape[1] / 1e6
            if turn >= 0:
                taken[name].append(seconds / megapixels)
            progress.advance()
    speeds = {
        name: Speed(
            median_s=statistics.median(each),
            fastest_s=min(each),
            slowest_s=max(each),
            precision=resolve(settings[name].precision, device),
        )
        for name, each in taken.items()
    }
    timing = Timing(
        rounds=rounds,
        megapixels=megapixels,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        num_threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return speeds, timing
