"""What people say of pictures: mean opinion scores, and strengths from pairs seen side by side.

The test is that of Ledig et al. 2017 ("Photo-Realistic Single Image Super-Resolution Using a GAN", section 3.4): raters
score single pictures from 1 (bad) to 5 (excellent), among them nearest neighbour and the original, without being told
which is which. Pairs are the other half: of two pictures of one image the better one, or neither.

A mean opinion score is the mean of all votes. Its 95 % interval is over raters, for the votes of one rater go together:
it is the jackknife's, from how far the mean moves when each rater is left out once, with Student's t of as many degrees
of freedom as raters less one. Where every rater scored every image it is exactly the t-interval of the raters' means.
It says where the mean of other raters would lie on the same images, as the PSNR beside it is of these images.
`benchmarks/opinions.py` counts how often such intervals hold the truth.

`bradley_terry` has how strengths are found, and their intervals. Votes on different test sets are never mixed.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from sr_core.errors import SrError
from sr_core.evaluate import bradley_terry
from sr_core.evaluate.bradley_terry import Meeting, Strength
from sr_core.evaluate.student import interval_factor

LOWEST, HIGHEST = 1, 5
SCALE = {1: "bad", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}  # ITU-R BT.500's words
CHOICES = ("left", "tie", "right")
HR, NEAREST, BICUBIC = "hr", "nearest", "bicubic"  # candidates that are no networks

Choice = Literal["left", "tie", "right"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What one rater thinks of one picture: 1 (bad) to 5 (excellent)."""

    rater: str
    test_set: str  # with scale and degradation: Set5-x4-bicubic
    image: str
    model: str
    score: int

    def __post_init__(self) -> None:
        if type(self.score) is not int or self.score not in SCALE:  # True and 4.0 are in it
            raise SrError(f"score is {self.score!r}, expected a whole number from {LOWEST} (bad) to {HIGHEST}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Which of two pictures of one image a rater likes better."""

    rater: str
    test_set: str
    image: str
    left: str  # the model whose picture stood on the left
    right: str
    choice: Choice

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise SrError(f"choice is {self.choice!r}, expected one of {', '.join(CHOICES)}")
        if self.left == self.right:
            raise SrError(f"left and right are both {self.left}, expected two models")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeanOpinion:
    """The mean opinion score of a model on a test set, with its 95 % interval over raters."""

    model: str
    mean: float
    low: float | None  # None: there is no interval, `Opinions.remarks` says why
    high: float | None
    num_votes: int
    num_raters: int
    num_images: int

    def describe(self) -> str:
        """`3.72 ± 0.11`, or the mean alone; where an end is cut at the scale's, `4.90 (4.71 to 5.00)`."""
        if self.low is None or self.high is None:
            return f"{self.mean:.2f}"
        if math.isclose(self.high - self.mean, self.mean - self.low, abs_tol=1e-9):
            return f"{self.mean:.2f} ± {self.high - self.mean:.2f}"
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Opinions:
    """All that people said on one test set."""

    test_set: str
    means: tuple[MeanOpinion, ...]  # best first
    strengths: tuple[Strength, ...]  # best first
    remarks: tuple[str, ...]  # which figures there are not, and why
    num_raters: int

    def mean(self, model: str) -> MeanOpinion | None:
        """The mean opinion score of `model`; None: nobody scored it."""
        return next((each for each in self.means if each.model == model), None)

    def strength(self, model: str) -> Strength | None:
        """What pairs say of `model`; None: it was in none."""
        return next((each for each in self.strengths if each.model == model), None)


def summarise(scores: Iterable[Score], pairs: Iterable[Pair]) -> tuple[Opinions, ...]:
    """Mean opinion scores and strengths for each test set that has votes, by its name."""
    scores, pairs = tuple(scores), tuple(pairs)
    names = {score.test_set for score in scores} | {pair.test_set for pair in pairs}
    return tuple(
        _summarise_one(
            name,
            [score for score in scores if score.test_set == name],
            [pair for pair in pairs if pair.test_set == name],
        )
        for name in sorted(names)
    )


def _summarise_one(test_set: str, scores: Sequence[Score], pairs: Sequence[Pair]) -> Opinions:
    means = sorted(mean_opinions(scores), key=lambda each: (-each.mean, each.model))
    strengths, remarks = bradley_terry.strengths([_meeting(pair) for pair in pairs])
    return Opinions(
        test_set=test_set,
        means=tuple(means),
        strengths=strengths,
        remarks=(*_missing_intervals(means), *remarks),
        num_raters=len({score.rater for score in scores} | {pair.rater for pair in pairs}),
    )


def mean_opinions(scores: Iterable[Score]) -> tuple[MeanOpinion, ...]:
    """The mean opinion score of every model in `scores`, by its name; intervals are cut at the scale's ends."""
    by_model: dict[str, list[Score]] = {}
    for score in scores:
        by_model.setdefault(score.model, []).append(score)
    return tuple(_mean_opinion(model, by_model[model]) for model in sorted(by_model))


def _mean_opinion(model: str, scores: Sequence[Score]) -> MeanOpinion:
    values = np.array([score.score for score in scores], np.float64)
    raters, rater_of = np.unique([score.rater for score in scores], return_inverse=True)
    mean = float(values.mean())
    deviations = np.bincount(rater_of, weights=values - mean)  # of each rater, summed over votes
    low = high = None
    if len(raters) > 1 and not np.allclose(deviations, 0):
        moves = deviations / (len(values) - np.bincount(rater_of))  # of the mean, where this rater is left out
        variance = (len(raters) - 1) / len(raters) * float(moves @ moves)
        half = interval_factor(len(raters) - 1) * math.sqrt(variance)
        low, high = max(mean - half, LOWEST), min(mean + half, HIGHEST)
    return MeanOpinion(
        model=model,
        mean=mean,
        low=low,
        high=high,
        num_votes=len(values),
        num_raters=len(raters),
        num_images=len({score.image for score in scores}),
    )


def _missing_intervals(means: Sequence[MeanOpinion]) -> list[str]:
    alone = [each.model for each in means if each.num_raters == 1]
    alike = [each.model for each in means if each.num_raters > 1 and each.low is None]
    remarks = [f"{', '.join(alone)}: scored by one rater alone, so no interval over raters is known"] if alone else []
    if alike:
        remarks.append(f"{', '.join(alike)}: the raters' means are all alike, so no interval over raters is known")
    return remarks


def _meeting(pair: Pair) -> Meeting:
    share = {"left": 1.0, "tie": 0.5, "right": 0.0}[pair.choice]
    return Meeting(rater=pair.rater, one=pair.left, other=pair.right, share=share)
