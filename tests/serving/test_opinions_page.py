"""The vote page as people use it: in a real browser, by mouse and keyboard, at two widths, two raters at once."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import chromium
import made
import pytest
import voting

from serving.opinions.page import main
from serving.opinions.stimuli import Stimuli
from serving.opinions.votes import Votes

START_S = 60

pytest.importorskip("gradio")
pytestmark = chromium.needed


def start(place, port):
    """A server of its own process, and its address when it answers."""
    command = [sys.executable, "-m", "serving.opinions.page", "--port", str(port)]
    command += ["--compare", str(place / "compare"), "--opinions", str(place / "opinions")]
    with (place / "server.log").open("a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    address = f"http://127.0.0.1:{port}/"
    for _ in range(START_S * 5):
        assert server.poll() is None, (place / "server.log").read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return server, address
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the page does not answer")


def stop(server, how=signal.SIGINT):
    server.send_signal(how)
    assert server.wait(timeout=30) in {0, -signal.SIGKILL}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("votes")
    voting.comparison(place / "compare", images=("waldo-1", "waldo-2", "waldo-3"), side=320)
    return place


@pytest.fixture(scope="module")
def address(place):
    server, address = start(place, made.free_port())
    yield address
    stop(server)


@pytest.fixture(scope="module")
def browser():
    with chromium.started() as browser:
        yield browser


class Rater:
    """A person before a browser of her own; everything that the page asks for is noted."""

    def __init__(self, browser, address, width=1280, height=800):
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.address, self.asked, self.problems = address, [], []
        self.page.on("request", lambda request: self.asked.append((request.url, request.post_data or "")))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.open()

    def open(self):
        self.page.goto(self.address)
        self.see("Which pictures look good?")

    def see(self, text):
        self.page.get_by_text(text, exact=False).first.wait_for()

    def click(self, name, nth=0):
        self.page.get_by_role("button", name=name, exact=True).nth(nth).click()

    def begin(self, kind):
        self.page.locator(".card").nth(0 if kind == "scores" else 1).get_by_role("button").click()
        self.page.locator(".count, h2:has-text('Before you begin')").first.wait_for()
        if self.page.locator(".count").count() == 0:
            self.click("Begin")
        self.page.locator(".count").wait_for()

    def wait_for(self, count):
        self.see(count)
        self.page.wait_for_timeout(400)  # no answer is taken before anyone could have looked

    def rater(self):
        return self.page.evaluate("localStorage.getItem('sr-vote-rater')")


@pytest.fixture
def rater(browser, address):
    raters = []

    def make(**size):
        raters.append(Rater(browser, address, **size))
        return raters[-1]

    yield make
    for each in raters:
        each.context.close()
        assert each.problems == []


def votes(place, rater):
    votes, digest = Votes(path=place / "opinions" / "mine.db"), Stimuli(place / "compare" / "mine").digest
    return votes.scores(digest, rater=rater), votes.pairs(digest, rater=rater)


def test_scores_by_mouse_and_keyboard_and_a_reload(rater, place):
    one = rater()
    one.begin("scores")
    one.wait_for("1 of 15")
    one.page.locator("[data-answer='4']").click()
    one.wait_for("2 of 15")
    one.page.keyboard.press("2")
    one.wait_for("3 of 15")
    for key in ("6", "0", "x", "ArrowLeft", "Control+1"):
        one.page.keyboard.press(key)
    one.page.wait_for_timeout(300)
    one.see("3 of 15")
    one.open()  # a reload
    one.see("2 of 15 judged")
    one.begin("scores")
    one.wait_for("3 of 15")
    one.page.keyboard.press("5")
    one.wait_for("4 of 15")
    one.click("Stop here")
    one.see("You have judged 3.")
    assert [vote.score for vote in votes(place, one.rater())[0]] == [4, 2, 5]


def test_pairs_by_mouse_and_keyboard(rater, place):
    one = rater()
    one.begin("pairs")
    for number, key in enumerate(["ArrowLeft", "ArrowRight", "0", "="], 1):
        one.wait_for(f"{number} of 9")
        one.page.keyboard.press(key)
    one.wait_for("5 of 9")
    one.page.get_by_role("button", name="→ right").click()
    one.wait_for("6 of 9")
    assert [vote.choice for vote in votes(place, one.rater())[1]] == ["left", "right", "tie", "tie", "right"]


def test_a_double_click_is_one_vote(rater, place):
    one = rater()
    one.begin("scores")
    one.wait_for("1 of 15")
    one.page.locator("[data-answer='3']").dblclick()
    one.wait_for("2 of 15")
    one.page.evaluate("for (let i = 0; i < 9; i++) document.querySelector(\"[data-answer='5']\").click()")
    one.wait_for("3 of 15")
    one.page.wait_for_timeout(500)
    one.see("3 of 15")
    # a slow double click, whose second half meets the next picture: of many tries only those late enough count
    one.page.evaluate(
        "(async () => { const now = () => document.querySelector('.count').textContent;"
        "document.querySelector(\"[data-answer='1']\").click();"
        "while (now().startsWith('3 ')) await new Promise((next) => setTimeout(next, 1));"
        "for (let i = 0; i < 20; i++) { document.querySelector(\"[data-answer='2']\").click();"
        "await new Promise((next) => setTimeout(next, 10)); } })()"
    )
    one.wait_for("4 of 15")
    assert [vote.score for vote in votes(place, one.rater())[0]] == [3, 5, 1]


def test_nothing_names_a_model_before_the_results(rater, address):
    one = rater()
    texts = [one.page.content()]
    answers = []
    one.page.on("response", lambda response: answers.append(response) if "component_server" in response.url else None)
    for kind, keys in (("scores", "13524"), ("pairs", ["ArrowLeft", "0", "ArrowRight"])):
        one.open()
        one.begin(kind)
        for number, key in enumerate(keys, 1):
            one.wait_for(f"{number} of")
            texts.append(one.page.content())
            one.page.keyboard.press(key)
        one.wait_for(f"{len(keys) + 1} of")
        assert len(answers) >= len(keys) + 2
        texts += [response.text() for response in answers]  # before the browser forgets them
        answers.clear()
    texts += [url + data for url, data in one.asked]
    with urllib.request.urlopen(f"{address}config", timeout=10) as config:
        texts.append(config.read().decode())
    assert any("data:image/png" in text for text in texts)
    for secret in voting.SECRETS:
        # base64 of pixels may spell four letters by chance
        found = [
            text for text in texts if secret in _without_pixels(text) or secret.capitalize() in _without_pixels(text)
        ]
        assert found == [], secret
    outside = {url for url, _ in one.asked if not url.startswith((address, "data:", "blob:"))}
    assert outside == set()
    one.open()
    one.click("Show the results and end")
    one.see("Show the results?")
    one.click("Show the results")
    one.see("Made-x4-bicubic")
    one.see("srgan")
    one.click("Back")
    one.see("You have seen the results")


def _without_pixels(text):
    parts = text.split("data:image/png;base64,")
    return parts[0] + "".join(
        part.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") for part in parts[1:]
    )


def test_two_raters_at_once_each_have_their_own(rater, place):
    ann, bob = rater(), rater()
    for each in (ann, bob):
        each.begin("scores")
    for number in range(1, 6):
        for each, score in ((ann, "5"), (bob, "1")):
            each.wait_for(f"{number} of 15")
            each.page.keyboard.press(score)
    for each, score in ((ann, 5), (bob, 1)):
        each.wait_for("6 of 15")
        assert [vote.score for vote in votes(place, each.rater())[0]] == [score] * 5
    first, second = ([(v.image, v.model) for v in votes(place, each.rater())[0]] for each in (ann, bob))
    assert first != second


@pytest.mark.parametrize(("width", "zoom"), [(1280, 2), (400, 1)])
def test_pictures_are_shown_at_a_whole_multiple_and_fit(rater, width, zoom):
    one = rater(width=width)
    one.begin("pairs")
    shown = one.page.evaluate(
        "[...document.querySelectorAll('.booth img')].map((image) => [image.naturalWidth, image.naturalHeight, "
        "image.clientWidth, image.clientHeight, getComputedStyle(image).imageRendering, image.alt])"
    )
    assert shown == [[288, 288, 288 * zoom, 288 * zoom, "pixelated", "picture to judge"]] * 2
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    bottoms = one.page.evaluate(
        "[...document.querySelectorAll('.answers button')].map((button) => button.getBoundingClientRect().bottom)"
    )
    assert max(bottoms) <= 800


class Program:
    """A rater who asks the server without the page."""

    def __init__(self, address, number):
        self.address, self.rater = address, f"{number:032x}"
        with urllib.request.urlopen(f"{address}config", timeout=20) as config:
            components = json.load(config)["components"]
        self.component = next(each["id"] for each in components if each["type"] == "html")

    def ask(self, **request):
        data = {"rater": self.rater, "kind": "scores", **request}
        body = {"data": data, "fn_name": "answer", "session_hash": self.rater, "component_id": self.component}
        headers = {"content-type": "application/json"}
        place = f"{self.address}gradio_api/component_server/"
        request = urllib.request.Request(place, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def all_of_it(self):
        answer = self.ask(do="next")
        while "token" in answer:
            answer = self.ask(do="vote", token=answer["token"], answer=3)
        return answer


def test_a_dozen_raters_at_once(address, place):
    raters = [Program(address, number) for number in range(12)]
    with concurrent.futures.ThreadPoolExecutor(len(raters)) as pool:
        answers = list(pool.map(Program.all_of_it, raters))
    assert answers == [{"finished": True, "done": 15, "of": 15}] * 12
    assert {len(votes(place, each.rater)[0]) for each in raters} == {15}


def test_a_program_cannot_vote_what_the_page_does_not_offer(address, place):
    one = Program(address, 99)
    token = one.ask(do="next")["token"]
    for answer in (0, 6, 3.5, "3", None):
        assert "expected a whole number from 1" in one.ask(do="vote", token=token, answer=answer)["error"]
    assert votes(place, one.rater) == ((), ())


@pytest.mark.slow
def test_a_server_that_died_is_said_and_the_vote_can_be_given_again(browser, tmp_path):
    voting.comparison(tmp_path / "compare")
    port = made.free_port()
    server, address = start(tmp_path, port)
    one = Rater(browser, address)
    try:
        one.begin("scores")
        one.wait_for("1 of 10")
        one.page.keyboard.press("4")
        one.wait_for("2 of 10")
        stop(server, signal.SIGKILL)
        one.page.keyboard.press("5")
        one.see("The server does not answer")
        server, _ = start(tmp_path, port)
        one.open()
        one.see("1 of 10 judged")
        one.begin("scores")
        one.wait_for("2 of 10")
        one.page.keyboard.press("5")
        one.wait_for("3 of 10")
        assert [vote.score for vote in votes(tmp_path, one.rater())[0]] == [4, 5]
    finally:
        one.context.close()
        stop(server)


def test_a_port_in_use_is_a_sentence(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--compare", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"--port: 127.0.0.1:{port} cannot be listened at")
    assert main(["--port", "70000", "--compare", str(tmp_path)]) == 1


def test_a_name_that_is_no_comparison_is_a_sentence(tmp_path, capsys):
    voting.comparison(tmp_path)
    assert main(["absent", "--compare", str(tmp_path)]) == 1
    assert "expected one of: mine" in capsys.readouterr().err
    assert main(["--most", "0"]) == 1
    assert "expected 1 or more" in capsys.readouterr().err
