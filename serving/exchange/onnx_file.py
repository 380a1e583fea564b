"""The bytes of an ONNX file: what is written beside the network in it, and whether it is whole.

An ONNX file is one protobuf message, and such messages may be joined: ours is the network, then `metadata_props`, whose
last entry is the sha256 of all before it. So damage is noticed before another program's parser meets it, and the text
is read without one.

    sr_core_card              the model's card, JSON
    sr_core_made_from         sha256 of the weights that it was made from
    sr_core_facts             `Facts`, JSON: scale, receptive field, …
    sr_core_sha256            of the network's bytes and of the text above
"""

import dataclasses
import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from sr_core.errors import CheckpointError
from sr_core.models.card import Card, from_dict

CARD, MADE_FROM, FACTS, DIGEST = "sr_core_card", "sr_core_made_from", "sr_core_facts", "sr_core_sha256"
MOST_BYTES = 2**31 - 1  # of a protobuf message
_METADATA_PROPS = 14  # its field in ModelProto, of which each has a key (field 1) and a value (field 2)
_ANEW = "fetch it again, or export it anew"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What of a network has to be known to use it tile by tile."""

    scale: int
    receptive_field: int  # LR pixels on each side of a pixel that can influence its output
    white: float = 255.0  # what stands for 255 in its input and output: 255, or 1
    tile_overlap: int | None = None  # LR pixels that a tile is read with; None: the receptive field
    values: int | None = None  # numbers alive at once for each LR pixel; None: not known
    num_parameters: int | None = None  # None: not known


def joined(network: bytes, card: Card, facts: Facts) -> bytes:
    """The file: `network`, a serialised ModelProto without metadata_props, then what is known of it, sealed."""
    text = {
        CARD: json.dumps(dataclasses.asdict(card), sort_keys=True),
        MADE_FROM: card.weights_sha256,
        FACTS: json.dumps(dataclasses.asdict(facts), sort_keys=True),
    }
    sealed = {**text, DIGEST: _digest(network, text)}
    return network + b"".join(
        _field(_METADATA_PROPS, _field(1, key.encode()) + _field(2, value.encode())) for key, value in sealed.items()
    )


def read(path: Path) -> tuple[Card, Facts] | None:
    """What the file at `path` says of its network; None for one that others wrote.

    Raises:
        CheckpointError: it is no ONNX file, is truncated or damaged, or too large for one.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise CheckpointError(f"{path}: is empty; {_ANEW}")
            if size > MOST_BYTES:
                raise CheckpointError(f"{path}: has {size / 2**30:.1f} GB, but an ONNX file has at most 2; {_ANEW}")
            text = _read(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from None
    if not text:
        return None
    try:
        card, facts = json.loads(text[CARD]), Facts(**json.loads(text[FACTS]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is of another version of this program ({error}); export it anew") from None
    return from_dict(card, where=f"{path}, card"), facts


def _read(data: memoryview, path: Path) -> dict[str, str]:
    if bytes(data[:64]).lstrip()[:1] == b"<":
        raise CheckpointError(f"{path}: is a web page and no ONNX file; {_ANEW}")
    text, end = {}, len(data)
    try:
        for number, start, begin, stop in _fields(data, 0, len(data)):
            if number == _METADATA_PROPS:
                end = min(end, start)
                entry = {inner: data[first:last] for inner, _, first, last in _fields(data, begin, stop)}
                text[str(entry[1], "utf-8")] = str(entry[2], "utf-8")
    except (ValueError, KeyError, IndexError):
        raise CheckpointError(f"{path}: is truncated, damaged or no ONNX file; {_ANEW}") from None
    if CARD not in text and DIGEST not in text:
        return {}
    if text.pop(DIGEST, "") != _digest(data[:end], text):
        raise CheckpointError(f"{path}: is not what was exported, its sha256 is another; {_ANEW}")
    return text


def _digest(network: bytes | memoryview, text: Mapping[str, str]) -> str:
    digest = hashlib.sha256(network)
    digest.update(json.dumps(text, sort_keys=True).encode())
    return digest.hexdigest()


def _fields(data: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, and the content's first and last byte of each field of a message (protobuf's wire format)."""
    while position < end:
        start = position
        tag, position = _varint(data, position)
        kind = tag & 7
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, position = _varint(data, position)
        elif kind == 0:
            _, position = _varint(data, position)
        elif kind not in {1, 5}:
            raise ValueError(f"wire type {kind}")
        if position + length > end or not tag >> 3:
            raise ValueError("ends early")
        yield tag >> 3, start, position, position + length
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise ValueError("a number of more than 64 bits")


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
