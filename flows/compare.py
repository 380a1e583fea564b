"""The flow `compare-models`: models x test sets x degradations in one table, with plots, pictures and a page.

    python -m flows.compare [--model … --model …] [--images FOLDER …] [--degradation …] [--name …]
    prefect deployment run compare-models --param 'models=["bicubic","models:/sr-edsr-x4-bicubic@champion"]'

Without --model all published models for data.scale take part, without --images the images of `compare` in the
parameters. What was found lies in data/compare/<name>, whatever becomes of its record in MLflow.
"""

import base64
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import running, versions
from flows.compare_run import log_comparison
from flows.comparing import Asked, lined_up
from flows.running import flow, task
from sr_core import config
from sr_core.compare import words
from sr_core.compare.page import reduced
from sr_core.compare.report import PAGE, Comparison, gallery_path
from sr_core.compare.run import compare_to
from sr_core.data.images import read_rgb
from sr_core.errors import SrError
from sr_core.launch_params import TrackParams

HOUR_S = 3600.0
WIDTH = 900  # of the picture in Prefect's artifact


# no retries: what fails here says what to change
@task(name="compare", timeout_seconds=12 * HOUR_S, **running.TASK)
def compare(asked: Asked) -> Comparison:
    """Measures, draws and writes the directory; leaves the table and a picture on Prefect's page of it."""
    with running.progress() as progress:
        lineup = lined_up(asked, say=running.output(), progress=progress)
        found = compare_to(asked.directory, lineup.entrants, lineup.sets, lineup.choice, progress=progress)
    key = "comparison-" + (re.sub(r"[^a-z0-9]+", "-", found.name.lower()).strip("-") or "models")
    running.table_artifact(key, _rows(found), "; ".join(words.protocol(found, on) for on in found.sets))
    running.markdown_artifact(f"{key}-page", _markdown(found, asked.directory), f"the page: {asked.directory / PAGE}")
    return found


def _rows(found: Comparison) -> list[dict[str, Any]]:
    heads = [" ".join(part for part in (column.head, column.unit) if part) for column in words.columns_of(found)]
    return [
        {"images": on.name, "model": row.model.label}
        | dict(zip(heads, (cell.text for cell in words.shown_cells(found, row)), strict=True))
        for on in found.sets
        for row in words.rows_of(found, on)
    ]


def _markdown(found: Comparison, directory: Path) -> str:
    """The table, and of the first test set the plot and the first picture."""
    on = found.sets[0]
    paths = {f"PSNR and size on {on.test_set}": directory / f"parameters-{on.name}.png"}
    if on.images:
        paths[on.images[0].image] = directory / gallery_path(on.name, on.images[0].image)
    pictures = [
        f"![{words.escaped(what)}](data:image/webp;base64,{base64.b64encode(reduced(read_rgb(path), WIDTH)).decode()})"
        for what, path in paths.items()
    ]
    return "\n\n".join([words.markdown(found), *pictures])


# the task's own tries: a server that is down must not cost the local result half a minute
@task(name="log", timeout_seconds=HOUR_S / 4, **running.TASK)
def log(found: Comparison, directory: Path, track: TrackParams) -> str:
    """Logs the comparison to MLflow; returns a sentence on it, also where that cannot be done."""
    try:
        return f"MLflow run {log_comparison(found, directory, track)} in the experiment {track.experiment}"
    except SrError as error:
        return f"not logged to MLflow: {error}"


@flow(name="compare-models")
def compare_models(
    models: tuple[str, ...] = (),
    images: tuple[str, ...] = (),
    degradations: tuple[str, ...] = (),
    validation: bool = False,
    name: str = "",
    params: str = "params.yaml",
    overrides: tuple[str, ...] = (),
) -> Path:
    """Models beside each other: figures with their protocol, size, speed, plots and pictures.

    Args:
        models: Paths, bicubic and its like, models:/name@alias, .onnx; none: all that are published for data.scale.
        images: Folders of test images; none: those of compare in the parameters.
        degradations: By which LR is made; none: those of compare, or of matrix, in the parameters.
        validation: The data set's validation images beside the folders of images.
        name: Of the folder below data/compare; none: compare.name in the parameters.
        params: The parameters' file, from the working directory.
        overrides: Changes to it, such as compare.rounds=10.
    """
    running.errors_in_one_sentence()
    changes = [f"compare.name={name}"] * bool(name)  # checked as all parameters are
    changes += [f"compare.degradations=[{', '.join(degradations)}]"] * bool(degradations)
    loaded = config.load(params, [*overrides, *changes])
    asked = Asked(
        params=loaded,
        models=tuple(models),
        images=tuple(images),
        validation=validation,
        protocol=config.changes(overrides).get("evaluate", {}).get("protocol"),
    )
    found = compare(asked)
    running.output()(log(found, asked.directory, loaded.track))
    if not (models or images or validation or changes):
        running.output()(_recorded(params, loaded, overrides))
    return asked.directory


def _recorded(path: str, loaded: config.Params, overrides: Sequence[str]) -> str:
    """Records the comparison in DVC, if it is the one that dvc.yaml describes; says what was done."""
    matrix = loaded.matrix
    first = [f"model.name={name}" for name in matrix.models[:1]]
    first += [f"data.degradation={name}" for name in matrix.degradations[:1]]
    if any(override.lstrip().startswith("compare") for override in overrides):
        return "not recorded in DVC: compare differs from params.yaml"
    return versions.record(path, config.load(path, [*overrides, *first]), ["compare"])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the flow without a server set up, and prints the table; returns the exit code."""
    parser = running.parser("flows.compare", "models beside each other, with plots, pictures and a page")
    for option, metavar, text in (
        ("--model", "MODEL", "a path, bicubic, models:/name@alias or .onnx (default: all published ones)"),
        ("--images", "FOLDER", "test images, as `evaluate --images` takes them"),
        ("--degradation", "NAME", "by which LR is made: bicubic, unknown or second_order"),
    ):
        parser.add_argument(option, action="append", default=[], metavar=metavar, help=f"{text}; may be repeated")
    parser.add_argument("--validation", action="store_true", help="the data set's validation images beside --images")
    parser.add_argument("--name", default="", help="of the folder below data/compare (default: compare.name)")
    given = parser.parse_args(argv)

    def call() -> None:
        directory = compare_models(
            tuple(given.model),
            tuple(given.images),
            tuple(given.degradation),
            given.validation,
            given.name,
            given.params,
            tuple(given.set),
        )
        from sr_core.compare.report import read_comparison

        Console().print(words.table(read_comparison(directory)))
        print(f"page: {directory / PAGE}")

    return running.run(given, call)


if __name__ == "__main__":
    sys.exit(main())
