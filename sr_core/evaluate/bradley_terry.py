"""Bradley-Terry strengths from pairs: P(i is liked better than j) = 1 / (1 + exp(s_j - s_i)).

The likelihood is maximised exactly, by Newton's method on the logarithms of strengths, where it is concave. Hunter 2004
("MM algorithms for generalized Bradley-Terry models") has when a maximum exists: from every model a chain of wins leads
to every other. A tie is half a win for both, so a strength tells the expected share of a pair. Strengths have mean 0.

Models between which there is no chain both ways have no finite strengths relative to each other: one won everything, or
they never met. They are put into groups, each with strengths of its own, and a remark says which and why.

Intervals are over raters. The votes of a rater go together, and a tie is less spread than a win and a loss, so the
inverse of the observed information would be wrong; it is wrapped around the raters' gradients instead (the sandwich
of Liang and Zeger 1986, in the jackknife's form, each rater left out once), with Student's t of as many degrees of
freedom as raters less one.

Shapes: M models, R raters.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sr_core.evaluate.student import interval_factor

Matrix = NDArray[np.float64]
MOST_STEPS = 200
NEAR = 1e-10
LONGEST = 2.0  # of a step: beyond it the information may be next to nothing


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """One pair: `share` of it went to `one` (1 won, 0.5 tie, 0 lost)."""

    rater: str
    one: str
    other: str
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Strength:
    """What pairs say of a model. Strengths are comparable within a `group` alone."""

    model: str
    strength: float | None  # natural logarithm, mean 0 in its group; None: alone in its group
    low: float | None  # the 95 % interval over raters; None: there is none
    high: float | None
    wins: int
    ties: int
    losses: int
    group: int  # 0: the group that nobody beats

    @property
    def share(self) -> float:
        """Of the pairs that it was in, which share it won, ties half."""
        return (self.wins + self.ties / 2) / (self.wins + self.ties + self.losses)

    def describe(self) -> str:
        """`+0.72 ± 0.31`, the strength alone, or `-`."""
        if self.strength is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.strength:+.2f}"
        return f"{self.strength:+.2f} ± {self.high - self.strength:.2f}"


def strengths(meetings: Sequence[Meeting]) -> tuple[tuple[Strength, ...], tuple[str, ...]]:
    """Every model's strength, best first, and in words which ones there are not."""
    if not meetings:
        return (), ()
    models = sorted({name for each in meetings for name in (each.one, each.other)})
    won = shares(meetings, models)
    groups = _groups(won)
    raters = {each.rater for each in meetings}
    fitted: dict[str, tuple[float, float | None]] = {}
    for members in groups:
        if len(members) > 1:
            fitted |= _fit_group(meetings, [models[i] for i in members])
    rows = [
        _row(meetings, models[i], number, fitted.get(models[i]))
        for number, members in enumerate(groups)
        for i in members
    ]
    rows.sort(key=lambda row: (row.group, -(row.strength or 0.0), row.model))
    remarks = _remarks(won, models, groups)
    if len(raters) == 1:
        remarks.append("pairs were judged by one rater alone, so no interval over raters is known")
    elif any(half is None for _, half in fitted.values()):
        remarks.append("without one of the raters not all strengths are finite, so their interval is not known")
    return tuple(rows), tuple(remarks)


def shares(meetings: Sequence[Meeting], models: Sequence[str]) -> Matrix:
    """(M, M): how many meetings the row's model won over the column's, ties half; of meetings among `models`."""
    index = {name: i for i, name in enumerate(models)}
    won = np.zeros((len(models), len(models)))
    for each in meetings:
        if each.one in index and each.other in index:
            i, j = index[each.one], index[each.other]
            won[i, j] += each.share
            won[j, i] += 1 - each.share
    return won


def fit(won: Matrix) -> Matrix:
    """(M, M) shares -> (M,) strengths with mean 0; the maximum must exist."""
    met = won + won.T
    strength: Matrix = np.zeros(len(won))
    likelihood = _log_likelihood(won, strength)
    for _ in range(MOST_STEPS):
        step = _solve(information(met, strength), won.sum(axis=1) - (met * _chances(strength)).sum(axis=1))
        step = step * min(1.0, LONGEST / (np.abs(step).max() + NEAR))
        while True:  # halved until it climbs: a whole step may overshoot far from the maximum
            found = _log_likelihood(won, strength + step)
            if found >= likelihood or np.abs(step).max() < NEAR:
                break
            step = step / 2
        strength, likelihood = strength + step, found
        if np.abs(step).max() < NEAR:
            break
    centred: Matrix = strength - strength.mean()
    return centred


