"""What the page of a blind test asks, and what it is answered: JSON in, JSON out, without knowing of Gradio.

    hello     how much there is to do, and how much of it this rater has done
    examples  pictures that are a 1 and a 5, before scores
    next      the next picture or pair that this rater has not judged
    vote      stores an answer, and is answered like next
    results   ends this rater's voting, and tells what is known of the models

The server keeps nothing of a rater in memory: what comes next follows from the rater's id and the stored votes, so a
reload, a second server or a restarted one goes on where the rater was. No answer but that to `results` holds a name of
a model or an image.
"""

import base64
import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from serving.opinions import table
from serving.opinions.order import MOST, Image, duels, singles
from serving.opinions.stimuli import Comparisons, Stimuli
from serving.opinions.votes import Votes, path_of
from sr_core import files
from sr_core.errors import SrError
from sr_core.evaluate.opinions import HIGHEST, HR, LOWEST, NEAREST, Choice, Pair, Score, summarise

Kind = Literal["scores", "pairs"]
KINDS: tuple[Kind, ...] = ("scores", "pairs")
NUM_EXAMPLES = 2

Answer = dict[str, Any]  # JSON for the page


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing to judge: a candidate's picture of an image, or two candidates' (left, right)."""

    image: Image
    candidates: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One rater before one comparison's pictures."""

    rater: str
    stimuli: Stimuli
    votes: Votes


class RefusedError(SrError):
    """A request that the page does not make by itself."""


class Handler:
    """Answers the page's requests; safe to be used by several threads."""

    def __init__(
        self, comparisons: Path, opinions: Path, *, name: str | None = None, seed: int = 1, most: int = MOST
    ) -> None:
        self._comparisons, self._opinions = Comparisons(comparisons, name), opinions
        self._seed, self._most = seed, most
        self._broken: set[tuple[str, Image]] = set()  # digest and image: cannot be shown, said once

    def answer(self, request: object) -> Answer:
        """The answer to any request; of a mistake {"error": a sentence for the rater}. Raises nothing."""
        try:
            asked = request if isinstance(request, Mapping) else {}
            verbs: Mapping[str, Callable[[Session, Mapping[str, Any]], Answer]] = {
                "hello": self._hello,
                "examples": self._examples,
                "next": self._next,
                "vote": self._vote,
                "results": self._results,
            }
            verb = verbs.get(str(asked.get("do")))
            if verb is None:
                raise RefusedError(f"do is {asked.get('do')!r}, expected one of {', '.join(verbs)}")
            return verb(self._session(asked), asked)
        except RefusedError as error:
            return {"error": str(error)}
        except (SrError, OSError) as error:
            # the sentence may name files, and these the models: it is for whoever runs the server
            print(f"vote page: {error}", file=sys.stderr, flush=True)
            return {"error": "There is nothing to judge now, or it cannot be stored. The server's log says why."}

    def _session(self, asked: Mapping[str, Any]) -> Session:
        rater = asked.get("rater")
        if not isinstance(rater, str) or not re.fullmatch("[0-9a-f]{32}", rater):
            raise RefusedError("rater is not valid, expected 32 hexadecimal digits: reload the page")
        stimuli = self._comparisons.stimuli()
        path = path_of(self._opinions, stimuli.directory.name)
        return Session(rater=rater, stimuli=stimuli, votes=Votes(path=path))

    def _hello(self, session: Session, asked: Mapping[str, Any]) -> Answer:
        del asked
        counts = {kind: self._counts(session, kind, _done(session, kind)) for kind in KINDS}
        return {"counts": counts, "informed": session.votes.is_informed(session.rater, session.stimuli.digest)}

    def _examples(self, session: Session, asked: Mapping[str, Any]) -> Answer:
        del asked
        stimuli = session.stimuli
        best = [HR] if HR in stimuli.candidates else []
        shown = []
        usable = [image for image in stimuli.images if (stimuli.digest, image) not in self._broken]
        for image in usable[:NUM_EXAMPLES]:
            pictures = {candidate: _url(stimuli.example(image, candidate)) for candidate in (NEAREST, *best)}
            shown += [{"score": LOWEST, "picture": pictures[NEAREST]}]
            shown += [{"score": HIGHEST, "picture": pictures[HR]} for _ in best]
        return {"examples": shown}

    def _next(self, session: Session, asked: Mapping[str, Any]) -> Answer:
        kind = _kind(asked)
        if session.votes.is_informed(session.rater, session.stimuli.digest):
            raise RefusedError("You have seen the results, so your voting has ended. Thank you!")
        done = _done(session, kind)
        for number, item in enumerate(self._plan(session, kind)):
            if item in done or self._is_broken(session, item):
                continue
            try:
                pictures = [_url(session.stimuli.shown(item.image, candidate)) for candidate in item.candidates]
            except SrError as error:
                self._broken.add((session.stimuli.digest, item.image))
                print(f"vote page: {error}; it is left out", file=sys.stderr, flush=True)
                continue
            token = f"{self._plan_id(session, kind)}-{number}"
            return {"token": token, "pictures": pictures, **self._counts(session, kind, done)}
        return {"finished": True, **self._counts(session, kind, done)}

    def _vote(self, session: Session, asked: Mapping[str, Any]) -> Answer:
        kind = _kind(asked)
        if session.votes.is_informed(session.rater, session.stimuli.digest):
            raise RefusedError("You have seen the results, so your voting has ended. Thank you!")
        item = self._item(session, kind, asked.get("token"))
        if kind == "scores":
            _store_score(session, item, asked.get("answer"))
        else:
            _store_pair(session, item, asked.get("answer"))
        return self._next(session, asked)

    def _results(self, session: Session, asked: Mapping[str, Any]) -> Answer:
        del asked
        held, digest = session.votes, session.stimuli.digest
        if not held.scores(digest, rater=session.rater) and not held.pairs(digest, rater=session.rater):
            raise RefusedError("Results are shown to whoever has voted: knowing them would change the votes.")
        held.inform(session.rater, digest)
        said = summarise(held.scores(digest), held.pairs(digest))
        return {"results": table.as_html(said, table.figures_of(session.stimuli.directory))}

    def _plan(self, session: Session, kind: Kind) -> tuple[Item, ...]:
        stimuli = session.stimuli
        order = (session.rater, self._seed, stimuli.images)
        if kind == "scores":
            items = [Item(image=a, candidates=(b,)) for a, b in singles(*order, stimuli.candidates)]
        else:
            items = [Item(image=a, candidates=(b, c)) for a, b, c in duels(*order, stimuli.models)]
        return tuple(items[: self._most])

    def _counts(self, session: Session, kind: Kind, done: set[Item]) -> Answer:
        plan = [item for item in self._plan(session, kind) if item in done or not self._is_broken(session, item)]
        return {"done": sum(item in done for item in plan), "of": len(plan)}

    def _is_broken(self, session: Session, item: Item) -> bool:
        return (session.stimuli.digest, item.image) in self._broken

    def _plan_id(self, session: Session, kind: Kind) -> str:
        """Changes with everything by which an item's number would mean another one."""
        plan = [[*item.image, *item.candidates] for item in self._plan(session, kind)]
        return files.digest_of([session.rater, session.stimuli.digest, kind, plan])[:16]

    def _item(self, session: Session, kind: Kind, token: object) -> Item:
        plan = self._plan(session, kind)
        plan_id, _, number = str(token).partition("-")
        if plan_id != self._plan_id(session, kind) or number not in map(str, range(len(plan))):
            raise RefusedError("The pictures have changed meanwhile, and this vote was not counted: reload the page.")
        return plan[int(number)]


