"""Every failure a user can cause or meet, as one exception tree.

A message is one sentence: the dotted key, file, URL or step, what was expected, and what to do. Where
several things are wrong at once, all of them are listed. `python -m sr_core` prints the message and exits
with `exit_code`, never a traceback.
"""

import os
import sys
import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import Path

STOPPED = 75  # EX_TEMPFAIL of sysexits.h, of a program that was asked to stop: the same command goes on
SAID = "SR_SAID"  # a folder for `say_once`, of whoever started the ranks of this host


class SrError(Exception):
    """Base of all errors meant for users."""

    exit_code = 1


class ConfigError(SrError):
    """A parameter is unknown, of the wrong type or out of range."""

    exit_code = 2


class SourceError(SrError):
    """A data set is absent, incomplete or not what its table says."""

    exit_code = 3


class ImageError(SrError):
    """An image cannot be decoded, or its mode or size is not usable."""

    exit_code = 3


class ShardError(SrError):
    """Shards are absent, damaged or do not fit the parameters."""

    exit_code = 4


class CheckpointError(SrError):
    """No checkpoint can be used, or it belongs to another run."""

    exit_code = 5


class DivergedError(SrError):
    """Loss or gradient became NaN or infinite."""

    exit_code = 6


class BusyError(SrError):
    """Another live process holds the directory."""

    exit_code = 7


class TrackError(SrError):
    """The tracking server does not answer, or refuses."""

    exit_code = 8


class RemoteError(SrError):
    """The remote store cannot be reached, refuses, or holds something damaged."""

    exit_code = 9


class GroupError(SrError):
    """Another rank does not answer, or was lost: a group that is started again may well go on."""

    exit_code = 10


class StoppedError(SrError):
    """Training was asked to stop before its first step, with nothing to write."""

    exit_code = STOPPED


def explained(error: SrError | OSError) -> SrError:
    """`error` as one for users: of the system's own (disk full, no permission) the file and the system's words."""
    if isinstance(error, SrError):
        return error
    return SrError(f"{error.filename or 'system'}: {error.strerror or error}")


def say_once(sentence: str) -> None:
    """Prints to standard error what no other rank of this host has: most errors are raised on all of them."""
    if folder := os.environ.get(SAID):
        # a group that torchrun starts again says it anew
        name = f"{zlib.crc32(sentence.encode()):08x}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        try:
            (Path(folder) / name).touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:
            pass  # rather twice than never
    print(sentence, file=sys.stderr)


def shown(name: object) -> str:
    """The name of a file as one line of text: quoted and escaped if it holds control characters or is not UTF-8."""
    text = str(name)
    return ascii(text) if any(unicodedata.category(letter) in _NOT_TEXT for letter in text) else text


_NOT_TEXT = {"Cc", "Cs", "Zl", "Zp"}  # control characters, lone surrogates, separators of lines and paragraphs


def listed(offenders: Sequence[str], *, most: int = 50) -> str:
    """`offenders` as indented lines, cut after `most` with a count of the rest."""
    lines = [f"\n  {offender}" for offender in offenders[:most]]
    if len(offenders) > most:
        lines.append(f"\n  … and {len(offenders) - most} more")
    return "".join(lines)
