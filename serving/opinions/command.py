"""What people said of a comparison's pictures: read from the votes, as a table, as a file.

sr opinions                               # of the comparison that was voted on last
sr opinions mine --export votes.csv       # every vote, also .json; python -m serving.opinions.command mine …
sr opinions mine --pictures 1a2b3c4d      # what was said before the models were compared anew
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.opinions.page import COMPARISONS, OPINIONS
from serving.opinions.stimuli import Stimuli
from serving.opinions.table import as_table, figures_of
from serving.opinions.votes import Held, Votes, path_of
from sr_core.errors import SrError
from sr_core.evaluate.opinions import Opinions, summarise
from sr_core.files import write_atomic


def opinions_on(directory: Path, opinions: Path = OPINIONS) -> tuple[Opinions, ...]:
    """What people said of the pictures that are in the comparison's `directory` now; empty: nobody voted.

    Raises:
        SrError: the votes or the pictures cannot be read.
    """
    votes = Votes(path=path_of(opinions, directory.name))
    if not votes.path.exists():
        return ()
    digest = Stimuli(directory).digest
    return summarise(votes.scores(digest), votes.pairs(digest))


def main(arguments: Sequence[str] | None = None) -> int:
    """`sr opinions`: prints what the votes say, or writes them to a file; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.opinions.command", description="What people say of models."
    )
    parser.add_argument("name", nargs="?", help="the comparison (default: the one that was voted on last)")
    parser.add_argument("--compare", type=Path, default=COMPARISONS, metavar="FOLDER", help="where comparisons lie")
    parser.add_argument("--opinions", type=Path, default=OPINIONS, metavar="FOLDER", help="where votes are kept")
    parser.add_argument(
        "--pictures", metavar="DIGEST", help="of which state of the pictures (default: as they are now)"
    )
    parser.add_argument("--export", type=Path, metavar="FILE", help="write every vote to FILE.csv or FILE.json")
    given = parser.parse_args(arguments)
    try:
        votes = _votes(given.opinions, given.name)
        if given.export is not None:
            _export(votes, given.export)
        else:
            _show(votes, given.compare / votes.path.stem, given.pictures)
    except SrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _votes(opinions: Path, name: str | None) -> Votes:
    found = sorted(opinions.glob("*.db"), key=lambda path: path.stat().st_mtime_ns)
    if name is not None and path_of(opinions, name) in found:
        return Votes(path=path_of(opinions, name))
    if name is None and found:
        return Votes(path=found[-1])
    known = ", ".join(sorted(path.stem for path in found)) or "none yet"
    raise SrError(f"{opinions}: has no votes on {name or 'any comparison'}, there are: {known}; vote with: sr vote")


def _export(votes: Votes, path: Path) -> None:
    texts = {".csv": votes.as_csv, ".json": votes.as_json}
    if path.suffix not in texts:
        raise SrError(f"--export: {path} ends in neither .csv nor .json")
    write_atomic(path, texts[path.suffix]())
    print(f"{path}: {sum(each.num_scores + each.num_pairs for each in votes.held())} votes")


def _show(votes: Votes, directory: Path, pictures: str | None) -> None:
    from rich.console import Console

    held = votes.held()
    digest = _digest(held, directory, pictures)
    console = Console()
    for said in summarise(votes.scores(digest), votes.pairs(digest)):
        console.print(as_table(said, figures_of(directory)))
    if digest not in {each.comparison for each in held}:
        print(f"{directory.name}: nobody has voted on these pictures yet ({digest[:8]})")
    for each in held:
        if each.comparison != digest:
            count = each.num_scores + each.num_pairs
            print(f"{count} votes on other pictures are kept apart: --pictures {each.comparison[:8]} (to {each.last})")


def _digest(held: Sequence[Held], directory: Path, pictures: str | None) -> str:
    """The pictures that are meant: as asked, as they are now, or, where they are gone, as they were last voted on."""
    known = [each.comparison for each in held]
    if pictures is not None:
        matching = [digest for digest in known if digest.startswith(pictures)]
        if len(matching) != 1:
            listed = ", ".join(digest[:8] for digest in known) or "none"
            raise SrError(f"--pictures: {pictures} fits {len(matching)} of those with votes: {listed}")
        return matching[0]
    if directory.is_dir() or not known:
        return Stimuli(directory).digest
    print(f"{directory}: is not there, so these are the pictures that were last voted on")
    return known[0]


if __name__ == "__main__":
    sys.exit(main())
