"""The served page as programs see it: the API, wrong files, addresses that lead elsewhere, many visitors at once."""

import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bad_inputs import BAD_INPUTS, BadInput
from web_server import MAX_UPLOAD_BYTES, MODEL, SCALE

from serving.models import open_any
from serving.web.limits import resident_bytes
from sr_core.data.images import write_png
from sr_core.data.pictures import encode_picture, read_picture
from sr_core.upscale import settings_of, upscale_picture

client_of = pytest.importorskip("gradio_client")

GROWTH_BYTES = 32 * 2**20  # of what is resident, by what Gradio keeps of visitors and by fragments

# gradio_client leaves its sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server(page_server):
    return page_server


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    one = client_of.Client(server.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))
    yield one
    one.close()


def enlarge(client, photo: Path, model: str = MODEL, version: str = "trained here") -> Path:
    values = client.predict(client_of.handle_file(photo), model, version, None, "benchmark-y", api_name="/enlarge")
    return Path(next(value["value"] for value in values if isinstance(value, dict) and "value" in value))


def photograph(path: Path, height: int = 45, width: int = 71, seed: int = 0) -> Path:
    write_png(path, np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    return path


def expected(server, data: bytes) -> bytes:
    loaded = open_any(str(server.model))
    return encode_picture(upscale_picture(loaded.network, read_picture(data), settings_of(loaded.card)), "png")


def test_a_program_gets_the_bytes_of_the_python_call(server, client, tmp_path):
    photo = photograph(tmp_path / "odd.png")
    found = enlarge(client, photo)
    assert found.name == f"odd-x{SCALE}.png"
    assert found.read_bytes() == expected(server, photo.read_bytes())


def test_bad_inputs_get_a_message_or_the_right_picture(server, client, tmp_path):
    """Of each kind some; all of them go through the same code in test_web_work.py."""
    assert answers_to(server, client, BAD_INPUTS[::8], tmp_path) == []


@pytest.mark.slow
def test_every_bad_input_gets_a_message_or_the_right_picture(server, client, tmp_path):
    assert answers_to(server, client, BAD_INPUTS, tmp_path) == []


def answers_to(server, client, inputs: Sequence[BadInput], folder: Path) -> list[str]:
    """What is wrong with the page's answers."""
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda bad: answer_to(server, client, bad, Path(tempfile.mkdtemp(dir=folder))), inputs)
        return [problem for problem in found if problem]


def answer_to(server, client, bad: BadInput, folder: Path) -> str | None:
    """What is wrong with the page's answer, or None."""
    (folder / "photo.bin").write_bytes(bad.data)
    try:
        found = enlarge(client, folder / "photo.bin")
    except Exception as error:  # gradio_client's, or httpx's of an upload that is too large
        said = str(error)
        too_large = len(bad.data) > MAX_UPLOAD_BYTES and "maximum" in said
        says = (bad.says or "nothing").replace(r"data\.max_pixels 100000000", r"this page's limit of \d+")
        return None if too_large or re.search(says, said) else f"{bad.name}: said {said}"
    if bad.picture is None:
        return f"{bad.name}: became {found}"
    return None if found.read_bytes() == expected(server, bad.data) else f"{bad.name}: became another picture"


def test_a_url_instead_of_a_file_is_not_fetched(server, client):
    file = {"path": f"{server.url}favicon.ico", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="nothing is fetched from elsewhere"):
        client.predict(file, MODEL, "trained here", None, "benchmark-y", api_name="/enlarge")


@pytest.mark.parametrize("path", ["gradio_api/proxy=https://example.org/a", "gradio_api/file=http://127.0.0.1:1/a"])
def test_addresses_that_lead_elsewhere_are_refused(server, path):
    assert status_of(server.url + path) == 403


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("path", ["gradio_api/file=/etc/passwd", "comparisons/../../models/edsr-x2-test/card.json"])
def test_files_of_the_machine_are_not_handed_out(server, path):
    assert status_of(server.url + path) in {403, 404}


def test_a_model_that_is_no_choice_is_not_opened(server, client, tmp_path):
    photo = photograph(tmp_path / "a.png")
    with pytest.raises(Exception, match=r"there is no model '/etc/passwd'"):
        enlarge(client, photo, "/etc/passwd")


def test_the_page_names_no_other_host_to_load_from(server):
    with urllib.request.urlopen(server.url) as answer:
        text, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert not re.search(r"https?:", policy)
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]+)\"", text)
    assert loaded
    assert [address for address in loaded if re.match(r"(?:https?:)?//", address)] == []


def test_four_visitors_at_once_all_get_their_own_and_memory_stays(server, tmp_path):
    """Of the first some is kept (torch, the model), and of the others nothing."""
    visit_all(server, tmp_path, range(4))
    before = resident_bytes(server.pid)
    visit_all(server, tmp_path, range(4, 12))
    assert resident_bytes(server.pid) - before < GROWTH_BYTES


@pytest.mark.slow
def test_memory_stays_over_fifty_uploads(server, tmp_path):
    visit_all(server, tmp_path, range(10))
    before = resident_bytes(server.pid)
    visit_all(server, tmp_path, range(10, 60))
    assert resident_bytes(server.pid) - before < GROWTH_BYTES


def visit_all(server, folder: Path, numbers: range) -> None:
    """Four visitors at once; each number is a photograph of its own."""

    def visit(photo: Path) -> bool:
        visitor = client_of.Client(server.url, verbose=False, download_files=folder / f"got-{photo.stem}")
        found = enlarge(visitor, photo)
        visitor.close()
        return found.read_bytes() == wanted[photo.name]

    photos = [photograph(folder / f"{number}.png", height=30 + number, seed=number) for number in numbers]
    wanted = {photo.name: expected(server, photo.read_bytes()) for photo in photos}
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(visit, photos)) == [True] * len(photos)
