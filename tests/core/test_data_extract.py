"""Archives that lie, are damaged or hostile: nothing of them is unpacked. And whole ones, once and for all."""

import dataclasses
import errno
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from photos import noise
from zips import content, few_images, png, write_zip

from sr_core.data import extract as room
from sr_core.data.archives import ARCHIVES, Archive
from sr_core.data.extract import check_digests, expected_digests, extract, lacking, load_manifest, manifest_path
from sr_core.data.images import read_rgb
from sr_core.errors import SourceError
from sr_core.progress import QUIET

TRAIN_HR, VALID_WILD, BICUBIC = (
    next(each for each in ARCHIVES if each.name == f"DIV2K_{name}.zip")
    for name in ("train_HR", "valid_LR_wild", "train_LR_bicubic_X2")
)
FIRST = "DIV2K_train_HR/0001.png"


@pytest.fixture(autouse=True)
def three_images(monkeypatch: pytest.MonkeyPatch) -> None:
    few_images(monkeypatch)


def zip_in(folder: Path, archive: Archive = TRAIN_HR, method: int = zipfile.ZIP_STORED, **changes: bytes) -> Path:
    return write_zip(folder / archive.name, content(archive) | changes, method)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refusal(path: Path, raw: Path, archive: Archive = TRAIN_HR) -> str:
    """What is said of the zip file at `path`, of which nothing may be left."""
    with pytest.raises(SourceError) as caught:
        extract(path, archive, raw, progress=QUIET)
    assert tree(raw) == {}
    return str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("archive", [TRAIN_HR, VALID_WILD, BICUBIC], ids=lambda archive: archive.name)
def test_an_archive_becomes_its_folder_and_a_manifest(tmp_path: Path, archive: Archive, method: int) -> None:
    raw = tmp_path / "raw"
    manifest = extract(zip_in(tmp_path, archive, method), archive, raw, progress=QUIET)
    found = tree(raw)

    assert load_manifest(manifest_path(raw, archive)) == manifest
    assert found.pop(f".manifests/{Path(archive.name).stem}.json")
    assert found == content(archive)
    assert {name: record.bytes for name, record in manifest.files.items()} == {n: len(d) for n, d in found.items()}
    assert lacking(raw, manifest.files) == []
    check_digests(raw, expected_digests(raw))
    assert len(expected_digests(raw)) == len(found)
    assert [path for path in raw.rglob("*") if "partial" in path.name or "tmp" in path.name] == []


def test_what_file_managers_leave_is_left_out(tmp_path: Path) -> None:
    names = ("__MACOSX/DIV2K_train_HR/._0001.png", "DIV2K_train_HR/.DS_Store", "DIV2K_train_HR/Thumbs.db")
    litter = dict.fromkeys(names, b"1")
    extract(write_zip(tmp_path / "a.zip", content(TRAIN_HR) | litter), TRAIN_HR, tmp_path / "raw", progress=QUIET)
    assert tree(tmp_path / "raw/DIV2K_train_HR").keys() == {"0001.png", "0002.png", "0003.png"}


def test_the_digit_of_wild_validation_images_is_left_out(tmp_path: Path) -> None:
    files = {name.replace("x4w", "x4w1"): data for name, data in content(VALID_WILD).items()}
    extract(write_zip(tmp_path / "a.zip", files), VALID_WILD, tmp_path / "raw", progress=QUIET)
    assert {f"DIV2K_valid_LR_wild/080{i}x4w.png" for i in (1, 2)} < tree(tmp_path / "raw").keys()


def entry(name: str, data: bytes = b"", **fields: Any) -> tuple[zipfile.ZipInfo, bytes]:
    """A member such as no archive should have."""
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def unix(kind: int) -> int:
    return (kind | 0o644) << 16


MEMBERS = {
    "traversal": (entry("DIV2K_train_HR/../../evil.png"), "leads out of the folder"),
    "dots": (entry(".."), "leads out of the folder"),
    "absolute": (entry("/etc/evil.png"), "an absolute path"),
    "drive": (entry("C:/evil.png"), "an absolute path"),
    "backslash": (entry("DIV2K_train_HR\\..\\evil.png"), "its name holds a backslash"),
    "newline": (entry("DIV2K_train_HR/a\nb.png"), "its name holds control characters"),
    "link": (entry("DIV2K_train_HR/evil.png", b"/etc/passwd", external_attr=unix(stat.S_IFLNK)), "a link"),
    "fifo": (entry("DIV2K_train_HR/evil.png", external_attr=unix(stat.S_IFIFO)), "a special file"),
    "duplicate": (entry(FIRST, png(8, 8)), "there 2 times"),
    "case": (entry("DIV2K_train_HR/0001.PNG", png(8, 8)), f"{FIRST} in other letters"),
    "folder": (entry("elsewhere/"), "not expected"),
    "stranger": (entry("DIV2K_train_HR/evil.sh", b"rm"), "not expected"),
    "hidden": (entry(".manifests/DIV2K_train_HR.json", b"{}"), "not expected"),
    "image of another split": (entry("DIV2K_train_HR/0801.png", png(8, 8)), "not expected"),
    "bomb": (entry("DIV2K_train_HR/0004.png", bytes(9 << 20), compress_type=8), "which no image needs"),
}


