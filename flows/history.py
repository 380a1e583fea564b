"""Which version was champion when, by whom and why: tags of the registered model, appended and never overwritten.

An entry is written before the alias moves, with the reason in it. One whose alias never moved, since the server died in
between, is finished when the same is asked for again, and otherwise told by the next entry, which begins elsewhere.
An alias that was moved by hand in MLflow's page is outside of this history.

`champion` holds the title. `challenger` is the version that was last refused the title, or that last lost it by a
rollback: the one to compare with the champion. No version is both.
"""

import dataclasses
import datetime
import getpass
import json
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from serving.registered import or_none, version_by_alias
from sr_core.errors import ConfigError

CHAMPION, CHALLENGER = "champion", "challenger"
PREFIX = "sr.history."
MOST_CHARACTERS = 2000
Action = Literal["register", "promote", "rollback"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One change of the champion."""

    action: Action
    origin: int | None  # the champion before; None: there was none
    target: int  # the champion after
    reason: str
    who: str
    when: str  # UTC, ISO 8601
    figures: str = ""  # what was compared


def entry(action: Action, origin: int | None, target: int, reason: str, *, who: str, figures: str = "") -> Entry:
    """An entry of now."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Entry(action=action, origin=origin, target=target, reason=reason, who=who, when=when, figures=figures)


def checked(reason: str) -> str:
    """`reason`, if it says anything.

    Raises:
        ConfigError: it is empty or too long for the registry.
    """
    text = " ".join(reason.split())
    if not text or len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"--reason: has {len(text)} characters, expected 1 to {MOST_CHARACTERS:,}: say why, for others"
        )
    return text


def whoever(given: str | None = None) -> str:
    """Who does it: as given, MLFLOW_TRACKING_USERNAME, or the user of this host."""
    return given or os.environ.get("MLFLOW_TRACKING_USERNAME") or f"{getpass.getuser()}@{socket.gethostname()}"


def read(client: Any, name: str) -> dict[str, Entry]:
    """The entries by their tags' names, in order; tags that are no entries are left out."""
    tags = client.get_registered_model(name).tags
    found = {}
    for key in sorted(key for key in tags if key.startswith(PREFIX)):
        made = _parsed(tags[key])
        if made is not None:
            found[key] = made
    return found


def _parsed(text: str) -> Entry | None:
    try:
        made = Entry(**json.loads(text))
    except (ValueError, TypeError):
        return None
    return made if made.action in get_args(Action) and isinstance(made.target, int) else None


def pending(entries: dict[str, Entry], holder: int | None) -> tuple[str, Entry] | None:
    """The last entry and its name, if its alias has not moved yet."""
    if not entries:
        return None
    key, last = list(entries.items())[-1]
    return (key, last) if last.origin == holder and last.target != holder else None


def carried_out(entries: Sequence[Entry], holder: int | None) -> list[Entry]:
    """Those whose alias did move: the next one begins where they end."""
    ends = [*(each.origin for each in entries[1:]), holder]
    return [each for each, end in zip(entries, ends, strict=True) if each.target == end] if entries else []


def champions(entries: Sequence[Entry], holder: int | None) -> list[int]:
    """Which versions a rollback goes through, oldest first; the last one holds the title."""
    stack: list[int] = []
    for each in carried_out(entries, holder):
        if each.origin is not None and stack[-1:] != [each.origin]:
            stack.append(each.origin)
        if each.action != "rollback":
            stack.append(each.target)
        elif each.target in stack:
            while stack[-1] != each.target:
                stack.pop()
        else:
            stack = [each.target]
    if holder is not None and stack[-1:] != [holder]:
        stack.append(holder)
    return stack


def rolled_back(entries: Sequence[Entry], holder: int | None) -> dict[int, Entry]:
    """The versions that lost the title by a rollback and were not promoted since, with why."""
    lost: dict[int, Entry] = {}
    for each in carried_out(entries, holder):
        lost.pop(each.target, None)
        if each.action == "rollback" and each.origin is not None:
            lost[each.origin] = each
    return lost


def crown(client: Any, name: str, made: Entry, *, key: str | None = None, still: Callable[[], None]) -> None:
    """Makes `made.target` champion: what is to be known of it first, the alias last. `key`: of an entry half done."""
    if key is None:
        key = f"{PREFIX}{len(read(client, name)) + 1:06d}-{uuid.uuid4().hex[:8]}"
    text = json.dumps(dataclasses.asdict(made), ensure_ascii=False)
    client.set_registered_model_tag(name, key, text)
    client.set_model_version_tag(name, str(made.target), key, text)
    if made.action == "rollback" and made.origin is not None:
        challenge(client, name, made.origin)
    elif holder_of(client, name, CHALLENGER) == made.target:
        client.delete_registered_model_alias(name, CHALLENGER)
    still()
    client.set_registered_model_alias(name, CHAMPION, str(made.target))


def challenge(client: Any, name: str, version: int) -> None:
    """Makes `version` the challenger, if it still is there."""
    if or_none(lambda: client.get_model_version(name, str(version))) is not None:
        client.set_registered_model_alias(name, CHALLENGER, str(version))


def holder_of(client: Any, name: str, alias: str) -> int | None:
    """The number of the version that holds `alias`."""
    version = version_by_alias(client, name, alias)
    return int(version.version) if version else None
