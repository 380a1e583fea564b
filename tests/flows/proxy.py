"""A TCP proxy that passes bytes to a server, or hangs, refuses, answers 500, or loses answers."""

import contextlib
import socket
import threading

ANSWER_500 = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Listens on `port`. `mode`: pass, hang (accepts, never answers), down, 500, healthy (only /health is answered),
    lossy (metrics reach the server, and its answers to them are lost).

    Each request has a connection of its own, so that a mode holds from the next request on.
    """

    def __init__(self, server_port: int) -> None:
        self.mode = "pass"
        self.requests = 0
        self._server_port, self._held = server_port, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for held in [*self._held, self._listener]:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._held.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            mode = self.mode
            if mode == "down":
                return
            request = _request(connection)
            self.requests += 1
            is_health = b" /health " in request[:200]
            if mode == "hang" or (mode == "healthy" and not is_health):
                while connection.recv(65536):
                    pass
            elif mode == "500":
                connection.sendall(ANSWER_500)
            else:
                answer = self._ask(request)
                if not (mode == "lossy" and b"/log-batch" in request[:200] and b'"metrics"' in request):
                    connection.sendall(answer)

    def _ask(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self._server_port), timeout=30) as server:
            server.sendall(request.replace(b"Connection: keep-alive", b"Connection: close", 1))
            parts = []
            while part := server.recv(65536):
                parts.append(part)
        return b"".join(parts)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _more(connection)
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    if not (part := connection.recv(65536)):
        raise OSError("the client has gone")
    return part
