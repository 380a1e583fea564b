"""The time of a training step on n workers, from a few figures of one: a model to put your own figures into.

    step(n) = compute(crops per worker) + all-reduce(n) + loader + checkpoint

    compute     fixed_s + crop_s x crops: what a step costs whatever the batch (update, moving average), and each crop
    all-reduce  a ring: 2 (n - 1) / n x bytes / bandwidth + 2 (n - 1) x latency; bandwidth is that of its slowest link
    loader      what the threads that make batches cannot hide behind the rest of the step
    checkpoint  the snapshot, and what of the write does not fit between two saves, spread over the steps between them

Our step starts its one all-reduce when the backward pass has ended, so nothing of it is hidden; a collective library
that uses trees, or a network that others use too, departs from the ring. Times in seconds, sizes in bytes.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

KERNEL = 3 * 3  # every convolution of EDSR
COLOURS = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """The slowest link of the ring."""

    name: str
    bytes_per_s: float
    latency_s: float

    def all_reduce_s(self, size: float, num: int) -> float:
        """For `size` bytes over `num` workers."""
        return 2 * (num - 1) / num * size / self.bytes_per_s + 2 * (num - 1) * self.latency_s


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """What one worker needs: figures that were measured or assumed, for one network and number of threads."""

    crop_s: float
    fixed_s: float
    gradient_bytes: float
    loader_crop_s: float = 0.0  # on one loader thread
    loader_threads: int = 1
    snapshot_s: float = 0.0
    write_s: float = 0.0
    checkpoint_every: int = 1000

    def compute_s(self, crops: int) -> float:
        """Forward, backward and update."""
        return self.fixed_s + self.crop_s * crops


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A step of `num` workers with `crops` each, by its parts."""

    num: int
    crops: int
    compute_s: float
    all_reduce_s: float
    loader_s: float
    checkpoint_s: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute_s + self.all_reduce_s + self.loader_s + self.checkpoint_s

    @property
    def crops_per_s(self) -> float:
        """Of all workers."""
        return self.num * self.crops / self.seconds


def predict(worker: Worker, link: Link, *, num: int, crops: int) -> Step:
    """The step of `num` workers with `crops` each."""
    compute_s = worker.compute_s(crops)
    all_reduce_s = link.all_reduce_s(worker.gradient_bytes, num)
    loader_s = max(0.0, worker.loader_crop_s * crops / worker.loader_threads - compute_s - all_reduce_s)
    between_s = worker.checkpoint_every * (compute_s + all_reduce_s + loader_s)
    checkpoint_s = (worker.snapshot_s + max(0.0, worker.write_s - between_s)) / worker.checkpoint_every
    return Step(
        num=num,
        crops=crops,
        compute_s=compute_s,
        all_reduce_s=all_reduce_s,
        loader_s=loader_s,
        checkpoint_s=checkpoint_s,
    )


def strong(worker: Worker, link: Link, *, num: int, batch: int) -> Step | None:
    """The slowest worker's step when `batch` crops are dealt out; None where there is not one for each."""
    return predict(worker, link, num=num, crops=math.ceil(batch / num)) if batch >= num else None


def fit_link(name: str, times: Sequence[tuple[float, float]], num: int) -> Link:
    """The link that a ring of `num` has, by least squares of relative errors over (bytes, seconds) measured."""
    sizes, seconds = np.array(times, dtype=np.float64).T
    terms = np.stack([2 * (num - 1) / num * sizes, np.full_like(sizes, 2 * (num - 1))], axis=1)
    per_byte_s, latency_s = _fit(terms, seconds)
    return Link(name=name, bytes_per_s=1 / per_byte_s, latency_s=latency_s)


def fit_compute(times: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """(crop_s, fixed_s) by least squares of relative errors over (crops, seconds) measured."""
    crops, seconds = np.array(times, dtype=np.float64).T
    crop_s, fixed_s = _fit(np.stack([crops, np.ones_like(crops)], axis=1), seconds)
    return crop_s, fixed_s


def _fit(terms: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Two factors, neither below 0."""
    weighted = terms / seconds[:, None]
    first, second = np.linalg.lstsq(weighted, np.ones(len(seconds)), rcond=None)[0]
    if second < 0:  # all of it is the first's
        first, second = float(weighted[:, 0].sum() / (weighted[:, 0] ** 2).sum()), 0.0
    return float(first), float(second)


def edsr_layers(*, blocks: int, features: int, scale: int) -> list[tuple[int, int, int]]:
    """(channels in, channels out, output pixels per LR pixel) of each convolution; `scale` is 2, 3 or 4."""
    stages = [2, 2] if scale == 4 else [scale]
    layers = [(COLOURS, features, 1), *[(features, features, 1)] * (2 * blocks + 1)]
    side = 1
    for stage in stages:
        layers.append((features, features * stage**2, side**2))
        side *= stage
    return [*layers, (features, COLOURS, side**2)]


def edsr_parameters(*, blocks: int, features: int, scale: int) -> int:
    """How many numbers are trained."""
    layers = edsr_layers(blocks=blocks, features=features, scale=scale)
    return sum(num_in * num_out * KERNEL + num_out for num_in, num_out, _ in layers)


def edsr_crop_flops(side: int, *, blocks: int, features: int, scale: int) -> int:
    """Floating-point operations of one LR crop's forward and backward pass.

    A multiplication and an addition count as two; the backward pass is two forward passes (gradients of inputs and of
    weights), of which the first layer's of its input is not needed. Only convolutions are counted.
    """
    layers = edsr_layers(blocks=blocks, features=features, scale=scale)
    forward = [2 * num_in * num_out * KERNEL * pixels * side**2 for num_in, num_out, pixels in layers]
    return 3 * sum(forward) - forward[0]