def _kind(asked: Mapping[str, Any]) -> Kind:
    kind = asked.get("kind")
    if kind not in KINDS:
        raise RefusedError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    return kind  # type: ignore[no-any-return]


def _done(session: Session, kind: Kind) -> set[Item]:
    """What the rater has judged, a pair in both orders."""
    digest, rater = session.stimuli.digest, session.rater
    if kind == "scores":
        scores = session.votes.scores(digest, rater=rater)
        return {Item(image=(each.test_set, each.image), candidates=(each.model,)) for each in scores}
    pairs = session.votes.pairs(digest, rater=rater)
    return {
        Item(image=(each.test_set, each.image), candidates=both)
        for each in pairs
        for both in ((each.left, each.right), (each.right, each.left))
    }


def _store_score(session: Session, item: Item, answer: object) -> None:
    (test_set, image), (model,) = item.image, item.candidates
    try:
        vote = Score(rater=session.rater, test_set=test_set, image=image, model=model, score=answer)  # type: ignore[arg-type]
    except SrError as error:
        raise RefusedError(str(error)) from None
    session.votes.add_score(vote, comparison=session.stimuli.digest, weights=session.stimuli.weights(model))


def _store_pair(session: Session, item: Item, answer: object) -> None:
    (test_set, image), (left, right) = item.image, item.candidates
    choice: Choice = answer  # type: ignore[assignment]
    try:
        vote = Pair(rater=session.rater, test_set=test_set, image=image, left=left, right=right, choice=choice)
    except SrError as error:
        raise RefusedError(str(error)) from None
    weights = session.stimuli.weights
    session.votes.add_pair(
        vote, comparison=session.stimuli.digest, left_weights=weights(left), right_weights=weights(right)
    )


def _url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
