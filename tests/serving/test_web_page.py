"""The web page in a real browser: one server and one visit for all that people do there."""

import re
import subprocess
import sys
from pathlib import Path

import chromium
import numpy as np
import pytest
from PIL import Image
from web_server import ROOT, SCALE, TILE, Served

from sr_core.data.pictures import Picture, encode_picture, read_picture
from sr_core.evaluate.metrics import PROTOCOLS, psnr, ssim

playwright = pytest.importorskip("playwright.sync_api")

HEIGHT, WIDTH = 45, 71  # odd, and 2 x 3 tiles
COMPARISON = "<!doctype html><title>c</title><h1>EDSR before bicubic</h1>"
MODES = ("RGB", "RGBA", "L")
PAGE_S = 20_000

pytestmark = chromium.needed


class Visit:
    """A page in a browser, and what it asked for and complained of."""

    def __init__(self, page, server: Served) -> None:
        self.page, self.server = page, server
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def choose(self, label: str, value: str) -> None:
        box = self.page.get_by_role("combobox", name=label, exact=True)
        box.click()
        self.page.get_by_role("option", name=value, exact=True).click()
        playwright.expect(box).to_have_value(value)

    def upload(self, field: str, path: Path) -> None:
        remove = self.page.locator(f"{field} [aria-label='Remove Image']")
        if remove.count():
            remove.click()
        self.page.locator(f"{field} input[type=file]").set_input_files(path)
        remove.wait_for(timeout=PAGE_S)

    def enlarge(self, photo: Path) -> Path:
        """The file that the download button gives."""
        self.upload("#photograph", photo)
        self.page.locator("#enlarge").click()
        button = self.page.locator("#download", has_text=photo.stem)
        button.wait_for(timeout=PAGE_S)
        with self.page.expect_download() as download:
            button.click()
        return Path(download.value.path())

    def zoom(self) -> float:
        return float(re.search(r"scale\(([\d.]+)\)", self.page.locator("#slider img").first.get_attribute("style"))[1])

    def line(self) -> float:
        """Where the slider's line is: the part of the model's picture that is hidden, in percent."""
        style = self.page.locator("#slider img").last.get_attribute("style")
        return float(re.search(r"clip-path: inset\(0(?:px)? 0(?:px)? 0(?:px)? ([\d.]+)%\)", style)[1])


@pytest.fixture(scope="module")
def server(page_server):
    folder = page_server.root / "compare" / "first"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(COMPARISON)
    return page_server


@pytest.fixture(scope="module")
def browser():
    with chromium.started() as browser:
        yield browser


@pytest.fixture(scope="module")
def visit(browser, server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PAGE_S)
    one = Visit(page, server)
    page.goto(server.url)
    page.locator("#enlarge").wait_for()
    one.choose("Model", "edsr-x2-test")
    return one


