"""In which order a rater sees pictures and pairs: random for each rater, balanced, and the same after a reload.

An order is a function of the rater's id, the seed and what there is to see. Whoever stops early has still seen every
model about equally often: orders go in rounds in which every model (or pair) comes once, each on another image, and
images are used up evenly. Of two pictures each model stands as often on the left as on the right. Over all rounds every
picture and every pair of an image comes exactly once.

Letters: M candidates, P images.
"""

import math
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from sr_core import files

MOST = 60  # pictures, and pairs, that one rater is asked for

Image = tuple[str, str]  # test set, name
Single = tuple[Image, str]  # and the candidate
Duel = tuple[Image, str, str]  # and the candidates on the left and on the right
T = TypeVar("T")


def singles(rater: str, seed: int, images: Sequence[Image], candidates: Sequence[str]) -> tuple[Single, ...]:
    """All M * P pictures; no image comes twice in a row where there is another."""
    draw = _draw("singles", rater, seed)
    order = [pair for part in _rounds(draw, images, candidates) for pair in _shuffled(draw, part)]
    return tuple(_spread(order))


def duels(rater: str, seed: int, images: Sequence[Image], candidates: Sequence[str]) -> tuple[Duel, ...]:
    """All M * (M - 1) / 2 * P pairs."""
    draw = _draw("duels", rater, seed)
    mixed = _shuffled(draw, candidates)
    turned = draw.random() < 0.5
    order: list[Duel] = []
    for number, part in enumerate(_rounds(draw, images, _tournament(draw, mixed))):
        for image, (one, other) in part:
            order.append((image, other, one) if turned ^ (number % 2 == 1) else (image, one, other))
    return tuple(order)


def _draw(kind: str, rater: str, seed: int) -> random.Random:
    return random.Random(int(files.digest_of([kind, rater, seed])[:16], 16))


def _shuffled(draw: random.Random, values: Sequence[T]) -> list[T]:
    return draw.sample(list(values), len(values))


def _rounds(draw: random.Random, images: Sequence[Image], values: Sequence[T]) -> Iterator[list[tuple[Image, T]]]:
    """P rounds: in each every value once. The i-th value gets the image i + offset: over the rounds every one."""
    shuffled, num = _shuffled(draw, images), len(images)
    cycle = num // math.gcd(num, len(values)) if values else 1
    for number in range(num):
        offset = number * len(values) + number // cycle  # goes on where the last round ended, and visits all
        yield [(shuffled[(i + offset) % num], value) for i, value in enumerate(values)]


def _spread(order: list[Single]) -> list[Single]:
    """`order` without neighbours of one image, as far as exchanging two helps; later places are tried first."""
    for i in range(1, len(order)):
        if order[i][0] == order[i - 1][0]:
            for k in (*range(i + 1, len(order)), *range(i - 1)):
                order[i], order[k] = order[k], order[i]
                if _stands_apart(order, i) and _stands_apart(order, k):
                    break
                order[i], order[k] = order[k], order[i]
    return order


def _stands_apart(order: Sequence[Single], place: int) -> bool:
    """Whether the neighbours show other images."""
    before = place == 0 or order[place - 1][0] != order[place][0]
    return before and (place + 1 == len(order) or order[place + 1][0] != order[place][0])


def _tournament(draw: random.Random, candidates: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs by the circle method: days on which every candidate plays once (or rests), and who stands first.

    First stands whoever the shorter way around the circle leads from, so that of all pairs each candidate is first in
    half of them, give or take one.
    """
    num = len(candidates) + len(candidates) % 2  # an odd number gets one who rests
    ring = list(range(num))
    days = []
    for _ in range(num - 1):
        days.append([(ring[i], ring[-1 - i]) for i in range(num // 2)])
        ring = [ring[0], ring[-1], *ring[1:-1]]
    pairs = []
    for day in _shuffled(draw, days):
        for i, j in _shuffled(draw, day):
            if max(i, j) < len(candidates):
                pairs.append(
                    (candidates[i], candidates[j])
                    if _is_first(i, j, len(candidates))
                    else (candidates[j], candidates[i])
                )
    return pairs


def _is_first(i: int, j: int, num: int) -> bool:
    ahead = (j - i) % num
    return ahead * 2 < num or (ahead * 2 == num and i < j)