def information(met: Matrix, strength: Matrix) -> Matrix:
    """(M, M) the observed information of strengths, of which only differences matter: rows sum to 0."""
    chances = _chances(strength)
    weights = met * chances * (1 - chances)
    result: Matrix = np.diag(weights.sum(axis=1)) - weights
    return result


def _chances(strength: Matrix) -> Matrix:
    """(M,) -> (M, M): the chance that the row's model is liked better than the column's."""
    chances: Matrix = np.exp(-np.logaddexp(0, strength[None, :] - strength[:, None]))
    return chances


def _log_likelihood(won: Matrix, strength: Matrix) -> float:
    return -float((won * np.logaddexp(0, strength[None, :] - strength[:, None])).sum())


def _solve(singular: Matrix, right: Matrix) -> Matrix:
    """The solution with mean 0 of an information matrix's equations."""
    level = float(np.trace(singular)) / len(singular) ** 2  # what is added moves all alike, whatever its size
    return np.asarray(np.linalg.solve(singular + level, right), np.float64)


def _fit_group(meetings: Sequence[Meeting], models: Sequence[str]) -> dict[str, tuple[float, float | None]]:
    """Strength and half of its interval for each of `models`, which a chain of wins joins both ways."""
    by_rater: dict[str, list[Meeting]] = {}
    for each in meetings:
        if each.one in models and each.other in models:
            by_rater.setdefault(each.rater, []).append(each)
    parts = [shares(own, models) for own in by_rater.values()]
    won = np.sum(parts, axis=0)
    strength = fit(won)
    halves = _halves(parts, won, strength)
    return {model: (float(strength[i]), None if halves is None else float(halves[i])) for i, model in enumerate(models)}


def _halves(parts: Sequence[Matrix], won: Matrix, strength: Matrix) -> Matrix | None:
    """(M,) half of each 95 % interval, from the raters' own shares; None where it cannot be told."""
    num = len(parts)
    if num < 2:
        return None
    chances, whole = _chances(strength), information(won + won.T, strength)
    variance: Matrix = np.zeros(len(strength))
    for part in parts:
        met = part + part.T
        gradient = part.sum(axis=1) - (met * chances).sum(axis=1)
        rest = whole - information(met, strength)
        if np.linalg.matrix_rank(rest, tol=1e-9 * float(np.trace(whole))) < len(rest) - 1:
            return None  # without this rater the models are not joined any more
        variance = (
            variance + _solve(rest, gradient) ** 2
        )  # by how much the strengths move without this rater, in one step
    halves: Matrix = interval_factor(num - 1) * np.sqrt((num - 1) / num * variance)
    return halves


def _row(meetings: Sequence[Meeting], model: str, group: int, fitted: tuple[float, float | None] | None) -> Strength:
    own = [each.share if each.one == model else 1 - each.share for each in meetings if model in (each.one, each.other)]
    strength, half = fitted or (None, None)
    return Strength(
        model=model,
        strength=strength,
        low=None if strength is None or half is None else strength - half,
        high=None if strength is None or half is None else strength + half,
        wins=own.count(1.0),
        ties=own.count(0.5),
        losses=own.count(0.0),
        group=group,
    )


def _groups(won: Matrix) -> list[list[int]]:
    """Models joined by chains of wins both ways; a group that beats another stands before it."""
    reaches = (won > 0) | np.eye(len(won), dtype=bool)
    for _ in range(math.ceil(math.log2(len(won))) + 1):
        reaches = reaches @ reaches
    groups: list[list[int]] = []
    for i in range(len(won)):
        members = np.flatnonzero(reaches[i] & reaches[:, i]).tolist()
        if members[0] == i:
            groups.append(members)
    return sorted(groups, key=lambda members: (-int(reaches[members[0]].sum()), members))


def _remarks(won: Matrix, models: Sequence[str], groups: Sequence[Sequence[int]]) -> list[str]:
    remarks = []

    def named(members: Sequence[int]) -> str:
        return ", ".join(models[i] for i in members)

    for number, better in enumerate(groups):
        for worse in groups[number + 1 :]:
            count = int(won[np.ix_(better, worse)].sum())
            if count:
                said = f"all {count} pairs" if count > 1 else "the only pair"
                remarks.append(
                    f"{named(better)} won {said} against {named(worse)}: no finite strength lies between them"
                )
    apart = _apart(won)
    if len(apart) > 1:
        sets = " | ".join(named(members) for members in apart)
        remarks.append(f"never compared, not even through others: {sets}")
    return remarks


def _apart(won: Matrix) -> list[list[int]]:
    """The groups that remain when every pair that met is joined."""
    return _groups(won + won.T)
