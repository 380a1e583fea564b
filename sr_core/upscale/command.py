"""The command `upscale`: files, folders, patterns and standard input through a network, one result for each.

Every picture goes read_picture -> upscale_picture -> write_picture, with the settings of the model's card unless the
command says otherwise. What fails is listed at the end; the others have been written by then.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import IO

from torch import nn

from sr_core.data.pictures import Picture, check_format, encode_picture, read_picture, write_picture
from sr_core.data.policy import MAX_PIXELS
from sr_core.errors import ConfigError, ImageError, SrError, explained, listed, shown
from sr_core.models.card import Card
from sr_core.progress import QUIET, Progress, console, parse_bytes, size_text
from sr_core.upscale.free import free_bytes
from sr_core.upscale.jobs import STANDARD, Job, plan
from sr_core.upscale.pictures import settings_of, upscale_picture
from sr_core.upscale.settings import Settings
from sr_core.upscale.tiles import fastest_device

_BYTES_PER_PIXEL = 8  # of an uncompressed picture at most: four channels of 16 bits
_HEADER_BYTES = 2**26  # and what its file may have beside its pixels


def run(arguments: argparse.Namespace, network: nn.Module, card: Card, *, max_pixels: int = MAX_PIXELS) -> int:
    """Enlarges what `arguments` name; returns the exit code.

    Raises:
        ConfigError: nothing can be done as it was asked.
        SrError: lists what failed; the others have been written.
    """
    settings = settings_from(arguments, card)
    todo = plan(
        arguments.images,
        card.scale,
        output=arguments.output,
        format=arguments.format,
        recursive=arguments.recursive,
        overwrite=arguments.overwrite,
    )
    to_pipe = any(job.target is None for job in todo.jobs)
    if to_pipe and sys.stdout.isatty():
        raise ConfigError("--output: standard output is a terminal; send it to a file or a program, or name a file")
    with console(sys.stderr if to_pipe else sys.stdout) as progress:
        for result in todo.results:
            progress.say(f"{shown(result)}: is a result of this command, left out")
        if todo.num_others:
            progress.say(f"{todo.num_others} files that are not called like images are left out")
        upscale_files(
            network, todo.jobs, settings, overwrite=arguments.overwrite, max_pixels=max_pixels, progress=progress
        )
    return 0


def settings_from(arguments: argparse.Namespace, card: Card) -> Settings:
    """The card's settings, and what the command says otherwise.

    Raises:
        ConfigError: of --memory or --tile.
    """
    settings = settings_of(card)
    if arguments.memory is not None:
        # the card's tile was chosen for another budget
        settings = dataclasses.replace(settings, memory_bytes=parse_bytes(arguments.memory, name="--memory"), tile=None)
    if arguments.tile is not None:
        if arguments.tile < 1:
            raise ConfigError(f"--tile: is {arguments.tile}, expected 1 or more pixels")
        settings = dataclasses.replace(settings, tile=arguments.tile)
    if arguments.precision is not None:
        settings = dataclasses.replace(settings, precision=arguments.precision)
    return dataclasses.replace(settings, ensemble=True) if arguments.ensemble else settings


def upscale_files(
    network: nn.Module,
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = QUIET,
) -> None:
    """Enlarges the source of each of `jobs` into its target; a target that is there is left alone, and said.

    Raises:
        SrError: lists every file that failed; the others have been written.
    """
    failures: list[SrError] = []
    for i, job in enumerate(jobs):
        try:
            if job.target is not None and not overwrite and os.path.lexists(job.target):
                progress.say(f"{shown(job.target)}: is there already, skipped; --overwrite replaces it")
                continue
            if len(jobs) > 1:
                progress.say(f"{i + 1} of {len(jobs)}: {job}")
            _upscale(network, job, settings, max_pixels, progress)
            if len(jobs) == 1:
                progress.say(str(job))
        except (SrError, OSError) as error:
            failures.append(explained(error))
            if len(jobs) > 1:
                progress.say(f"failed: {failures[-1]}")
    if len(jobs) == len(failures) == 1:
        raise failures[0]
    if failures:
        raise SrError(f"{len(failures)} of {len(jobs)} failed:{listed([str(error) for error in failures])}")


def _upscale(network: nn.Module, job: Job, settings: Settings | None, max_pixels: int, progress: Progress) -> None:
    if job.target is not None and job.target.is_dir():
        raise SrError(f"{shown(job.target)}: is a directory, expected a file or nothing")
    if job.source is None:
        picture = read_picture(_standard_input(max_pixels), name="standard input", max_pixels=max_pixels)
    else:
        picture = read_picture(job.source, max_pixels=max_pixels)
    try:
        check_format(picture, job.format, scale=network.scale)  # type: ignore[arg-type]
    except ImageError as error:
        raise ImageError(f"{shown(job.source or STANDARD)}: {error}") from None
    _check_memory(job, picture, network.scale)  # type: ignore[arg-type]
    enlarged = upscale_picture(network, picture, settings, device=fastest_device(), progress=progress)
    del picture
    try:
        _write(job, enlarged)
    except MemoryError:
        raise SrError(f"{job}: memory does not suffice to write it; take png or tiff") from None
    except OSError as error:
        place = "standard output" if job.target is None else shown(job.target)
        raise SrError(f"{place}: cannot be written ({error.strerror or error})") from None


def _check_memory(job: Job, picture: Picture, scale: int) -> None:
    """Refuses a result for which there is no memory: the system would grant it, and end the process later."""
    alpha = 0 if picture.alpha is None else picture.alpha.nbytes
    needed, free = scale**2 * (picture.pixels.nbytes + alpha), free_bytes()
    if free is not None and needed > free:
        height, width = (scale * side for side in picture.pixels.shape[:2])
        raise SrError(
            f"{shown(job.source or STANDARD)}: the result of {width}x{height} pixels takes {size_text(needed)} of "
            f"memory, and {size_text(free)} are free; enlarge a part of it, or end what else uses memory"
        )


def _write(job: Job, picture: Picture) -> None:
    if job.target is not None:
        write_picture(job.target, picture, job.format)
        return
    left = memoryview(encode_picture(picture, job.format))
    try:
        while left:  # a write may take a part only, where Python was told not to buffer
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # or the interpreter would try once more when it ends, and say so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _standard_input(max_pixels: int) -> bytes:
    most = _BYTES_PER_PIXEL * max_pixels + _HEADER_BYTES
    stream: IO[bytes] = sys.stdin.buffer
    data = stream.read(most + 1)
    if len(data) > most:
        raise ImageError(f"standard input: is more than {most} bytes, which no picture of {max_pixels} pixels takes")
    return data
