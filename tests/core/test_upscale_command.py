"""The command `upscale`: what is read, where results go, what is skipped, refused and listed at the end."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import BAD_INPUTS, BadInput, saved
from PIL import Image

from sr_core.__main__ import main
from sr_core.data.images import write_png
from sr_core.data.pictures import read_picture
from sr_core.errors import ConfigError, ImageError, SrError
from sr_core.models.card import Card
from sr_core.upscale import command
from sr_core.upscale.free import free_bytes
from sr_core.upscale.jobs import plan

ROOT = Path(__file__).resolve().parents[2]
NEAREST = ["--model", "nearest", "--set", "data.scale=2"]


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def doubled(pixels: Any) -> Any:
    return pixels.repeat(2, 0).repeat(2, 1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscale(*arguments: str) -> int:
    return main(["upscale", *arguments, *NEAREST])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_photograph_lands_beside_its_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(here / "sub" / "a.png", noise(9, 7))
    assert upscale("sub/a.png") == 0
    np.testing.assert_array_equal(read_picture(here / "sub/a-x2.png").pixels, doubled(noise(9, 7)))
    assert capsys.readouterr().out.splitlines()[-1] == "sub/a.png -> sub/a-x2.png"
    assert names(here) == ["sub/a-x2.png", "sub/a.png"]


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff"])
def test_every_format_by_name_and_by_suffix(here: Path, format: str) -> None:
    write_png(here / "a.png", np.full((9, 7, 3), 77, np.uint8))
    assert upscale("a.png", "--format", format, "--output", "out") == 0
    assert upscale("a.png", "--output", f"b.{format}") == 0
    for path in (here / "out" / f"a-x2.{format}", here / f"b.{format}"):
        np.testing.assert_array_equal(read_picture(path).pixels, np.full((18, 14, 3), 77))
        with Image.open(path) as image:
            assert image.format == {"jpg": "JPEG"}.get(format, format.upper())


def test_folders_patterns_and_what_is_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, name in enumerate(("in/a.png", "in/sub/a.png", "in/sub/deep/b.png", "in/.hidden.png")):
        write_png(here / name, noise(4, 4, seed=i))
    (here / "in/notes.txt").write_text("not a photograph")
    assert upscale("in", "--output", "one") == 0
    assert names(here / "one") == ["a-x2.png"]
    assert "1 files that are not called like images are left out" in capsys.readouterr().out
    assert upscale("in", "--output", "all", "--recursive") == 0
    assert names(here / "all") == ["a-x2.png", "sub/a-x2.png", "sub/deep/b-x2.png"]
    assert upscale("in/**/*.png", "--output", "some") == 0
    assert names(here / "some") == names(here / "all")
    assert upscale(f"{here}/in/s*/[a]*.png", "--output", "few") == 0
    assert names(here / "few") == ["sub/a-x2.png"]
    np.testing.assert_array_equal(read_picture(here / "few/sub/a-x2.png").pixels, doubled(noise(4, 4, seed=1)))


def test_folders_in_a_circle_are_looked_into_once(here: Path) -> None:
    write_png(here / "in/a.png", noise(4, 4))
    (here / "in/circle").symlink_to(".")
    for given in (["in", "--recursive"], ["in/**/*.png"]):
        assert upscale(*given, "--output", "out", "--overwrite") == 0
        assert names(here / "out") == ["a-x2.png"]


def test_a_name_with_brackets_is_a_name(here: Path) -> None:
    write_png(here / "a[1].png", noise(4, 4))
    assert upscale("a[1].png") == 0
    assert (here / "a[1]-x2.png").is_file()


def test_results_are_skipped_and_not_enlarged_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        write_png(here / name, noise(4, 4))
    assert upscale("a.png") == 0
    first = (here / "a-x2.png").stat()
    capsys.readouterr()
    assert upscale(".") == 0
    said = capsys.readouterr().out
    assert "a-x2.png: is a result of this command, left out" in said
    assert "a-x2.png: is there already, skipped; --overwrite replaces it" in said
    assert (here / "a-x2.png").stat() == first
    assert names(here) == ["a-x2.png", "a.png", "b-x2.png", "b.png"]
    assert upscale(".", "--overwrite") == 0
    assert (here / "a-x2.png").stat() != first
    assert names(here) == ["a-x2.png", "a.png", "b-x2.png", "b.png"]
    assert upscale("a-x2.png") == 0  # by itself it is a source like any other
    assert read_picture(here / "a-x2-x2.png").pixels.shape == (16, 16, 3)


def test_a_source_is_never_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "a-x2.png"):
        write_png(here / name, noise(4, 4))
    (here / "link.png").symlink_to("a.png")
    before = (here / "a.png").read_bytes()
    for arguments in (["a.png", "--output", "a.png"], ["a.png", "--output", "link.png"], ["a.png", "a-x2.png"]):
        assert upscale(*arguments, "--overwrite") == ConfigError.exit_code
        assert "a source is never overwritten; choose another --output, or leave it out:" in capsys.readouterr().err
    assert (here / "a.png").read_bytes() == (here / "a-x2.png").read_bytes() == before
    assert (here / "link.png").is_symlink()


def test_two_sources_with_one_target_are_found_before_any_work(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "a.webp", "b.png", "sub/b.png", "c.png"):
        (here / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(4, 4)).save(here / name)
    assert upscale("a.png", "a.webp", "b.png", "sub/b.png", "c.png", "./c.png", "--output", "out") == 2
    assert capsys.readouterr().err.splitlines() == [
        "upscale: several photographs would be written to one file; give each a folder of its own:",
        "  out/a-x2.png: from a.png and a.webp",
        "  out/b-x2.png: from b.png and sub/b.png",
    ]
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.png", "b.png", "--output", "c.png"], "--output: c.png takes one picture, and 2 are given; name a folder"),
        (["a.png", "b.png", "--output", "-"], "--output: standard output takes one picture, and 2 are given"),
        (["a.png", "--output", "c.png", "--format", "jpg"], "--format: is jpg, and --output ends in .png"),
        (["empty"], "empty: no image is there (1 other files); expected .bmp, .jpeg"),
        (["*.gif"], "*.gif: no image is there (0 other files)"),
        (["a.png", "--tile", "0"], "--tile: is 0, expected 1 or more pixels"),
        (["a.png", "--memory", "much"], "--memory: is 'much', expected a number of bytes such as 512M"),
        (["a.png", "--output", "empty/notes.txt"], "results cannot be written; choose another --output:"),
        (["a.png", "--output", "a.png/b.png"], "results cannot be written; choose another --output:"),
        (["a.png", "--memory", "0"], "--memory: is '0', expected a number of bytes"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(
    here: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        write_png(here / name, noise(4, 4))
    (here / "empty").mkdir()
    (here / "empty" / "notes.txt").write_text("")
    assert upscale(*arguments) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert error.startswith(f"upscale: {sentence}")
    assert error.count("\n") == 1 + sentence.startswith("results")
    assert names(here) == ["a.png", "b.png", "empty/notes.txt"]


def test_all_failures_are_listed_and_the_others_are_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(here / "good.png", noise(4, 4))
    (here / "text.png").write_text("text")
    (here / "taken-x2.png").mkdir()
    write_png(here / "taken.png", noise(4, 4))
    sources = ["none.png", "text.png", "taken.png", "good.png"]
    assert upscale(*sources, "--overwrite") == SrError.exit_code
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "upscale: 3 of 4 failed:"
    assert error[1:3] == [
        "  none.png: there is no such file",
        "  text.png: is no PNG, JPEG, TIFF, BMP or WebP image; convert it to a PNG of grey or RGB",
    ]
    assert error[3] == "  taken-x2.png: is a directory, expected a file or nothing"
    assert (here / "good-x2.png").is_file()
    assert upscale("none.png") == ImageError.exit_code
    assert capsys.readouterr().err == "upscale: none.png: there is no such file\n"


def test_a_disk_that_is_full_is_a_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(here / "a.png", noise(4, 4))
    (here / "full").symlink_to("/dev/full")
    monkeypatch.setattr(
        "sr_core.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    assert upscale("a.png") == SrError.exit_code
    assert capsys.readouterr().err == "upscale: a-x2.png: cannot be written (No space left on device)\n"
    assert names(here) == ["a.png"]


COMMAND = [sys.executable, "-m", "sr_core", "upscale", "-", *NEAREST]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_standard_input_becomes_standard_output_anywhere(here: Path) -> None:
    """Unbuffered, where a pipe takes a large picture in parts."""
    data = saved(Image.fromarray(noise(300, 300)), "PNG")
    environment = ENVIRONMENT | {"PYTHONUNBUFFERED": "1"}
    child = subprocess.run(COMMAND, input=data, capture_output=True, env=environment, check=False)
    assert child.returncode == 0, child.stderr
    np.testing.assert_array_equal(read_picture(child.stdout).pixels, doubled(noise(300, 300)))
    assert child.stderr.decode().splitlines()[-1] == "standard input -> standard output"
    assert names(here) == []


def test_a_reader_that_goes_away_is_a_sentence(here: Path) -> None:
    write_png(here / "a.png", noise(300, 300))
    with (
        (here / "a.png").open("rb") as photograph,
        subprocess.Popen(
            COMMAND, stdin=photograph, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
        ) as child,
    ):
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        error = child.stderr.read().decode()
    assert child.returncode == 1
    assert error.splitlines()[-1] == "upscale: standard output: cannot be written (Broken pipe)"


class Pipe:
    """What stands for standard input or output."""

    def __init__(self, data: bytes = b"", *, is_terminal: bool = False) -> None:
        self.buffer, self._is_terminal = io.BytesIO(data), is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        raise AssertionError(f"{text!r} among the bytes of a picture")


def test_pipes_on_one_side_only(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(Image.fromarray(noise(5, 6)), "PNG")
    (here / "a.png").write_bytes(data)
    monkeypatch.setattr("sys.stdin", Pipe(data))
    assert upscale("-", "--output", "out", "--format", "tiff") == 0
    assert names(here) == ["a.png", "out/stdin-x2.tiff"]
    monkeypatch.setattr("sys.stdout", pipe := Pipe())
    assert upscale("a.png", "--output", "-", "--format", "webp") == 0
    with Image.open(io.BytesIO(pipe.buffer.getvalue())) as image:
        assert image.format == "WEBP"
    np.testing.assert_array_equal(read_picture(pipe.buffer.getvalue()).pixels, doubled(noise(5, 6)))
    monkeypatch.setattr("sys.stdout", Pipe(is_terminal=True))
    capfd.readouterr()
    assert upscale("a.png", "--output", "-") == ConfigError.exit_code
    assert "standard output is a terminal" in capfd.readouterr().err


def test_standard_input_is_limited_and_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Pipe(b"text"))
    assert upscale("-", "--output", "out") == ImageError.exit_code
    assert capsys.readouterr().err.startswith("upscale: standard input: is no PNG, JPEG, TIFF, BMP or WebP image;")
    monkeypatch.setattr("sys.stdin", Pipe(bytes(1000)))
    monkeypatch.setattr(command, "_HEADER_BYTES", 100)
    assert upscale("-", "--output", "out", "--set", "data.max_pixels=10") == ImageError.exit_code
    assert "standard input: is more than 180 bytes" in capsys.readouterr().err


def test_without_a_model_it_says_how_to_get_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(here / "a.png", noise(4, 4))
    assert main(["upscale", "a.png"]) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert "there is no params.yaml here" in error
    assert "name a weight file or bicubic by --model, or train one" in error
    (here / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    assert main(["upscale", "a.png"]) == 5
    assert (
        "data/models/edsr-x4-bicubic: no model is there, as none has been trained yet; name" in capsys.readouterr().err
    )


def test_the_options_change_the_cards_settings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(command, "upscale_files", lambda network, jobs, settings, **_: seen.append(settings))
    write_png(here / "a.png", noise(4, 4))
    upscale("a.png")
    card = Card(model="nearest", preset="small", options={}, scale=2)
    assert seen[-1] == command.settings_of(card)
    upscale("a.png", "--tile", "33", "--precision", "bf16", "--ensemble", "--memory", "1.5GiB")
    assert (seen[-1].tile, seen[-1].precision, seen[-1].ensemble) == (33, "bf16", True)
    assert seen[-1].memory_bytes == 3 * 2**29
    upscale("a.png", "--memory", "512M")
    assert (seen[-1].tile, seen[-1].memory_bytes) == (None, 512_000_000)


def nearest(pixels: Any) -> Any:
    return None if pixels is None else doubled(pixels)


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_every_bad_input_ends_in_a_message_or_the_right_picture(
    bad: BadInput, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "photograph.png").write_bytes(bad.data)
    code = upscale("photograph.png")
    error = capfd.readouterr().err
    if bad.picture is None:
        assert code == ImageError.exit_code
        last = error.splitlines()[-1]
        assert last.startswith("upscale: photograph.png: ")
        assert re.search(bad.says, last), last
        assert "Traceback" not in error
        assert names(here) == ["photograph.png"]
        return
    assert code == 0
    assert error in {"", "PNG warning: Interlace handling should be turned on when using png_read_image\n"}
    picture = read_picture(here / "photograph-x2.png")
    assert picture.pixels.dtype == bad.picture.pixels.dtype
    difference = np.abs(picture.pixels.astype(int) - nearest(bad.picture.pixels))
    assert difference.max() <= (0 if bad.exact else 3)
    assert (picture.alpha is None) == (bad.picture.alpha is None)
    if picture.alpha is not None:
        assert picture.alpha.dtype == picture.pixels.dtype
        assert picture.alpha.shape == picture.pixels.shape[:2]


def test_places_that_hold_no_image(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(here / "pipe.png")
    (here / "loop.png").symlink_to("loop.png")
    (here / "dangling.png").symlink_to("nowhere")
    (here / "folder.png").mkdir()
    long = "x" * 300 + ".png"
    expected = {
        "pipe.png": r"upscale: pipe\.png: is not a file, expected an image; leave it out",
        "loop.png": r"upscale: loop\.png: is not a file, expected an image|symbolic links",
        "dangling.png": r"upscale: dangling\.png: (is not a file|there is no such file)",
        "folder.png": r"upscale: folder\.png: no image is there \(0 other files\)",
        long: r"File name too long",
        "/dev/zero": r"/dev/zero: is not a file",
        "": r"no image is there|is not a file",
    }
    for name, says in expected.items():
        assert upscale(name) != 0, name
        error = capfd.readouterr().err
        assert re.search(says, error), (name, error)
        assert error.count("\n") == 1
        assert "Traceback" not in error


def test_odd_names_are_shown_on_one_line(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("new\nline.png", os.fsdecode(b"\xe9t\xe9.png"), "-dash.png", "Ünïcode 图.png"):
        write_png(Path("./" + name), noise(4, 4))
        code = upscale("./" + name)
        said = capfd.readouterr()
        assert code == 0, said.err
        assert len(said.out.splitlines()) == 2, said.out
        assert Path(f"./{Path(name).stem}-x2.png").is_file()
    write_png(here / "short.png", noise(4, 4))
    (here / "short.png").rename("x" * 250 + ".png")
    assert upscale("x" * 250 + ".png") == SrError.exit_code
    assert capfd.readouterr().err.endswith("-x2.png: File name too long\n")


def test_a_result_that_memory_does_not_suffice_for_is_not_begun(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(here / "a.png", noise(40, 50))
    monkeypatch.setattr(command, "free_bytes", lambda: 4 * 40 * 50 * 3 - 1)
    assert upscale("a.png") == SrError.exit_code
    assert "a.png: the result of 100x80 pixels takes 24 kB of memory, and 24 kB are free" in capsys.readouterr().err
    monkeypatch.setattr(command, "free_bytes", lambda: 4 * 40 * 50 * 3)
    assert upscale("a.png") == 0


def test_free_memory_is_the_containers_where_that_is_less(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    assert free_bytes(machine, tmp_path / "none") == 5_120_000
    for name, text in (("max", "4000000\n"), ("current", "3000000\n"), ("stat", "anon 1\ninactive_file 70000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_bytes(machine, tmp_path) == 1_070_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(machine, tmp_path) == 5_120_000
    assert free_bytes(tmp_path / "none", tmp_path / "none") is None
    assert (free_bytes() or 0) > 10**7


def test_the_plan_takes_each_source_once(here: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(here / name, noise(4, 4))
    todo = plan(["a.png", ".", str(here / "b.png"), "*.png"], 3, output="out")
    assert [str(job) for job in todo.jobs] == ["a.png -> out/a-x3.png", "b.png -> out/b-x3.png"]


def test_a_picture_keeps_what_it_says(here: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Camera"
    alpha = Image.fromarray(noise(4, 6)[:, :, 0])
    image = Image.fromarray(noise(4, 6))
    image.putalpha(alpha)
    image.save(here / "a.png", exif=exif)
    assert upscale("a.png", "--format", "tiff") == 0
    picture = read_picture(here / "a-x2.tiff")
    np.testing.assert_array_equal(picture.pixels, doubled(np.rot90(noise(4, 6), -1)))
    assert picture.alpha is not None
    assert picture.alpha.shape == (12, 8)
    assert b"Camera" in (picture.exif or b"")
    assert torch.is_grad_enabled()