def add(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate names
        for info, data in entries:
            opened.writestr(info, data, compress_type=info.compress_type)
    return path


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_that_does_not_belong_there_is_refused(tmp_path: Path, kind: str) -> None:
    wrong, reason = MEMBERS[kind]
    message = refusal(add(zip_in(tmp_path), wrong), tmp_path / "raw")

    assert message.count("\n") == 1 + (kind == "bomb")  # of which the whole archive is one
    assert reason in message
    assert not list(tmp_path.rglob("evil*"))


def test_all_offenders_are_named_at_once(tmp_path: Path) -> None:
    files = content(TRAIN_HR)
    del files["DIV2K_train_HR/0002.png"]
    message = refusal(
        add(write_zip(tmp_path / "a.zip", files), *(each for each, _ in MEMBERS.values())), tmp_path / "raw"
    )

    assert "DIV2K_train_HR/0002.png: missing" in message
    assert all(reason in message for _, reason in MEMBERS.values())
    assert "not DIV2K_train_HR.zip as its authors publish it, so nothing was unpacked; delete it" in message


def patched(path: Path, change: Callable[[bytearray, int, int], None]) -> Path:
    """The zip file with `change` made, given its bytes and where FIRST's local and central headers are."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        local = opened.getinfo(FIRST).header_offset
    central = data.rindex(b"PK\1\2", 0, data.rindex(FIRST.encode()))
    change(data, local, central)
    path.write_bytes(data)
    return path


def set_field(offset_local: int, offset_central: int, kind: str, make: Callable[[int], int]) -> Callable[..., None]:
    def change(data: bytearray, local: int, central: int) -> None:
        for at in (local + offset_local, central + offset_central):
            (old,) = struct.unpack_from(kind, data, at)
            struct.pack_into(kind, data, at, make(old))

    return change


def flip_content(data: bytearray, local: int, central: int) -> None:
    data[local + 30 + len(FIRST) + 60] ^= 1


LIES = {
    "encrypted": (set_field(6, 8, "<H", lambda flags: flags | 1), "0001.png: encrypted"),
    "strongly encrypted": (set_field(6, 8, "<H", lambda flags: flags | 0x41), "0001.png: encrypted"),
    "method": (set_field(8, 10, "<H", lambda method: 12), "0001.png: packed by method 12"),
    "bomb": (set_field(22, 24, "<L", lambda size: 3 << 30), "which no image needs"),
    "smaller": (set_field(22, 24, "<L", lambda size: size - 100), "0001.png: damaged"),
    "one smaller": (set_field(22, 24, "<L", lambda size: size - 1), "more than the"),
    "larger": (set_field(22, 24, "<L", lambda size: size + 100), "bytes, its header says"),
    "crc": (set_field(14, 16, "<L", lambda crc: crc ^ 1), "damaged (Bad CRC-32"),
    "flipped": (flip_content, "0001.png: damaged"),
    "overlap": (set_field(18, 20, "<L", lambda size: size * 20), "its members overlap"),
    "packed smaller": (set_field(18, 20, "<L", lambda size: size - 20), "0001.png: damaged"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_lying_header_is_found(tmp_path: Path, lie: str, method: int) -> None:
    change, reason = LIES[lie]
    assert reason in refusal(patched(zip_in(tmp_path, TRAIN_HR, method), change), tmp_path / "raw")


def test_no_more_is_written_than_the_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHUNK_BYTES", 1000)
    path = patched(zip_in(tmp_path), set_field(22, 24, "<L", lambda size: 5000))
    with zipfile.ZipFile(path) as opened, pytest.raises(zipfile.BadZipFile):
        room._write(opened, opened.getinfo(FIRST), tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= 5000


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\n\x1a\n" + bytes(9), png(8, 8)[1:]])
def test_what_is_no_png_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "0001.png: damaged (no PNG file)" in refusal(zip_in(tmp_path, **{FIRST: data}), tmp_path / "raw")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_zip_file_is_refused(tmp_path: Path, share: float) -> None:
    path = zip_in(tmp_path)
    os.truncate(path, int(path.stat().st_size * share))
    assert "is no whole zip file" in refusal(path, tmp_path / "raw")


def test_random_damage_is_one_sentence_or_harmless(tmp_path: Path) -> None:
    whole = zip_in(tmp_path).read_bytes()
    dice = noise(1, 100, seed=3).reshape(-1).astype(int)
    for i, value in enumerate(dice[:120]):
        data = bytearray(whole)
        # the directory at the end is what there is to fool
        data[-1 - (i * 5) % 450] ^= int(value) or 1
        (tmp_path / "a.zip").write_bytes(data)
        raw = tmp_path / f"raw{i}"
        try:
            extract(tmp_path / "a.zip", TRAIN_HR, raw, progress=QUIET)
        except SourceError:
            assert tree(raw) == {}
        else:
            assert {n: d for n, d in tree(raw).items() if n.endswith(".png")} == content(TRAIN_HR)


def test_a_disk_without_room_is_one_sentence_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert "no space left to unpack DIV2K_train_HR.zip" in refusal(zip_in(tmp_path), tmp_path / "raw")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(opened: object, info: zipfile.ZipInfo, target: Path) -> None:
        target.write_bytes(b"half")
        if target.name == "0002.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(room, "_write", full)
    message = refusal(zip_in(tmp_path), tmp_path / "raw")
    assert "free some or set data.root to another disk" in message
    assert list((tmp_path / "raw").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import zips
from sr_core import files
from sr_core.data import archives, extract
from sr_core.progress import QUIET

archives.NUMBERS = zips.NUMBERS
places = {"write": (extract, "_write"), "manifest": (extract, "write_atomic"), "rename": (files, "_replace_directory")}
room, name = places[sys.argv[2]]
whole, calls = getattr(room, name), []

def die(*arguments):
    calls.append(1)
    if len(calls) == (2 if name == "_write" else 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)

setattr(room, name, die)
archive = next(each for each in archives.ARCHIVES if each.name == "DIV2K_train_HR.zip")
extract.extract(Path(sys.argv[3]), archive, Path(sys.argv[4]), progress=QUIET)
"""


@pytest.mark.parametrize("moment", ["write", "manifest", "rename"])
def test_killed_at_any_moment_it_is_unpacked_again(tmp_path: Path, moment: str) -> None:
    path, raw = zip_in(tmp_path), tmp_path / "raw"
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", KILLED, here, moment, path, raw], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert not (raw / "DIV2K_train_HR").exists()
    if (manifest := load_manifest(manifest_path(raw, TRAIN_HR))) is not None:
        assert len(lacking(raw, manifest.files)) == 3
    extract(path, TRAIN_HR, raw, progress=QUIET)
    assert tree(raw / "DIV2K_train_HR") == {Path(name).name: data for name, data in content(TRAIN_HR).items()}
    assert sorted(each.name for each in raw.iterdir()) == [".manifests", "DIV2K_train_HR"]


def test_files_that_changed_are_found(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    manifest = extract(zip_in(tmp_path), TRAIN_HR, raw, progress=QUIET)
    found = expected_digests(raw)
    os.truncate(raw / FIRST, 100)
    (raw / "DIV2K_train_HR/0002.png").unlink()
    (raw / "DIV2K_train_HR/0003.png").unlink()
    (raw / "DIV2K_train_HR/0003.png").mkdir()

    size = manifest.files[FIRST].bytes
    assert lacking(raw, manifest.files) == [
        f"{raw / FIRST}: 100 bytes, expected {size}",
        f"{raw}/DIV2K_train_HR/0002.png: missing",
        f"{raw}/DIV2K_train_HR/0003.png: not a file",
    ]
    with pytest.raises(SourceError, match=r"(?s)2 files are no longer .*delete them .*0001\.png\n.*0003\.png\Z"):
        check_digests(raw, found | {raw / FIRST: "0" * 64, raw / "DIV2K_train_HR/0003.png": "1", raw / "mine.png": "2"})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": {"a": 1}, "archive_sha256": ""}', "\0"])
def test_a_damaged_manifest_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".manifests").mkdir()
    path = manifest_path(tmp_path, TRAIN_HR)
    path.write_text(text)
    assert load_manifest(path) is None
    assert expected_digests(tmp_path) == {}


def test_many_threads_unpack_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_in(tmp_path)
    records = []
    for count in (1, 4):
        monkeypatch.setattr(room, "_num_threads", lambda count=count: count)
        records.append(dataclasses.asdict(extract(path, TRAIN_HR, tmp_path / f"raw{count}", progress=QUIET)))
    assert records[0] == records[1]
    assert read_rgb(tmp_path / "raw4" / FIRST).shape == (96, 96, 3)
