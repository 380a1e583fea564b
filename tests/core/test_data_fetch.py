"""Fetching from a real server with every fault that servers and networks have."""

import dataclasses
import hashlib
import random
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faulty_server
import pytest
from faulty_server import Fault, Server, served

from sr_core.data import transfer
from sr_core.data.fetch import Download, FetchPolicy, fetch
from sr_core.errors import SourceError
from sr_core.progress import QUIET, lines

CHUNK = 100_000
CONTENT = random.Random(7).randbytes(5 * CHUNK // 2)  # three requests
POLICY = FetchPolicy(chunk_bytes=CHUNK, retries=2, backoff_s=0.01, longest_retry_after_s=5)
IMPATIENT = dataclasses.replace(POLICY, timeout_s=0.6, floor_bytes_per_s=1000, floor_window_s=0.8)
UNKNOWN: dict[str, Any] = {"bytes": None, "sha256": None}
SLOW = {"stall", "drip", "drip in the header"}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as running:
        running.files["a.zip"] = CONTENT
        yield running


def download(server: Server, name: str = "a.zip", **values: Any) -> Download:
    content = server.files.get(name, CONTENT)
    known = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return Download(**{"name": name, "url": server.url(name), **known, **values})


def get(server: Server, folder: Path, policy: FetchPolicy = POLICY, **values: Any) -> Path:
    return fetch([download(server, **values)], folder, parallel=1, progress=QUIET, policy=policy)["a.zip"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".locks")


def leave_part(server: Server, folder: Path, **values: Any) -> None:
    """A first chunk, as a killed process leaves it."""
    server.faults = [faulty_server.well, faulty_server.status(404)]
    with pytest.raises(SourceError):
        get(server, folder, **values)
    assert names(folder) == ["a.zip.part", "a.zip.part.json"]
    assert (folder / "a.zip.part").stat().st_size == CHUNK
    server.requests.clear()
    server.sent = 0


def test_a_file_comes_in_chunks_over_one_connection_and_is_there_then(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path / "deep" / "archives")

    assert path == tmp_path / "deep" / "archives" / "a.zip"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["a.zip"]
    assert server.ranges() == ["bytes=0-99999", "bytes=100000-199999", "bytes=200000-249999"]
    get(server, path.parent)
    assert len(server.requests) == 3


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), CONTENT + b"x", b""])
def test_a_wrong_file_in_its_place_is_replaced(server: Server, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(damage)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ["a.zip"]


FIRST_FAULTS: dict[str, Fault] = {
    "range ignored": faulty_server.whole,
    "wrong Content-Range": faulty_server.wrong_range,
    "more than was asked for": faulty_server.more_than_asked,
    "no Content-Range": faulty_server.no_range_named,
    "416": faulty_server.not_satisfiable,
    "a page": faulty_server.page,
    "no Content-Length": faulty_server.without_length,
    "chunked": faulty_server.in_chunks,
    "chunked and cut": lambda handler, content: faulty_server.in_chunks(handler, content[:50_000], ends=False),
    **{f"cut at {100 * f:g} %": faulty_server.cut(f) for f in (0, 0.01, 0.5, 0.999)},
    **{f"no length, cut at {100 * f:g} %": faulty_server.cut(f, has_length=False) for f in (0, 0.01, 0.5, 0.999)},
    "stall": faulty_server.stall,
    "drip": faulty_server.drip,
    "drip in the header": faulty_server.drip_head,
    "no answer": faulty_server.hang_up,
    "another protocol": faulty_server.nonsense,
    "endless": faulty_server.endless,
    "429": faulty_server.status(429),
    "500": faulty_server.status(500),
    "503 with nonsense": faulty_server.status(503, Retry_After="soon"),
}


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("fault", FIRST_FAULTS)
def test_a_fault_and_then_well(server: Server, tmp_path: Path, fault: str, resumes: bool) -> None:
    if resumes:
        leave_part(server, tmp_path)
    server.faults = [FIRST_FAULTS[fault]]

    assert get(server, tmp_path, IMPATIENT if fault in SLOW else POLICY).read_bytes() == CONTENT
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong Content-Range", "answers with the wrong range 'bytes 1-250000/250000', in 3 attempts"),
        ("416", "answers HTTP 416, as if the file were shorter, in 3 attempts"),
        ("a page", "answers with a web page (text/html), not with the file, in 3 attempts"),
        ("cut at 0 %", "ends at byte 0 of 100000, in 3 attempts"),
        ("no length, cut at 50 %", "ends at byte 50000 of 250000, in 3 attempts"),
        ("chunked and cut", "ends before the whole file has come, in 3 attempts"),
        ("stall", "sends nothing for 0.6 s, in 3 attempts"),
        ("drip", "sends less than 1 kB/s for 0.8 s, in 3 attempts"),
        ("drip in the header", "sends less than 1 kB/s for 0.8 s, in 3 attempts"),
        ("no answer", "closes the connection without an answer, in 3 attempts"),
        ("another protocol", "does not answer as HTTP (BadStatusLine), in 3 attempts"),
        ("500", "answers HTTP 500 Internal Server Error, in 3 attempts"),
    ],
)
def test_a_fault_that_stays_is_said(server: Server, tmp_path: Path, fault: str, reason: str) -> None:
    always = FIRST_FAULTS[fault]
    server.always = lambda handler, content: always(handler, content)

    with pytest.raises(SourceError) as caught:
        get(server, tmp_path, IMPATIENT if fault in SLOW else POLICY)
    assert str(caught.value) == (
        "1 of 1 files cannot be fetched; name another place in data.mirror, or a folder that holds the file in "
        f"data.archives:\n  {server.url('a.zip')}: {reason}"
    )
    assert "a.zip" not in names(tmp_path)


