"""The page of a comparison in a browser: with its script, by keyboard, and without it."""

import chromium
import pytest
from comparing import CHOICE, loaded, wanted
from photos import write_folder

from sr_core.compare.entrants import line_up
from sr_core.compare.run import compare_to
from sr_core.compare.sets import gathered
from sr_core.params import Params

pytestmark = chromium.needed


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("photos") / "Set2", [(64, 96), (72, 50)])
    opened = [("one", loaded(seed=1)), ("two", loaded("srcnn", seed=2))]
    directory = tmp_path_factory.mktemp("compare") / "tiny"
    compare_to(directory, line_up(opened), gathered(wanted(folder), Params()).sets, CHOICE)
    return (directory / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium.started() as browser:
        yield browser


def opened(browser, address, **options):
    """The page, and what it will have asked for or complained of."""
    page, asked = browser.new_context(**options).new_page(), []
    page.on("request", lambda each: None if each.url.startswith("data:") else asked.append(each.url))
    page.on("console", lambda message: asked.append(message.text))
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto(address)
    return page, asked


@pytest.mark.parametrize("width", [400, 1600])
def test_the_slider_and_the_table_answer_to_keys(browser, address, width):
    page, asked = opened(browser, address, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    slider, viewer = page.locator("input[type=range]").first, page.locator(".viewer").first
    slider.focus()
    page.keyboard.press("End")
    assert viewer.evaluate("each => each.style.getPropertyValue('--at')") == "100%"
    page.locator("select.right").first.select_option("HR")
    assert viewer.locator("img.right").get_attribute("data-version") == "HR"
    assert viewer.locator("b.right").inner_text() == "HR"
    button = page.locator("thead button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    column = page.locator("tbody tr td:nth-child(2)")
    falling = [float(each) for each in column.all_inner_texts()]
    assert falling == sorted(falling, reverse=True)
    page.keyboard.press("Enter")
    assert [float(each) for each in column.all_inner_texts()] == falling[::-1]
    assert page.locator("th[aria-sort=ascending]").count() == 1
    assert asked == [address]
    page.context.close()


def test_without_its_script_all_is_there_but_the_slider(browser, address):
    page, asked = opened(browser, address, java_script_enabled=False)
    assert not page.locator(".controls").first.is_visible()
    shown = [each for each in page.locator(".viewer").first.locator("img").all() if each.is_visible()]
    assert [each.get_attribute("data-version") for each in shown] == ["HR"]
    assert page.locator(".crops li").first.is_visible()
    assert page.locator("tbody tr").first.is_visible()
    assert asked == [address]
    page.context.close()
