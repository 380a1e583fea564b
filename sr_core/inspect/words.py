"""A survey as a report."""

from collections import Counter
from collections.abc import Sequence

from sr_core.data.pairs import SPLITS
from sr_core.errors import shown
from sr_core.inspect.report import Report, Section
from sr_core.inspect.survey import Photograph, Survey
from sr_core.progress import size_text


def report_of(survey: Survey) -> Report:
    """All of `survey` that words can say."""
    return Report(
        title=f"Data set {shown(survey.name)}",
        place=shown(survey.raw),
        facts=_facts(survey),
        sections=(_photographs(survey), _shards(survey), _tracks(survey)),
        remarks=tuple(_remarks(survey)),
        problems=survey.problems,
    )


def _facts(survey: Survey) -> dict[str, str]:
    found = {
        "images to train on": str(len(survey.photographs["train"])),
        "images for validation": str(len(survey.photographs["valid"])),
        "photographs on disk (HR files)": size_text(survey.raw_bytes),
    }
    if survey.members:
        name = f"shards of x{survey.params.scale} {survey.params.degradation}, estimated"
        found[name] = size_text(survey.shard_bytes)
        found["stored / raw pixels, 3 at most"] = f"{survey.members[0].stored_per_raw:.2f}"
    return found | {"data version": survey.version[:12] or "not built yet"}


def _photographs(survey: Survey) -> Section:
    splits = [split for split in SPLITS if survey.photographs[split]]
    columns = [_column(survey.photographs[split]) for split in splits]
    lines = tuple((name, *(column[name] for column in columns)) for name in (columns[0] if columns else ()))
    return Section(title="Photographs", head=("", *splits), lines=lines)


def _column(photographs: Sequence[Photograph]) -> dict[str, str]:
    by_size = sorted(photographs, key=lambda each: each.pixels)
    three = {"smallest": by_size[0], "median": by_size[len(by_size) // 2], "largest": by_size[-1]}
    return {
        "images": str(len(by_size)),
        **{name: f"{each.header.width}x{each.header.height}, {_mega(each.pixels)}" for name, each in three.items()},
        "together": _mega(sum(each.pixels for each in by_size)),
        "modes": _counted([each.header.mode for each in by_size]),
        "formats": _counted([each.header.format for each in by_size]),
        "on disk": size_text(sum(each.bytes for each in by_size)),
    }


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.2f} megapixels"


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {num}" for name, num in Counter(names).most_common())


def _shards(survey: Survey) -> Section:
    lines = []
    for member in survey.members:
        patches = f"{member.count} patches {member.patch}x{member.patch}"
        held = patches if member.patch else f"{member.count} whole images"
        lines.append((member.name, held, size_text(member.bytes), f"{member.stored_per_raw:.2f}"))
    head = ("directory", "holds (HR pixels)", "on disk", "stored / raw")
    return Section(title="Shards to be, estimated", head=head, lines=tuple(lines))


def _tracks(survey: Survey) -> Section:
    needed = survey.params.tracks
    lines = ((track, "yes" if track in needed else "", origin) for track, origin in survey.origins.items())
    return Section(title="Degradations", head=("track", "wanted", "LR images"), lines=tuple(lines))


def _remarks(survey: Survey) -> list[str]:
    lines = []
    if survey.assumed:
        lines.append(f"estimated for {survey.assumed}")
    if survey.to_fetch:
        total = sum(archive.bytes for archive in survey.to_fetch)
        names = ", ".join(archive.name for archive in survey.to_fetch)
        lines.append(f"`python -m sr_core fetch` brings {len(survey.to_fetch)} archives, {size_text(total)}: {names}")
    if survey.ignored:
        ignored = ", ".join(f"{num} {suffix or 'without a suffix'}" for suffix, num in survey.ignored.items())
        lines.append(f"not looked at, as their suffix is no image's: {ignored}")
    every = [each for split in SPLITS for each in survey.photographs[split]]
    if profiles := sum(each.header.has_profile for each in every):
        lines.append(f"{profiles} images carry a colour profile, which is not applied")
    if survey.no_version:
        lines.append(f"no data version: {survey.no_version}")
    return lines
