"""Whether 95 % intervals of opinions hold the truth in 95 % of tests, with raters simulated from known strengths.

    python benchmarks/opinions.py [--trials 400] [--raters 5 10 26]

Six candidates on 14 images, as many as Set14 has. Raters are strict or generous, like some candidates more than others
do, see images in the orders of the vote page, and stop when they like (after 12 to 60 answers). Scores are rounded to 1
to 5; pairs are ties in up to half of the cases. The truth is what 20,000 such raters say of everything. Counted are the
intervals that hold it, over all candidates and trials, and how often all candidates stand in their true order. Last
line: `coverage: <figure>` (the mean of scores' and pairs' with the most raters; limit: 0.93 to 0.97).
"""

import argparse
import dataclasses
import sys

import numpy as np
from numpy.typing import NDArray

from serving.opinions import order
from sr_core.evaluate import bradley_terry
from sr_core.evaluate.opinions import Choice, Opinions, Pair, Score, summarise

Array = NDArray[np.float64]
MODELS = tuple(f"m{i}" for i in range(6))
IMAGES = tuple(("set", f"i{i}") for i in range(14))
QUALITY = np.array([1.6, 2.3, 2.9, 3.2, 3.8, 4.6])  # before rounding, from 1 to 5
STRENGTH = np.array([-1.6, -0.9, -0.2, 0.3, 0.8, 1.6])
TIES = 1.0  # P(tie) = TIES * 2 p (1 - p), half of all pairs of equals
MANY = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """What decides raters' answers; R raters, M candidates, P images."""

    generosity: Array  # (R,)
    taste: Array  # (R, M)
    look: Array  # (P, M) how a candidate does on an image

    def expected(self, rater: int, image: int) -> Array:
        """(M,) what the rater thinks of the candidates on this image, before noise."""
        return QUALITY + self.generosity[rater] + self.taste[rater] + self.look[image]

    def strengths(self, rater: int, image: int) -> Array:
        """(M,)"""
        return STRENGTH + self.taste[rater] + self.look[image]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """(M,) each."""

    means: Array
    strengths: Array


def crowd(rng: np.random.Generator, num_raters: int, look: Array) -> Crowd:
    """Raters drawn at random."""
    generosity, taste = rng.normal(0, 0.5, num_raters), rng.normal(0, 0.4, (num_raters, len(MODELS)))
    return Crowd(generosity=generosity, taste=taste, look=look)


def rounded(values: Array) -> Array:
    """What is clicked."""
    return np.floor(values + 0.5).clip(1, 5)


def truth(rng: np.random.Generator, look: Array) -> Truth:
    """What very many raters say on these images."""
    many = crowd(rng, MANY, look)
    means, won = np.zeros(len(MODELS)), np.zeros((len(MODELS), len(MODELS)))
    for image in range(len(IMAGES)):
        thought = QUALITY + many.generosity[:, None] + many.taste + look[image]
        means += rounded(thought + rng.normal(0, 0.6, thought.shape)).mean(axis=0) / len(IMAGES)
        strength = STRENGTH + many.taste + look[image]
        won += (1 / (1 + np.exp(strength[:, None, :] - strength[:, :, None]))).mean(axis=0)
    np.fill_diagonal(won, 0)
    return Truth(means=means, strengths=bradley_terry.fit(won))


def votes(rng: np.random.Generator, people: Crowd) -> Opinions:
    """One test: all raters answer in their own order and stop when they like."""
    index = {model: i for i, model in enumerate(MODELS)}
    scores, pairs = [], []
    for rater in range(len(people.generosity)):
        name, seed = f"r{rater}", int(rng.integers(1 << 30))
        for image, model in order.singles(name, seed, IMAGES, MODELS)[: rng.integers(12, 61)]:
            thought = people.expected(rater, IMAGES.index(image))[index[model]] + rng.normal(0, 0.6)
            score = int(rounded(np.array(thought)))
            scores.append(Score(rater=name, test_set="set", image=image[1], model=model, score=score))
        for image, left, right in order.duels(name, seed, IMAGES, MODELS)[: rng.integers(12, 61)]:
            strength = people.strengths(rater, IMAGES.index(image))
            choice = choose(rng, float(strength[index[left]] - strength[index[right]]))
            pairs.append(Pair(rater=name, test_set="set", image=image[1], left=left, right=right, choice=choice))
    return summarise(scores, pairs)[0]


def choose(rng: np.random.Generator, ahead: float) -> Choice:
    """An answer whose expected share (a tie is a half) is the logistic function of `ahead`."""
    chance = 1 / (1 + np.exp(-ahead))
    tie = TIES * 2 * chance * (1 - chance) / 2
    drawn = rng.random()
    return "tie" if drawn < 2 * tie else "left" if drawn < tie + chance else "right"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Over all trials: the share of intervals that hold the truth, and of trials in the true order."""

    means: float
    strengths: float
    order_of_means: float
    order_of_strengths: float


def simulate(num_trials: int, num_raters: int, seed: int = 1) -> Held:
    """Many tests with raters of their own, on the same images."""
    rng = np.random.default_rng([seed, num_raters])
    look = rng.normal(0, 0.3, (len(IMAGES), len(MODELS)))
    true = truth(rng, look)
    means, strengths, orders = [], [], []
    for _ in range(num_trials):
        said = votes(rng, crowd(rng, num_raters, look))
        for model, mean, strength in zip(MODELS, true.means, true.strengths, strict=True):
            scored, judged = said.mean(model), said.strength(model)
            if scored and scored.low is not None and scored.high is not None:
                means.append(scored.low <= mean <= scored.high)
            if judged and judged.low is not None and judged.high is not None:
                strengths.append(judged.low <= strength <= judged.high)
        best = [tuple(MODELS[i] for i in np.argsort(-values)) for values in (true.means, true.strengths)]
        found = [tuple(each.model for each in rows) for rows in (said.means, said.strengths)]
        orders.append([one == other for one, other in zip(best, found, strict=True)])
    in_order = np.mean(orders, axis=0)
    return Held(
        means=float(np.mean(means)),
        strengths=float(np.mean(strengths)),
        order_of_means=float(in_order[0]),
        order_of_strengths=float(in_order[1]),
    )


def main() -> None:
    """Prints a line for each number of raters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--raters", type=int, nargs="+", default=[5, 10, 26])
    given = parser.parse_args()
    for num_raters in given.raters:
        held = simulate(given.trials, num_raters)
        print(
            f"{num_raters} raters, {given.trials} trials: intervals hold the truth in {held.means:.1%} (scores), "
            f"{held.strengths:.1%} (pairs); true order in {held.order_of_means:.0%}, {held.order_of_strengths:.0%}"
        )
    figure = (held.means + held.strengths) / 2
    print(f"coverage: {figure:.3f}")
    if not 0.93 <= figure <= 0.97:
        sys.exit("expected 0.93 to 0.97")


if __name__ == "__main__":
    main()