def test_what_comes_beyond_the_end_is_not_read(server: Server, tmp_path: Path) -> None:
    server.always = faulty_server.endless
    assert get(server, tmp_path).read_bytes() == CONTENT
    with pytest.raises(SourceError, match="has sha256"):
        get(server, tmp_path / "other", bytes=len(CONTENT) - 1)


def test_cut_in_every_answer_it_still_comes(server: Server, tmp_path: Path) -> None:
    server.files["a.zip"] = content = CONTENT * 4
    half = faulty_server.cut(0.5)
    server.always = lambda handler, all_of_it: (
        half(handler, all_of_it) if len(server.requests) < 18 else faulty_server.well(handler, all_of_it)
    )
    assert get(server, tmp_path).read_bytes() == content
    assert server.sent == len(content), "no byte came twice"


def test_a_server_without_ranges_that_always_cuts_is_given_up(server: Server, tmp_path: Path) -> None:
    server.always = faulty_server.ends_at(0.9)
    with pytest.raises(SourceError, match=r"ends at byte 225000 of 250000, in 3 attempts"):
        get(server, tmp_path)
    assert len(server.requests) == 1 + POLICY.retries


def test_the_rest_is_asked_for_by_if_range(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT

    assert server.sent == len(CONTENT) - CHUNK
    assert server.ranges()[0] == "bytes=100000-199999"
    assert server.requests[0].if_range == f'"{hashlib.sha256(CONTENT).hexdigest()[:8]}"'


@pytest.mark.parametrize("fault", ["page", "message", "not_satisfiable", "other_size", "wrong_range", "hang_up"])
def test_no_bad_answer_costs_what_has_come(server: Server, tmp_path: Path, fault: str) -> None:
    leave_part(server, tmp_path)
    server.always = getattr(faulty_server, fault)
    with pytest.raises(SourceError, match="in 3 attempts"):
        get(server, tmp_path)
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:CHUNK]
    server.always = None
    server.requests.clear()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == ["bytes=100000-199999", "bytes=200000-249999"]


def test_last_modified_serves_where_there_is_no_etag(server: Server, tmp_path: Path) -> None:
    server.has_etag = False
    leave_part(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[0].if_range == "Sat, 01 Jan 2022 00:00:00 GMT"
    assert server.sent == len(CONTENT) - CHUNK


def test_a_weak_etag_does_not(server: Server, tmp_path: Path) -> None:
    server.etags["a.zip"] = 'W/"1"'
    leave_part(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[0].if_range is None


@pytest.mark.parametrize(
    "fault",
    [
        faulty_server.wrong_range,
        faulty_server.later_range,
        faulty_server.more_than_asked,
        faulty_server.no_range_named,
        faulty_server.whole,
    ],
)
@pytest.mark.parametrize("resumes", [False, True])
def test_no_answer_puts_bytes_into_the_wrong_place(server: Server, tmp_path: Path, fault: Fault, resumes: bool) -> None:
    if resumes:
        leave_part(server, tmp_path, **UNKNOWN)
    server.faults = [fault]
    assert get(server, tmp_path, **UNKNOWN).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "fault", [faulty_server.not_satisfiable, faulty_server.later_range, faulty_server.no_range_named]
)
@pytest.mark.parametrize("resumes", [False, True])
def test_a_server_with_bad_ranges_is_asked_for_all(server: Server, tmp_path: Path, fault: Fault, resumes: bool) -> None:
    if resumes:
        leave_part(server, tmp_path)
    server.always = lambda handler, content: (fault if handler.headers.get("Range") else faulty_server.whole)(
        handler, content
    )
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [faulty_server.well, faulty_server.ignores_if_range])
@pytest.mark.parametrize("has_etag", [True, False])
def test_a_file_that_changes_midway_comes_anew(server: Server, tmp_path: Path, fault: Fault, has_etag: bool) -> None:
    server.has_etag = has_etag
    leave_part(server, tmp_path, **UNKNOWN)
    server.files["a.zip"] = new = CONTENT[::-1]
    server.modified = "Sun, 02 Jan 2022 00:00:00 GMT"
    server.always = fault

    assert get(server, tmp_path, **UNKNOWN).read_bytes() == new


