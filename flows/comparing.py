"""Who is compared and on what, from names that a user gives; everything that is wrong is said before work starts."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.models import open_any
from sr_core.compare.entrants import Entrant, line_up, problems_of
from sr_core.compare.run import Choice
from sr_core.compare.sets import Images, Wanted, gathered
from sr_core.errors import CheckpointError, ConfigError, SrError, listed
from sr_core.evaluate.learned import lpips_named
from sr_core.evaluate.perceptual import Judge, judge_named, pristine_of
from sr_core.params import GANS, Params
from sr_core.progress import QUIET, Progress
from sr_core.train.weights import LoadedModel, is_interpolation, read_card


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a user asked for; what is empty is as the parameters have it."""

    params: Params
    models: tuple[str, ...] = ()  # empty: all that are published for data.scale
    images: tuple[str, ...] = ()  # folders of test images; the validation images then only if they are asked for
    validation: bool = False  # the data set's validation images beside `images`
    protocol: str | None = None  # None: the usual one of each test set

    @property
    def directory(self) -> Path:
        """Where the comparison lies."""
        return Path(self.params.data.root) / "compare" / self.params.compare.name


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LineUp:
    """All that a comparison needs."""

    entrants: tuple[Entrant, ...]
    sets: tuple[Images, ...]
    choice: Choice


def lined_up(asked: Asked, *, say: Callable[[str], None] = print, progress: Progress = QUIET) -> LineUp:
    """Opens the models and the test images.

    Raises:
        ConfigError: lists every model and every test set that cannot be used.
        SrError: evaluate.niqe_model is no pristine model, or evaluate.lpips_weights are none of LPIPS.
    """
    params = asked.params
    names = asked.models or published(params)
    if not names:
        raise ConfigError(
            f"no model for x{params.data.scale} is published in {_models(params)}; train one (sr pipeline edsr), or "
            "name models: --model bicubic --model weights.pth --model models:/sr-edsr-x4-bicubic@champion"
        )
    opened, problems = _opened(names, params, say)
    problems += problems_of(opened)
    scale = opened[0][1].card.scale if opened else params.data.scale
    named = params.compare.degradations
    degradations = named or params.matrix.degradations
    found = gathered(
        Wanted(
            folders=asked.images or params.compare.images,
            scale=scale,
            degradations=degradations,
            optional=() if named else degradations,
            validation=asked.validation or (not asked.images and params.compare.validation),
            protocol=asked.protocol,
        ),
        params,
        progress=progress,
    )
    problems += found.problems
    if problems:
        raise ConfigError(f"nothing was compared, {len(problems)} wrong:{listed(problems)}")
    entrants = line_up(opened)
    judge, remarks = _judge(params, entrants, progress)
    choice = Choice(
        judge=judge,
        lpips=lpips_named(params),
        rounds=params.compare.rounds,
        num_pictures=params.compare.pictures,
        remarks=(*found.remarks, *remarks),
    )
    return LineUp(entrants=entrants, sets=found.sets, choice=choice)


def published(params: Params) -> tuple[str, ...]:
    """The model directories below data/models whose scale is data.scale, or whose card cannot be read."""
    found = sorted(path.parent for path in _models(params).glob("[!.]*/card.json"))
    return tuple(str(directory) for directory in found if _scale_of(directory) in {None, params.data.scale})


def _models(params: Params) -> Path:
    return Path(params.data.root) / "models"


def _scale_of(directory: Path) -> int | None:
    try:
        return read_card(directory).scale
    except CheckpointError:
        return None  # said when it is opened


def _opened(
    names: Sequence[str], params: Params, say: Callable[[str], None]
) -> tuple[list[tuple[str, LoadedModel]], list[str]]:
    """The models in the order of `names`, and a line about each that cannot be opened."""
    opened: dict[int, LoadedModel] = {}
    problems: dict[int, str] = {}
    # interpolation takes every scale: that of the others, which are opened first
    order = sorted(range(len(names)), key=lambda i: is_interpolation(names[i]))
    for i in order:
        scale = next((model.card.scale for model in opened.values()), params.data.scale)
        try:
            opened[i] = open_any(names[i], scale=scale, uri=params.track.uri, say=say)
        except SrError as error:
            problems[i] = str(error)
    return [(names[i], opened[i]) for i in sorted(opened)], [problems[i] for i in sorted(problems)]


def _judge(params: Params, entrants: Sequence[Entrant], progress: Progress) -> tuple[Judge | None, tuple[str, ...]]:
    """Who measures NIQE: by evaluate.niqe_model, or where a network was trained against a discriminator."""
    if params.evaluate.niqe_model is not None:
        return judge_named(params, progress=progress), ()
    if not any(entrant.loaded.card.model in GANS for entrant in entrants):
        return None, ()
    try:
        return Judge(pristine=pristine_of(params, progress=progress)), ()
    except SrError as error:
        return None, (f"NIQE was not measured: {error}",)