def photograph(path: Path, mode: str, height: int = HEIGHT, width: int = WIDTH) -> Path:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(len(mode)).integers(0, 256, (height, width, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return path


@pytest.fixture(scope="module")
def commanded(server, tmp_path_factory):
    """Photographs of all kinds, enlarged by the command."""
    folder = tmp_path_factory.mktemp("photographs")
    photos = [photograph(folder / f"odd-{mode}.png", mode) for mode in MODES]
    photos.append(deep(folder / "odd-deep.png"))
    command = [sys.executable, "-m", "flows.cli", "upscale", *photos, "--model", server.model, "--output", folder / "x"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return folder


def deep(path: Path) -> Path:
    pixels = np.random.default_rng(9).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
    path.write_bytes(encode_picture(Picture(pixels=pixels[:, :, :3], alpha=pixels[:, :, 3]), "png"))
    return path


@pytest.mark.parametrize("kind", [*MODES, "deep"])
def test_what_is_downloaded_is_what_the_command_writes(visit, commanded, kind):
    found = visit.enlarge(commanded / f"odd-{kind}.png").read_bytes()
    picture, expected = read_picture(found), commanded / "x" / f"odd-{kind}-x{SCALE}.png"
    assert min(HEIGHT, WIDTH) > TILE  # at least 4 tiles
    assert found == expected.read_bytes()
    assert picture.pixels.shape == (HEIGHT * SCALE, WIDTH * SCALE, 1 if kind == "L" else 3)
    assert picture.pixels.dtype == (np.uint16 if kind == "deep" else np.uint8)
    assert (picture.alpha is None) == (kind in {"RGB", "L"})


def test_the_line_moves_by_mouse_and_by_key(visit, tmp_path):
    visit.enlarge(photograph(tmp_path / "line.png", "RGB"))
    assert visit.line() == 50
    box = visit.page.locator("#slider [role=none]").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + box["width"] / 2, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=5)
    visit.page.mouse.up()
    assert visit.line() == pytest.approx(20, abs=4)
    visit.page.locator("#line input[type=range]").focus()
    for _ in range(10):
        visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_function("document.querySelectorAll('#slider img')[1].style.clipPath.match(/(60|59.9\\d*)%/)")


def test_the_pictures_are_zoomed_by_button_and_by_wheel(visit, tmp_path):
    visit.enlarge(photograph(tmp_path / "zoom.png", "RGB"))
    assert visit.zoom() == 1
    visit.page.locator("#zoom-in").click()
    visit.page.wait_for_timeout(500)
    larger = visit.zoom()
    assert larger > 1.3
    box = visit.page.locator("#slider").bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    visit.page.mouse.wheel(0, -100)
    visit.page.wait_for_timeout(500)
    assert visit.zoom() > larger
    visit.page.locator("#zoom-out").click()
    visit.page.locator("#zoom-out").click()
    visit.page.wait_for_timeout(500)
    assert visit.zoom() == 1


def test_against_an_original_it_is_measured_by_a_named_protocol(visit, tmp_path):
    photo, original = photograph(tmp_path / "small.png", "RGB", 20, 30), tmp_path / "large.png"
    photograph(original, "RGB", 20 * SCALE, 30 * SCALE)
    visit.page.get_by_role("button", name="Compare with an original").click()
    visit.upload("#original", original)
    visit.choose("Protocol of PSNR and SSIM", "whole-rgb")
    result, hr = read_picture(visit.enlarge(photo).read_bytes()).pixels, read_picture(original).pixels
    about = {"protocol": PROTOCOLS["whole-rgb"], "scale": SCALE}
    cells = visit.page.locator("#facts tr", has_text="edsr").locator("td").all_text_contents()
    assert cells == ["edsr", f"{psnr(result, hr, **about):.2f} dB", f"{ssim(result, hr, **about):.4f}"]
    playwright.expect(visit.page.locator("#facts")).to_contain_text("whole-rgb (RGB, whole image)")
    visit.page.locator("#original [aria-label='Remove Image']").click()


def test_a_sample_comes_with_its_original_which_goes_with_it(visit, tmp_path):
    visit.page.get_by_role("button", name="sample photograph chelsea").click()
    remove = visit.page.locator("#original [aria-label='Remove Image']")
    remove.wait_for()
    visit.page.locator("#enlarge").click()
    visit.page.locator("#download", has_text=f"chelsea-x{SCALE}.png").wait_for()
    playwright.expect(visit.page.locator("#facts")).to_contain_text("dB")
    visit.upload("#photograph", photograph(tmp_path / "own.png", "RGB"))
    remove.wait_for(state="hidden")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.png", b"this is text", "text.png: is no PNG"),
        ("empty.jpg", b"", "is no PNG"),
        ("a.svg", b"<svg/>", "a.svg: is no"),
    ],
)
def test_a_wrong_file_gets_a_message_on_the_page(visit, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    visit.upload("#photograph", tmp_path / name)
    visit.page.locator("#enlarge").click()
    alert = visit.page.locator("#message [role=alert]")
    playwright.expect(alert).to_contain_text(says, timeout=PAGE_S)
    playwright.expect(visit.page.locator("#download")).to_be_hidden()


def test_comparisons_and_votes_have_their_tabs(visit):
    visit.page.get_by_role("tab", name="Comparisons").click()
    frame = visit.page.frame_locator("#frame iframe")
    playwright.expect(frame.get_by_role("heading")).to_have_text("EDSR before bicubic")
    visit.page.get_by_role("tab", name="Vote").click()
    playwright.expect(visit.page.locator(".booth")).to_be_visible()
    visit.page.get_by_role("tab", name="Enlarge").click()


def test_everything_that_is_operated_has_a_name(visit):
    nameless = visit.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea')].filter(one =>
            one.offsetParent && !one.innerText?.trim() && !one.ariaLabel && !one.labels?.length && one.type != 'file'
        ).map(one => one.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


def test_a_telephone_shows_the_page_without_scrolling_sideways(visit):
    visit.page.set_viewport_size({"width": 400, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
    visit.page.set_viewport_size({"width": 1280, "height": 900})


def test_nothing_was_asked_of_anyone_else_and_nothing_went_wrong(visit):
    """The last test of the visit."""
    elsewhere = [url for url in visit.requests if not url.startswith((visit.server.url, "data:", "blob:"))]
    assert elsewhere == []
    assert len(visit.requests) > 50
    assert sorted(set(visit.complaints)) == []