def test_an_etag_that_changes_over_the_same_file_is_no_harm(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    server.etags["a.zip"] = '"of another host"'
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("num_bytes", [len(CONTENT), len(CONTENT) + CHUNK])
def test_a_file_that_changes_between_two_chunks_comes_anew(server: Server, tmp_path: Path, num_bytes: int) -> None:
    new = random.Random(8).randbytes(num_bytes)

    def changes(handler: faulty_server.Handler, content: bytes) -> None:
        server.files["a.zip"] = new
        faulty_server.ignores_if_range(handler, new)

    server.faults = [faulty_server.well, changes]
    assert get(server, tmp_path, **UNKNOWN).read_bytes() == new


@pytest.mark.parametrize("retry_after", ["2", "date"])
def test_a_server_names_the_time_to_wait(server: Server, tmp_path: Path, retry_after: str) -> None:
    value = faulty_server.retry_at(2.5) if retry_after == "date" else retry_after
    server.faults = [faulty_server.status(503, Retry_After=value)]
    start_s = time.monotonic()
    get(server, tmp_path)
    assert 1.2 < time.monotonic() - start_s < 20


def test_a_server_that_wants_too_long_a_wait_is_given_up(server: Server, tmp_path: Path) -> None:
    server.faults = [faulty_server.status(429, Retry_After="7200")]
    with pytest.raises(SourceError, match=r"HTTP 429 Too Many Requests, and asks to wait 2 h 0 min"):
        get(server, tmp_path)


def test_pauses_grow_and_differ(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transfer.Transfer, "_sleep", lambda self, seconds: waits.append(seconds))
    policy = dataclasses.replace(POLICY, retries=6, backoff_s=1, longest_backoff_s=10)
    server.always = faulty_server.status(500)
    with pytest.raises(SourceError):
        get(server, tmp_path, policy)
    pauses = [seconds for seconds in waits if seconds]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, (1, 2, 4, 8, 10, 10), strict=True))
    assert len({pause / most for pause, most in zip(pauses, (1, 2, 4, 8, 10, 10), strict=True)}) > 1


@pytest.mark.parametrize(
    ("code", "words"), [(403, "Forbidden"), (404, "Not Found"), (410, "Gone"), (204, "No Content")]
)
def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path, code: int, words: str) -> None:
    server.always = faulty_server.status(code)
    with pytest.raises(
        SourceError, match=rf"data\.mirror.*data\.archives:\n  http://.*a\.zip: answers HTTP {code} {words}$"
    ):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_all_offenders_are_listed_and_the_others_come(server: Server, tmp_path: Path) -> None:
    server.files["b.zip"] = b"b"
    wanted = [
        download(server, "gone.zip"),
        download(server),
        download(server, "lost.zip", advice="ask its author"),
        download(server, "b.zip", sha256="0" * 64),
    ]
    with pytest.raises(SourceError) as caught:
        fetch(wanted, tmp_path, parallel=2, progress=QUIET, policy=POLICY)

    head, *rest = str(caught.value).splitlines()
    assert head.startswith("3 of 4 files cannot be fetched; name another place in data.mirror")
    assert head.endswith("; ask its author:")
    assert [re.sub(r".*/(\w+\.zip): (has|answers).*", r"\1 \2", line) for line in rest] == [
        "gone.zip answers",
        "lost.zip answers",
        "b.zip has",
    ]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    server.files["moved here.zip"] = CONTENT
    server.faults = [faulty_server.redirect("/moved here.zip"), faulty_server.redirect("moved%20here.zip?x=1")]
    server.files["moved%20here.zip"] = server.files["moved%20here.zip?x=1"] = CONTENT
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_redirect_to_another_host_is_followed(server: Server, tmp_path: Path) -> None:
    with served() as other:
        other.files["b.zip"] = CONTENT
        server.always = faulty_server.redirect(other.url("b.zip"))
        assert get(server, tmp_path).read_bytes() == CONTENT
        assert other.sent == len(CONTENT)
    assert len(server.requests) == 1, "the place is remembered"


