"""What comes in and goes out when a registered model is called: arrays, or files as base64 text.

    uint8 RGB (N, H, W, 3)               an array from Python; nested lists of whole numbers 0..255 from JSON
    "iVBORw0KGgo…" or bytes, N of them   PNG, JPEG and the other formats that sr_core reads; alpha, grey, 16 bits kept

Nothing is decoded before its size is known: of a file first its bytes, then the pixels that its header says. Both
limits hold for all pictures of one call together, since what comes out is S*S times as large. An array that Python
gives lies in memory already and has no limit. JSON needs some thirty bytes for each number while it is written, so what
goes out as an array has a limit of its own.

Shapes: N pictures, H W LR size, C channels, S scale.
"""

import base64
import binascii
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_core.data.images import TooLargeError
from sr_core.data.pictures import FORMATS, Picture, encode_picture, read_picture
from sr_core.errors import ConfigError, ImageError

COLUMN = "image"
SAME, ARRAY = "same", "array"
OUTPUTS = (SAME, ARRAY, *FORMATS)
_EXPECTED = (
    "expected uint8 RGB of shape (number, height, width, 3): round and clip to 0..255 first, and leave out transparency"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one call may bring, of all its pictures together."""

    max_bytes: int = 32 << 20  # of files; about 4/3 of it as base64
    max_pixels: int = 4_000_000  # LR pixels

    @property
    def max_array_pixels(self) -> int:
        """Of all results together, where they go out as arrays in JSON."""
        return 4 * self.max_pixels


BYTES, PIXELS = "SR_SERVE_MAX_BYTES", "SR_SERVE_MAX_PIXELS"


def limits_from(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits that SR_SERVE_MAX_BYTES and SR_SERVE_MAX_PIXELS set.

    Raises:
        ConfigError: one is no whole number above 0.
    """
    default = Limits()
    return Limits(
        max_bytes=_whole(environment, BYTES, default.max_bytes),
        max_pixels=_whole(environment, PIXELS, default.max_pixels),
    )


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(f"{name}: is {text!r}, expected a whole number above 0")
    return int(text)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The pictures of one call, and whether they were files, or an array that was in memory before."""

    pictures: tuple[Picture, ...]
    as_files: bool
    in_memory: bool = False
    stacked: bool = True  # False: one array without an axis for N


def read(given: Any, limits: Limits) -> Given:
    """The pictures in what MLflow hands to a model: an array, {"image": array}, or objects of either kind.

    Raises:
        ImageError: it is none of what is taken, cannot be decoded, or is above a limit.
    """
    if isinstance(given, Mapping) and given.keys() == {COLUMN}:
        given = given[COLUMN]
    values = _as_array(given)
    if values.dtype == object and values.ndim == 1:  # MLflow makes an array of each text in `instances`
        values = _as_array([item.item() if isinstance(item, np.ndarray) and not item.ndim else item for item in values])
    if values.dtype == object and all(isinstance(item, str | bytes) for item in values.flat) and values.size:
        return Given(pictures=_files(list(values.flat), limits), as_files=True)
    in_memory = values.dtype != object
    if not in_memory:
        _check_pixels(values.size // 3, limits)
        values = _numbers(values)
    if values.dtype != np.uint8 or values.ndim not in {3, 4} or values.shape[-1] != 3 or 0 in values.shape:
        raise ImageError(f"the photographs are {values.dtype} of shape {values.shape}, {_EXPECTED}")
    photographs = values if values.ndim == 4 else values[None]
    pictures = tuple(Picture(pixels=photograph) for photograph in photographs)
    return Given(pictures=pictures, as_files=False, in_memory=in_memory, stacked=values.ndim == 4)


def _as_array(given: Any) -> npt.NDArray[Any]:
    if isinstance(given, str | bytes):
        given = [given]
    try:
        if isinstance(given, Sequence) and any(isinstance(item, str | bytes) for item in given):
            return np.array([*given, None], dtype=object)[:-1]  # one axis, whatever the items are
        return np.asarray(given)
    except ValueError:
        raise ImageError(f"the photographs have rows of different lengths, {_EXPECTED}") from None


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """JSON's numbers as uint8, if each is whole and fits; else as they are, to be refused."""
    strange = {type(item).__name__ for item in values.flat} - {"int"}
    if strange:
        raise ImageError(f"the photographs hold {', '.join(sorted(strange))}, {_EXPECTED}")
    plain = np.asarray(values.tolist())
    fits = plain.size and plain.dtype != object and plain.min() >= 0 and plain.max() <= 255
    return plain.astype(np.uint8) if fits else plain


def _files(items: Sequence[str | bytes], limits: Limits) -> tuple[Picture, ...]:
    pictures, pixels, left = [], 0, limits.max_bytes
    for number, item in enumerate(items, 1):
        name = COLUMN if len(items) == 1 else f"{COLUMN} {number} of {len(items)}"
        data = _decoded(item, name, left, limits)
        left -= len(data)
        try:
            picture = read_picture(data, name=name, max_pixels=limits.max_pixels)
        except TooLargeError as error:
            raise ImageError(
                f"{error.told}, more than {PIXELS} {limits.max_pixels}; cut or shrink it, or have that raised"
            ) from None
        pixels += picture.pixels.shape[0] * picture.pixels.shape[1]
        _check_pixels(pixels, limits)
        pictures.append(picture)
    return tuple(pictures)


def _decoded(item: str | bytes, name: str, left: int, limits: Limits) -> bytes:
    """The file's bytes; how many they are is known before they are decoded."""
    if isinstance(item, str):
        head, comma, tail = item.partition(",")
        text = "".join((tail if comma and head.startswith("data:") else item).split())
        size = len(text) * 3 // 4 - text.endswith("=") - text.endswith("==")
    else:
        text, size = "", len(item)
    if size > left:
        raise ImageError(
            f"{name}: is above the limit of {limits.max_bytes:,} bytes for the files of one call; send fewer or "
            f"smaller ones, or have the server's {BYTES} raised"
        )
    try:
        data = base64.b64decode(text, validate=True) if isinstance(item, str) else item
    except (binascii.Error, ValueError) as error:
        raise ImageError(
            f"{name}: is not base64 ({error}); encode the file's bytes, as `base64 -w 0 file` does"
        ) from None
    if not data:
        raise ImageError(f"{name}: is empty, expected a PNG or JPEG file as base64")
    return data


def _check_pixels(pixels: int, limits: Limits) -> None:
    if pixels > limits.max_pixels:
        raise ImageError(
            f"the photographs of one call have {pixels:,} pixels, above the limit of {limits.max_pixels:,}; send fewer "
            f"or smaller ones, or have the server's {PIXELS} raised"
        )


def output_of(params: Mapping[str, Any] | None) -> str:
    """The kind of result that the call asks for.

    Raises:
        ConfigError: there is no such kind.
    """
    output = (params or {}).get("output", SAME)
    if output not in OUTPUTS:
        raise ConfigError(f"params.output: is {output!r}, expected one of {', '.join(OUTPUTS)}")
    return str(output)


def check_results(given: Given, output: str, scale: int, limits: Limits) -> None:
    """Before they are made, whether the results can go out as they are asked for.

    Raises:
        ImageError: they are too many numbers for JSON.
    """
    pixels = scale**2 * sum(picture.pixels.shape[0] * picture.pixels.shape[1] for picture in given.pictures)
    if _kind(given, output) == ARRAY and not given.in_memory and pixels > limits.max_array_pixels:
        raise ImageError(
            f"the results would have {pixels:,} pixels, above the limit of {limits.max_array_pixels:,} for arrays; "
            "ask for files with params.output: png"
        )


def _kind(given: Given, output: str) -> str:
    return output if output != SAME else "png" if given.as_files else ARRAY


def write(results: Sequence[Picture], given: Given, output: str) -> Any:
    """What goes back: arrays, as one where all have the same shape, or [{"image": base64 of a file}, …].

    An array of a file is (S*H, S*W, C): 1 channel for grey, 3 for RGB, one more for alpha; 16 bits stay 16.
    """
    kind = _kind(given, output)
    if kind != ARRAY:
        return [{COLUMN: base64.b64encode(encode_picture(result, kind)).decode("ascii")} for result in results]
    arrays = [_array_of(result) for result in results]
    if not given.stacked:
        return arrays[0]
    return np.stack(arrays) if len({(array.shape, array.dtype) for array in arrays}) == 1 else arrays


def _array_of(picture: Picture) -> npt.NDArray[Any]:
    if picture.alpha is None:
        return picture.pixels
    return np.concatenate([picture.pixels, picture.alpha[:, :, None]], axis=2)
