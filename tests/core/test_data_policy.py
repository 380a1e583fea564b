"""Each row of the image policy is tried on such a file, in both columns."""

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from odd_images import BY_MODE, FILES, RGB, changed, of, png
from photos import params_for, save, write_folder
from PIL import Image

from sr_core.data import policy
from sr_core.data.images import ImageFile, _check_mode, read_rgb, read_size
from sr_core.data.pictures import read_picture
from sr_core.data.shards import build
from sr_core.errors import ImageError
from sr_core.params import DataParams
from sr_core.progress import QUIET

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "images.md"
CASES = [(policy.MODES[name], make, name) for name, make in BY_MODE.items()]
CASES += [(policy.FILES[name], make, name) for name, make in FILES.items()]


def test_the_tables_have_every_mode_of_pillow_and_a_file_for_each_row() -> None:
    assert set(policy.MODES) == set(Image.MODES)
    assert set(policy.FILES) == set(FILES)


def test_the_document_prints_the_tables() -> None:
    assert policy.as_markdown() in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize(("rule", "make", "name"), CASES, ids=[name for _, _, name in CASES])
def test_training_does_as_its_column_says(tmp_path: Path, rule: policy.Rule, make: object, name: str) -> None:
    path = make(tmp_path)
    if name == "one pixel":
        write_folder(tmp_path, [(40, 40), (40, 40)])
        with pytest.raises(ImageError, match=r"a\.png: is 1x1 pixels, smaller than a crop"):
            build(params_for(tmp_path / "root", tmp_path), progress=QUIET)
        return
    if rule.training == "refused":
        with pytest.raises(ImageError, match=f"^{path}: ") as refusal:
            read_rgb(path)
        assert "\n" not in str(refusal.value)
        return
    assert read_rgb(path).shape[:2] == read_size(path)


@pytest.mark.parametrize(("rule", "make", "name"), CASES, ids=[name for _, _, name in CASES])
def test_upscaling_does_as_its_column_says(tmp_path: Path, rule: policy.Rule, make: object, name: str) -> None:
    path = make(tmp_path)
    sources = [path] if path.is_dir() else [path, path.read_bytes()]
    for source in sources:
        if rule.upscaling == "refused":
            with pytest.raises(ImageError, match=f"^{path}: ") as refusal:
                read_picture(source, name=str(path))
            assert "\n" not in str(refusal.value)
            continue
        picture = read_picture(source)
        assert picture.pixels.dtype == (np.uint16 if "16" in name else np.uint8)
        with Image.open(path) as image:
            width, height = image.size
        assert sorted(picture.pixels.shape[:2]) == sorted((height, width))


@pytest.mark.parametrize("mode", sorted(set(policy.MODES) - set(BY_MODE)))
def test_a_mode_that_no_file_here_has_is_looked_up(mode: str) -> None:
    image = Image.new("RGB", (2, 2))
    image._mode = mode
    file = ImageFile(content=b"", name="a")
    for purpose in (policy.TRAINING, policy.UPSCALING):
        if policy.MODES[mode].verdict(purpose) == "refused":
            with pytest.raises(ImageError, match=rf"^a: mode {mode} "):
                _check_mode(file, image, purpose)
        else:
            _check_mode(file, image, purpose)


def test_the_limit_of_pixels_is_the_parameters(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RGB)

    assert DataParams().max_pixels == policy.MAX_PIXELS
    for read in (read_rgb, read_size):
        read(path, max_pixels=40 * 56)
        with pytest.raises(ImageError, match=r"a\.png: is 56x40 pixels, more than data\.max_pixels 2239; "):
            read(path, max_pixels=40 * 56 - 1)


def test_pillows_own_limit_neither_warns_nor_refuses(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", width=20000, height=10000, depth=8, colour=0)
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    assert read_size(path, max_pixels=10**9) == (10000, 20000)
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_pillow_is_as_before_after_threads_have_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RGB)
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    threads = [threading.Thread(target=lambda: [read_rgb(path) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def exif(orientation: object) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


@pytest.mark.parametrize("suffix", ["tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned_as_png_is(tmp_path: Path, suffix: str, orientation: int) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    one = save(tmp_path / "a.png", RGB, exif=exif(orientation))
    other = save(tmp_path / f"a.{suffix}", RGB, exif=exif(orientation), **options)

    np.testing.assert_array_equal(read_rgb(other), read_rgb(one))
    assert read_size(other) == read_size(one) == read_rgb(one).shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_is_none_means_upright(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path / "a.jpg", RGB, exif=exif(orientation))

    assert read_size(path) == read_rgb(path).shape[:2] == (40, 56)


def behind_the_pixels(data: bytes) -> bytes:
    """A PNG whose EXIF chunk lies behind IDAT, as some editors write it."""
    at = data.index(b"eXIf") - 4
    length = int.from_bytes(data[at : at + 4], "big") + 12
    return data[:at] + data[at + length : -12] + data[at : at + length] + data[-12:]


def test_a_png_with_its_orientation_behind_its_pixels_is_turned(tmp_path: Path) -> None:
    path = changed(of("a.png", exif=exif(6)), behind_the_pixels)(tmp_path)

    assert read_size(path) == read_rgb(path).shape[:2] == (56, 40)


def test_the_first_picture_of_several_in_a_jpeg_is_read(tmp_path: Path) -> None:
    alone = save(tmp_path / "a.jpg", RGB)
    several = FILES["JPEG of several pictures (MPO)"](tmp_path / "b")

    np.testing.assert_array_equal(read_rgb(several), read_rgb(alone))


@pytest.mark.parametrize(
    "options", [{"restart_marker_blocks": 3}, {"progressive": True}, {"comment": b"\xff\xd9 \xff"}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_a_jpeg_may_hold_is_accepted(tmp_path: Path, options: dict[str, object], mode: str) -> None:
    assert read_rgb(save(tmp_path / "a.jpg", RGB.convert(mode), **options)).shape == (40, 56, 3)


def test_bytes_behind_a_jpeg_are_accepted(tmp_path: Path) -> None:
    assert read_rgb(changed(of("a.jpg"), lambda data: data + b"a video")(tmp_path)).shape == (40, 56, 3)


@pytest.mark.parametrize("read", [read_rgb, read_size])
def test_a_jpeg_without_its_end_mark_is_refused_before_any_work(tmp_path: Path, read: object) -> None:
    with pytest.raises(ImageError, match="ends before its end mark"):
        read(changed(of("a.jpg"), lambda data: data[:-2])(tmp_path))


def test_a_missing_part_between_restarts_is_refused(tmp_path: Path) -> None:
    def cut(data: bytes) -> bytes:
        first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
        return data[:first] + data[second:]

    path = changed(of("a.jpg", restart_marker_blocks=2), cut)(tmp_path)
    with pytest.raises(ImageError, match=r"a\.jpg: is damaged at byte \d+ \(a part of it is missing\)"):
        read_rgb(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("pipe.png", "loop.png"):
        with pytest.raises(ImageError, match=rf"{name}: is not a file"):
            read_rgb(tmp_path / name)


def test_a_large_image_is_held_twice_at_most(tmp_path: Path) -> None:
    """Decoded, Pillow holds 4 bytes for each pixel and we 3."""
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros((5000, 6000, 3), np.uint8)))
    code = (
        "import resource, sys; from pathlib import Path; from sr_core.data.images import read_rgb\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; read_rgb(Path(sys.argv[1]))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 30e6)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert float(child.stdout) < 8.5