def test_where_a_redirect_led_may_expire(server: Server, tmp_path: Path) -> None:
    with served() as other:
        other.files["b.zip"] = CONTENT
        other.faults = [faulty_server.well, faulty_server.status(403)]
        server.always = faulty_server.redirect(other.url("b.zip"))
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_the_body_of_a_redirect_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    def redirect(handler: faulty_server.Handler, content: bytes) -> None:
        handler.head(302, length=10**9, Location="/a.zip")
        handler.server.ended.wait(20)

    server.faults = [redirect]
    start_s = time.monotonic()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert time.monotonic() - start_s < 10


def test_a_connection_that_the_server_has_closed_costs_no_attempt(server: Server, tmp_path: Path) -> None:
    def closes(handler: faulty_server.Handler, content: bytes) -> None:
        faulty_server.well(handler, content)
        handler.close_connection = True

    server.always, seen = closes, Recorder()
    fetch([download(server)], tmp_path, parallel=1, progress=seen, policy=POLICY)
    assert [text for text in seen.said if "trying again" in text] == []


def test_a_file_may_be_called_a_page(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html"
    assert get(server, tmp_path).read_bytes() == CONTENT
    with pytest.raises(SourceError, match="answers with a web page"):
        get(server, tmp_path / "other", bytes=None)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/a.zip", "redirects more than 10 times, last to http://127.0.0.1"),
        ("file:///etc/passwd", "redirects to 'file:///etc/passwd', expected an http or https URL"),
        ("", "redirects to '', expected"),
        ("http://[", r"redirects to 'http://\[', expected"),
        ("http://h:port/", r"is not a URL that can be fetched \("),
    ],
)
def test_a_bad_redirect_is_refused(server: Server, tmp_path: Path, location: str, reason: str) -> None:
    server.always = faulty_server.redirect(location)
    with pytest.raises(SourceError, match=reason):
        get(server, tmp_path)
    assert len(server.requests) <= 11


