"""A survey in words: the same tables for the terminal and for the page."""

from collections import Counter
from collections.abc import Sequence

from sr_core.data.pairs import SPLITS
from sr_core.inspect.survey import Photograph, Survey
from sr_core.progress import size_text

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]  # head, lines


def split_rows(survey: Survey) -> Rows:
    """A line on the photographs of each split."""
    head = ("split", "images", "smallest", "median", "largest", "megapixels", "modes", "formats", "on disk")
    lines = [_split_row(split, survey.photographs[split]) for split in SPLITS if survey.photographs[split]]
    return head, lines


def _split_row(split: str, photographs: Sequence[Photograph]) -> tuple[str, ...]:
    by_size = sorted(photographs, key=lambda each: each.pixels)
    three = (by_size[0], by_size[len(by_size) // 2], by_size[-1])
    total = sum(each.pixels for each in by_size)
    return (
        split,
        str(len(by_size)),
        *(f"{each.header.width}x{each.header.height}" for each in three),
        " / ".join(f"{each.pixels / 1e6:.2f}" for each in three) + f", all {total / 1e6:.1f}",
        _counted([each.header.mode for each in by_size]),
        _counted([each.header.format for each in by_size]),
        size_text(sum(each.bytes for each in by_size)),
    )


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {num}" for name, num in Counter(names).most_common())


def member_rows(survey: Survey) -> Rows:
    """A line on each directory of shards that would be built."""
    head = ("shards", "hold", "estimated", "HR pixels stored per pixel")
    lines: list[tuple[str, ...]] = []
    for member in survey.members:
        patches = f"{member.count} patches of {member.patch}x{member.patch}"
        held = patches if member.patch else f"{member.count} whole images"
        lines.append((member.name, held, size_text(member.bytes), f"{member.stored_per_raw:.2f}"))
    return head, lines


def facts(survey: Survey) -> dict[str, str]:
    """The figures to see first, by what they are."""
    every = [each for split in SPLITS for each in survey.photographs[split]]
    found = {
        "images to train on": str(len(survey.photographs["train"])),
        "images for validation": str(len(survey.photographs["valid"])),
        "photographs on disk (HR files)": size_text(survey.raw_bytes),
    }
    if survey.members:
        found |= {
            f"all shards, estimated (x{survey.params.scale}, {survey.params.degradation})": size_text(
                survey.shard_bytes
            ),
            "stored per HR pixel (at most 3 is aimed at)": f"{survey.members[0].stored_per_raw:.2f}",
        }
    found["data version"] = survey.version[:12] if len(survey.version) == 64 else "not built"
    if profiles := sum(each.header.has_profile for each in every):
        found["colour profiles, not applied"] = str(profiles)
    return found


def remarks(survey: Survey) -> list[str]:
    """What else is worth a line."""
    lines = []
    if survey.assumed:
        lines.append(f"the shards are estimated for {survey.assumed}")
    if survey.to_fetch:
        total = sum(archive.bytes for archive in survey.to_fetch)
        names = ", ".join(archive.name for archive in survey.to_fetch)
        lines.append(f"to fetch: {len(survey.to_fetch)} archives, {size_text(total)}: {names}")
    if survey.ignored:
        ignored = ", ".join(f"{num} {suffix or 'without a suffix'}" for suffix, num in survey.ignored.items())
        lines.append(f"not looked at, as they have no image's suffix: {ignored}")
    return lines
