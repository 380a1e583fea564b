"""The look at a data set: figures that hold once it is built, everything wrong with it, a page that stands alone."""

import dataclasses
import html.parser
from pathlib import Path

import numpy as np
import pytest
from odd_images import FILES, half
from photos import noise, params_for, save, write_folder
from PIL import Image

from sr_core.__main__ import main
from sr_core.data import archives
from sr_core.data.images import read_rgb, write_png
from sr_core.data.index import load_index, shard_directories
from sr_core.data.shards import build
from sr_core.errors import ConfigError, SourceError
from sr_core.inspect import charts, look, survey
from sr_core.inspect.report import show
from sr_core.params import DataParams
from sr_core.progress import QUIET

SIZES = [(60, 60), (70, 90), (64, 55), (81, 97), (100, 101)]
NPY_HEADER = 128


def looked_at(params: DataParams, folder: Path, dataset: str | None = None) -> tuple[look.Report, str]:
    report, page = look.look(params, dataset, output=folder, progress=QUIET)
    return report, page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"patch": 48},
        {"degradation": "unknown", "variants": 3},
        {"degradation": "mixed", "mixed": {"bicubic": 2.0, "second_order": 1.0}, "variants": 2},
    ],
)
def test_the_estimate_is_what_is_built(tmp_path: Path, others: dict[str, object]) -> None:
    params = params_for(tmp_path / "root", write_folder(tmp_path / "photos", SIZES), **others)
    before = survey.survey(params, progress=QUIET)
    assert (before.version, before.problems) == ("", ())

    version = build(params, progress=QUIET)
    indexes = {name: load_index(path) for name, path in shard_directories(params).items()}
    built = {name: index for name, index in indexes.items() if index.kind != "mixed"}
    assert {each.name for each in before.members} == built.keys()
    for member in before.members:
        index = built[member.name]
        assert member.bytes == sum(file.bytes - NPY_HEADER for file in index.files.values()), member.name
        assert (member.count, member.patch) == (index.count, index.patch)
        assert member.stored_per_raw == pytest.approx(index.stored_per_raw, abs=1e-3)
    assert survey.survey(params, progress=QUIET).version == version.digest


def test_the_wish_for_more_than_three_times_is_reported(tmp_path: Path) -> None:
    params = params_for(tmp_path / "root", write_folder(tmp_path / "photos", [(64, 64)] * 3), patch=20)

    found = survey.survey(params, progress=QUIET)
    assert found.members[0].stored_per_raw > 3
    assert any("stored" in line and "at most 3" in line for line in found.problems)