def test_a_wrong_digest_is_fetched_once_more_and_then_said(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = download(server, sha256="ab" * 32)
    with pytest.raises(SourceError) as caught:
        fetch([wanted], tmp_path, parallel=1, progress=lines(said.append), policy=POLICY)

    found = hashlib.sha256(CONTENT).hexdigest()
    assert f"{server.url('a.zip')}: has sha256 {found}, expected {'ab' * 32}" in str(caught.value)
    assert server.sent == 2 * len(CONTENT)
    assert server.requests[-1].headers["Cache-Control"] == "no-cache"
    assert any("sha256 is wrong, so it is fetched once more" in text for text in said)
    assert names(tmp_path) == []


def test_a_part_that_was_spoilt_comes_anew(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    (tmp_path / "a.zip.part").write_bytes(bytes(CHUNK))
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "record", ["", "[]", "{", '{"bytes": -1}', '{"bytes": "9"}', '{"bytes": 999999999}', '{"of": 1, "bytes": true}']
)
def test_a_damaged_record_is_no_record(server: Server, tmp_path: Path, record: str) -> None:
    leave_part(server, tmp_path)
    (tmp_path / "a.zip.part.json").write_text(record)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges()[0] == "bytes=0-99999"


def test_bytes_without_a_record_are_not_trusted(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    with (tmp_path / "a.zip.part").open("ab") as file:
        file.write(bytes(5000))  # synced or not, nobody knows
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - CHUNK


def test_a_part_of_another_file_is_not_continued(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    server.files["a.zip"] = new = CONTENT[::-1]
    assert get(server, tmp_path).read_bytes() == new
    assert server.ranges()[0] == "bytes=0-99999"


def test_another_mirror_goes_on_with_the_part_of_the_first(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    server.files["mirror/a.zip"] = CONTENT
    assert get(server, tmp_path, url=server.url("mirror/a.zip")).read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - CHUNK
    assert server.requests[0].if_range is None


@pytest.mark.parametrize("fault", ["well", "whole", "without_length", "in_chunks"])
def test_what_is_not_known_is_not_needed(server: Server, tmp_path: Path, fault: str) -> None:
    server.always = getattr(faulty_server, fault)
    assert get(server, tmp_path, **UNKNOWN).read_bytes() == CONTENT


def test_the_first_digits_of_a_digest_are_checked(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert get(server, tmp_path, **UNKNOWN, sha256_prefix=digest[:8].upper()).exists()
    with pytest.raises(SourceError, match=f"has sha256 {digest}, expected 00000000"):
        get(server, tmp_path, **UNKNOWN, sha256_prefix="00000000")


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
@pytest.mark.parametrize("is_known", [True, False])
def test_sizes_around_a_chunk(server: Server, tmp_path: Path, size: int, is_known: bool) -> None:
    server.files["a.zip"] = CONTENT[:size]
    values = {} if is_known else UNKNOWN
    assert get(server, tmp_path, **values).read_bytes() == CONTENT[:size]


def test_another_size_than_expected_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.zip: is 250000 bytes, expected 99, in 3 attempts"):
        get(server, tmp_path, bytes=99)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/a.zip", r"cannot be reached \(Connection refused\), in 3 attempts"),
        ("http://nowhere.invalid/a.zip", r"its host is not found \(.*\), in 3 attempts"),
        ("http:///a.zip", r"is not a URL that can be fetched \(it names no host\)$"),
        ("http://127.0.0.1:99999/a.zip", r"is not a URL that can be fetched \("),
        (f"http://{'x' * 70}.invalid/a.zip", r"(is not a URL that can be fetched|its host is not found) \("),
    ],
)
def test_a_host_that_cannot_be_reached_is_named(server: Server, tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(SourceError, match=f"{re.escape(url)}: {reason}"):
        get(server, tmp_path, url=url)


def test_a_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = server.url("").replace("//", "//user:p%40ss@").rstrip("/")
    monkeypatch.setenv("http_proxy", proxy)
    assert get(server, tmp_path, url="http://data.example:8080/a.zip").read_bytes() == CONTENT
    assert server.requests[0].headers["Proxy-Authorization"] == "Basic dXNlcjpwQHNz"
    assert server.requests[0].headers["Host"] == "data.example:8080"


def test_a_password_goes_to_its_server_and_into_no_message(server: Server, tmp_path: Path) -> None:
    with served() as other:
        other.always = faulty_server.status(404)
        server.faults = [faulty_server.well, faulty_server.redirect(other.url("a.zip"))]
        url = server.url("a.zip").replace("//", "//me:s%40cret@")
        with pytest.raises(SourceError, match=r":\n  http://127\.0\.0\.1:\d+/a\.zip: answers HTTP 404") as caught:
            get(server, tmp_path, url=url)
        assert "Authorization" not in other.requests[0].headers
    assert {request.headers["Authorization"] for request in server.requests} == {"Basic bWU6c0BjcmV0"}
    assert "cret" not in str(caught.value) + (tmp_path / "a.zip.part.json").read_text()


@pytest.fixture
def secure(server: Server, tmp_path: Path) -> Server:
    """The server with TLS, and a certificate that nobody trusts yet."""
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made by openssl")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-nodes"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *subject, *files]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_tls_is_trusted_by_certificate_only(secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = secure.url("a.zip").replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(SourceError, match=r"has a certificate that is not trusted \(self.signed certificate\)$"):
        get(secure, tmp_path, url=url)
    assert secure.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    secure.faults = [faulty_server.well, faulty_server.cut(0.5), faulty_server.drip, faulty_server.whole]
    # the drip is cut from another thread, and no ciphertext may come for data
    assert get(secure, tmp_path, IMPATIENT, url=url, **UNKNOWN).read_bytes() == CONTENT


def test_progress_counts_bytes_and_says_why_it_waits(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    server.faults = [faulty_server.status(503)]
    seen = Recorder()
    fetch([download(server)], tmp_path, parallel=1, progress=seen, policy=POLICY)

    assert seen.started == [("Fetching a.zip", len(CONTENT) - CHUNK, "bytes")]
    assert seen.done == len(CONTENT) - CHUNK
    assert re.fullmatch(r"a\.zip: answers HTTP 503 Service Unavailable; trying again in \d+ s", seen.said[0])
    assert re.fullmatch(r"a\.zip: 250 kB in \d+ s, [\d.]+ [kM]?B/s", seen.said[1])


class Recorder:
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int | None, str]] = []
        self.said: list[str] = []
        self.done = 0

    def start(self, label: str, total: int | None = None, *, unit: str = "things") -> None:
        self.started.append((label, total, unit))

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def say(self, text: str) -> None:
        self.said.append(text)
