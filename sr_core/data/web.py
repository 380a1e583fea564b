"""One HTTP connection that can be cut from another thread: requests, redirects, proxies, and what answers mean.

The connection is kept between requests to one host. The proxies of the environment are used (http_proxy, https_proxy,
no_proxy). A socket's time-out ends a stall but not a drip, which sends a byte now and then, in the header as well as in
the body: for this there is `Web.cut`.
"""

import base64
import contextlib
import email.utils
import http.client
import re
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

READ_BYTES = 1 << 18
REDIRECTS = {301, 302, 303, 307, 308}
TRY_AGAIN = {408, 425, 429}  # and 5xx
SMALL_BYTES = 1 << 16  # the rest of an answer that is read only to keep its connection


class TransferError(Exception):
    """A request failed; the same again, after `wait_s` if the server named a time, may succeed."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class RefusedError(Exception):
    """A request failed, and would again."""


class Web:
    """GET requests, one after another. Only `cut` may be called from another thread."""

    def __init__(self, *, timeout_s: float, max_redirects: int) -> None:
        self._timeout_s, self._max_redirects = timeout_s, max_redirects
        self.location = ""
        self._connection: http.client.HTTPConnection | None = None
        self._host: tuple[str, str] | None = None
        self._response: http.client.HTTPResponse | None = None
        self._cut_because: str | None = None

    def get(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """The answer to a GET of `url`, its body unread. Its status is 200, 206 or 416.

        Redirects are followed, to `location`.

        Raises:
            TransferError: no answer, or one that says to try again.
            RefusedError: any other answer.
        """
        target = url
        for _ in range(self._max_redirects + 1):
            response = self._ask(target, headers)
            if response.status not in REDIRECTS:
                _check_status(response)
                self.location = target
                return response
            target = _redirected(target, response.headers.get("Location", ""))
            self.finish(response)
        raise RefusedError(f"redirects more than {self._max_redirects} times, last to {without_user(target)}")

    def pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body as it comes, to the end that the server or the network has set."""
        while piece := self._guarded(lambda: response.read1(READ_BYTES)):
            yield piece
        if self._cut_because is not None:  # a cut connection reads as an ended one
            raise TransferError(self._cut_because)

    def finish(self, response: http.client.HTTPResponse) -> None:
        """Leaves the connection ready for the next request, or closes it where more than a little is unread."""
        if response.length is None or response.length > SMALL_BYTES:
            self.close()
        else:
            self._guarded(response.read)
        response.close()

    def cut(self, reason: str) -> None:
        """Ends the request that is under way with a TransferError that says `reason`."""
        self._cut_because = reason
        connection = self._connection
        with contextlib.suppress(OSError, AttributeError):
            # below TLS, whose own shutdown would let the reader take ciphertext for data
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # type: ignore[union-attr]

    def close(self) -> None:
        """Drops the connection, if there is one, and what is unread."""
        for each in (self._response, self._connection):  # the connection alone forgets an answer that ends it
            if each is not None:
                each.close()
        self._response, self._connection, self._cut_because = None, None, None

    def _ask(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        try:
            parts = urllib.parse.urlsplit(url)
            host = parts.scheme, parts.netloc.rpartition("@")[2]
            if self._connection is None or self._host != host:
                self.close()
                self._connection, self._host = self._connect(parts), host
        except ValueError as error:  # such as a port that is no number
            raise RefusedError(f"is not a URL that can be fetched ({error})") from error
        is_reused = self._connection.sock is not None
        try:
            return self._guarded(lambda: self._send(parts, headers))
        except TransferError as error:
            # a server may close an idle connection at any time, even as the next request is on its way
            if is_reused and isinstance(error.__cause__, ConnectionError) and self._cut_because is None:
                self.close()
                return self._ask(url, headers)
            raise

    def _send(self, parts: urllib.parse.SplitResult, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        assert self._connection is not None
        proxy = _proxy(parts)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        target = urllib.parse.quote(path, safe="/?%:@!$&'()*+,;=~")
        if proxy is not None and parts.scheme == "http":
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
            headers = {**headers, **_authorization(proxy, "Proxy-Authorization")}
        more = {"Accept-Encoding": "identity", **_authorization(parts, "Authorization")}
        self._connection.request("GET", target, headers={**headers, **more})
        self._response = self._connection.getresponse()
        return self._response

    def _connect(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        if not parts.hostname:
            raise ValueError("it names no host")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        proxy = _proxy(parts)
        if proxy is None:
            return kind(parts.hostname, parts.port, timeout=self._timeout_s)
        connection = kind(proxy.hostname or "", proxy.port, timeout=self._timeout_s)
        if parts.scheme == "https":
            connection.set_tunnel(parts.hostname, parts.port, headers=_authorization(proxy, "Proxy-Authorization"))
        return connection

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except ssl.SSLCertVerificationError as error:
            raise RefusedError(f"has a certificate that is not trusted ({error.verify_message})") from error
        except (http.client.InvalidURL, UnicodeError) as error:
            raise RefusedError(f"is not a URL that can be fetched ({error})") from error
        except (OSError, http.client.HTTPException) as error:
            raise TransferError(self._cut_because or _reason(error, self._timeout_s)) from error


def without_user(url: str) -> str:
    """The URL without a user's name and password."""
    return re.sub(r"//[^/]*@", "//", url, count=1)


def content_range(response: http.client.HTTPResponse) -> tuple[int, int, int] | None:
    """First byte, byte after the last, and size of the whole file, of an answer 206; None: it does not say so."""
    found = re.fullmatch(
        r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", response.headers.get("Content-Range", ""), re.I
    )
    if found is None:
        return None
    first, last, size = map(int, found.groups())
    is_possible = first <= last < size and response.length in {None, last + 1 - first}
    return (first, last + 1, size) if is_possible else None


def _redirected(url: str, location: str) -> str:
    try:
        target = urllib.parse.urljoin(url, location)
        is_known = location != "" and urllib.parse.urlsplit(target).scheme in {"http", "https"}
    except ValueError:
        is_known = False
    if not is_known:
        raise RefusedError(f"redirects to {location!r}, expected an http or https URL")
    return target


def _check_status(response: http.client.HTTPResponse) -> None:
    """Raises for every status that brings no bytes of the file."""
    status = response.status
    said = f"answers HTTP {status} {response.reason}".rstrip()
    if status in TRY_AGAIN or status >= 500:
        raise TransferError(said, wait_s=_retry_after(response.headers.get("Retry-After", "")))
    if status not in {200, 206, 416}:
        raise RefusedError(said)


def _retry_after(value: str) -> float:
    """Seconds from now, of a number or a date; 0 for what is neither."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"sends nothing for {timeout_s:g} s"
    if isinstance(error, socket.gaierror):
        return f"its host is not found ({error.strerror})"
    if isinstance(error, http.client.RemoteDisconnected):
        return "closes the connection without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "ends before the whole file has come"
    if isinstance(error, OSError):
        return f"cannot be reached ({error.strerror or error})"
    return f"does not answer as HTTP ({type(error).__name__})"


def _proxy(parts: urllib.parse.SplitResult) -> urllib.parse.SplitResult | None:
    """The proxy that the environment names for a URL."""
    url = urllib.request.getproxies().get(parts.scheme)
    if not url or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.parse.urlsplit(url if "://" in url else f"http://{url}")


def _authorization(parts: urllib.parse.SplitResult, header: str) -> dict[str, str]:
    """Of http://user:password@host."""
    if parts.username is None:
        return {}
    user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {header: f"Basic {base64.b64encode(user.encode()).decode()}"}