def test_counts_modes_formats_and_what_is_not_looked_at(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", SIZES)
    save(folder / "grey.jpg", Image.fromarray(noise(50, 60)[:, :, 0]))
    (folder / "notes.txt").write_text("hello")
    FILES["HEIC"](folder)

    report, page = looked_at(params_for(tmp_path / "root", folder), tmp_path / "out")
    assert report.sections[0].head == ("", "train", "valid")
    train, valid = ({line[0]: line[i] for line in report.sections[0].lines} for i in (1, 2))
    assert (train["images"], valid["images"]) == ("5", "1")
    assert (train["modes"], train["formats"]) == ("RGB 4, L 1", "PNG 4, JPEG 1")
    assert train["smallest"].startswith("60x50, ")
    assert valid["smallest"] == valid["largest"] == "60x60, 0.00 megapixels"
    assert "not looked at, as their suffix is no image's: 1 .heic, 1 .txt" in report.remarks
    assert "1 .heic" in page


def test_everything_wrong_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", SIZES)
    save(folder / "cmyk.jpg", Image.fromarray(noise(40, 40)).convert("CMYK"))
    save(folder / "small.png", Image.fromarray(noise(4, 40)))
    (folder / "cut.png").write_bytes(half((folder / "04.png").read_bytes()))
    (folder / "directory.png").mkdir()

    report, page = looked_at(params_for(tmp_path / "root", folder), tmp_path / "out")
    for name in ("cmyk.jpg", "small.png", "cut.png", "directory.png"):
        assert sum(f"{name}: " in line for line in report.problems) == 1, name
        assert name in page
    assert (tmp_path / "out" / "sheet.png").is_file()
    assert report.facts["images to train on"] == "5"


def test_damage_inside_an_image_of_the_sheet_is_reported(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 3)
    data = bytearray((folder / "01.png").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "01.png").write_bytes(data)

    report, _ = looked_at(params_for(tmp_path / "root", folder), tmp_path / "out")
    assert [line for line in report.problems if "01.png: cannot be decoded" in line]


@pytest.mark.parametrize("count", [0, 1])
def test_a_folder_with_hardly_an_image_is_looked_at(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_folder(folder, SIZES[:count])

    report, page = looked_at(params_for(tmp_path / "root", folder), tmp_path / "out")
    assert any("expected a folder of at least two HR images" in line for line in report.problems)
    assert "expected a folder of at least two HR images" in page


@pytest.mark.parametrize("sizes", [[(1, 1), (1, 3000)], [(1, 1), (3000, 1), (40, 40), (40, 40)]])
def test_images_too_small_for_anything_end_nothing(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    params = params_for(tmp_path / "root", write_folder(tmp_path / "photos", sizes))

    report, page = looked_at(params, tmp_path / "out")
    assert sum("smaller than a crop" in line for line in report.problems) >= 1
    assert ("contact sheet" in page) == (len(sizes) > 2)


def test_no_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent: there is no such folder"):
        looked_at(DataParams(root=str(tmp_path)), tmp_path / "out", str(tmp_path / "absent"))


class Parser(html.parser.HTMLParser):
    """Collects tags, sources and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_and_no_name_becomes_markup(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "<script>alert(1)<" / "b> &amp; 'x'\"\n", SIZES)
    (folder / "<script>.png").write_bytes(b"")

    report, page = looked_at(params_for(tmp_path / "root", folder), tmp_path / "out")
    parser = Parser()
    parser.feed(page)
    assert "script" not in parser.tags
    assert len(parser.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert "<script>.png" in parser.text
    assert "Data set 'b> &amp; " in parser.text
    show(report)


def test_div2k_that_is_not_there_is_estimated_and_nothing_is_fetched(tmp_path: Path) -> None:
    params = DataParams(source="div2k", root=str(tmp_path / "root"), degradation="unknown", mirror="http://127.0.0.1:1")

    report, page = looked_at(params, tmp_path / "out")
    needed = archives.needed(params)
    assert len(needed) == 4
    assert any(all(each.name in line for each in needed) and "4 archives, 4.22 GB" in line for line in report.remarks)
    assert [line[0] for line in report.sections[1].lines] == ["train/hr", "train/unknown", "valid/hr", "valid/unknown"]
    assert not (tmp_path / "root").exists()
    assert "DIV2K_train_LR_unknown_X4.zip" in page


def test_images_that_div2k_lacks_are_counted(tmp_path: Path) -> None:
    params = DataParams(source="div2k", root=str(tmp_path), crop=8)
    write_png(tmp_path / "raw/div2k/DIV2K_train_HR/0002.png", noise(64, 64))

    found = survey.survey(params, progress=QUIET)
    assert any("lacks 799 of its 800 images (0001.png, 0003.png, 0004.png, …)" in line for line in found.problems)
    # bicubic beside HR images unpacked by hand is made here
    assert [each.name for each in found.to_fetch] == ["DIV2K_valid_HR.zip", "DIV2K_valid_LR_bicubic_X4.zip"]


def test_a_track_that_div2k_has_not_at_this_scale_is_named(tmp_path: Path) -> None:
    params = DataParams(source="div2k", root=str(tmp_path), degradation="unknown", scale=8)

    report, _ = looked_at(params, tmp_path / "out")
    assert any("DIV2K has no images of unknown at data.scale 8" in line for line in report.problems)


def test_lr_files_that_are_there_are_shown(tmp_path: Path) -> None:
    raw = tmp_path / "photos"
    for split, key in (("train", "a"), ("valid", "b")):
        write_png(raw / f"DIV2K_{split}_HR/{key}.png", noise(64, 64))
        write_png(raw / f"DIV2K_{split}_LR_unknown/X2/{key}x2.png", np.full((32, 32, 3), (1, 200, 3), np.uint8))

    report, _ = looked_at(params_for(tmp_path / "root", raw), tmp_path / "out")
    origins = {line[0]: line[2] for line in report.sections[2].lines}
    assert origins["unknown"] == "files in DIV2K_train_LR_unknown/X2"
    assert origins["bicubic"] == "made here"
    sheet = read_rgb(tmp_path / "out" / "sheet.png").reshape(-1, 3)
    assert (sheet == (1, 200, 3)).all(axis=1).sum() == 2 * 240 * 240


def test_few_images_are_decoded_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "photos", [(20, 20)] * 120)
    decoded = {"whole": 0, "small": 0}

    def counted(name: str, function: object) -> object:
        def call(*args: object, **options: object) -> object:
            decoded[name] += 1
            return function(*args, **options)

        return call

    monkeypatch.setattr(look, "read_rgb", counted("whole", look.read_rgb))
    monkeypatch.setattr(charts, "read_small", counted("small", charts.read_small))
    looked_at(params_for(tmp_path / "root", folder), tmp_path / "out")
    assert decoded == {"whole": look.NUM_ROWS, "small": charts.MOST_DECODED + 12}


def test_a_dataset_is_named_or_a_folder(tmp_path: Path) -> None:
    folder = DataParams(source="folder", folder=str(tmp_path), lr_folder="lr", valid_list="list", scale=3)
    div2k = DataParams(source="div2k", mirror="http://a", archives="b")

    assert look.chosen(folder, None) is folder
    assert look.chosen(folder, str(tmp_path)) is folder
    assert look.chosen(div2k, "div2k") is div2k
    for params in (folder, div2k):
        assert look.chosen(params, "sample") == DataParams(scale=params.scale)
        other = look.chosen(params, "elsewhere")
        assert other == dataclasses.replace(DataParams(scale=params.scale), source="folder", folder="elsewhere")


def test_pictures_are_not_put_among_the_photographs(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", SIZES)

    with pytest.raises(ConfigError, match=r"--output: .*photos holds the photographs"):
        looked_at(params_for(tmp_path / "root", folder), folder / ".." / "photos")
    assert len(list(folder.iterdir())) == len(SIZES)


def test_built_shards_are_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "root"
    photos = write_folder(tmp_path / "photos", SIZES)
    versions = {}
    for degradation in ("bicubic", "mixed"):
        params = params_for(root, photos, degradation=degradation, variants=2)
        versions[degradation] = build(params, progress=QUIET).digest

    report, page = looked_at(params, tmp_path / "out", str(root / "shards"))
    for degradation, version in versions.items():
        assert any(line.endswith(f"/x2 {degradation}: {version}") for line in report.remarks)
    assert versions["mixed"] in page
    assert report.problems == ()
    assert {line[0].rpartition("x2/")[2] for line in report.sections[0].lines} >= {"train/hr", "train/unknown-1"}
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_shards_that_are_missing_or_cut_are_named(tmp_path: Path) -> None:
    params = params_for(tmp_path / "root", write_folder(tmp_path / "photos", SIZES))
    build(params, progress=QUIET)
    places = shard_directories(params)
    (places["train/hr"] / "shard-00000.npy").unlink()
    (places["valid/hr"] / "00.npy").write_bytes(b"short")
    (places["train/bicubic"] / "index.json").write_text('{"hr_digest"')

    report, _ = looked_at(params, tmp_path / "out", str(tmp_path / "root" / "shards"))
    assert any("hr/shard-00000.npy: missing" in line for line in report.problems)
    assert any("00.npy: 5 bytes, expected" in line for line in report.problems)
    assert any("bicubic/index.json: is damaged" in line for line in report.problems)


@pytest.mark.parametrize(
    "content", [np.zeros((3, 4)), np.zeros((2, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)]
)
@pytest.mark.parametrize("member", ["hr", "bicubic"])
def test_shards_of_another_shape_are_named_and_end_nothing(tmp_path: Path, content: np.ndarray, member: str) -> None:
    params = params_for(tmp_path / "root", write_folder(tmp_path / "photos", SIZES))
    build(params, progress=QUIET)
    np.save(shard_directories(params)[f"train/{member}"] / "shard-00000.npy", content)

    report, _ = looked_at(params, tmp_path / "out", str(tmp_path / "root" / "shards"))
    assert any(f"{member}/shard-00000.npy: " in line for line in report.problems)


def test_the_verb_prints_figures_and_names_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "photos", SIZES)
    params = Path(__file__).resolve().parents[2] / "params.yaml"
    words = ["inspect", str(folder), "--params", str(params)]

    values = [f"data.root={tmp_path}", "data.scale=2", "data.crop=8"]
    assert main([*words, *(word for value in values for word in ("--set", value))]) == 0
    said = capsys.readouterr().out
    assert "stored / raw pixels, 3 at most" in said
    page = Path(said.rstrip().rpartition("page and pictures: ")[2])
    assert page.is_file()
    assert sorted(file.name for file in page.parent.iterdir()) == [
        "brightness.png",
        "index.html",
        "sheet.png",
        "sizes.png",
    ]
