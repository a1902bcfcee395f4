"""HTTP/1.1 over a bare socket, for what well-behaved clients do not send and do not show."""

from __future__ import annotations

import json
import socket
from typing import Any, Iterator
from urllib.parse import urlsplit


class RawReply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes, complete: bool) -> None:
        self.status, self.headers, self.body, self.complete = status, headers, body, complete

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """HTTP/1.1 over a bare socket, for what well-behaved clients do not send."""

    def __init__(self, url: str, seconds: float = 20) -> None:
        parts = urlsplit(url)
        self.host = f"{parts.hostname}:{parts.port}"
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> RawReply:
        fields = {"Host": self.host} | (headers or {})
        if body or method in ("POST", "PUT"):
            fields.setdefault("Content-Length", str(len(body)))
            fields.setdefault("Content-Type", "application/json")
        head = (
            f"{method} {path} HTTP/1.1\r\n"
            + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
            + "\r\n"
        )
        self.send(head.encode("latin-1") + body)
        return self.reply(head_only=method == "HEAD")

    def _fill(self) -> bool:
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._buffer += piece
        return bool(piece)

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            if not self._fill():
                return None
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _take(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            if not self._fill():
                return None
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer that comes; its body is still to be read."""
        first = self._line()
        if first is None:
            raise ConnectionError("the server closed the connection without an answer")
        headers = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(first.split()[1]), headers

    def reply(self, *, head_only: bool = False) -> RawReply:
        status, headers = self.head()
        if head_only or status in (204, 304) or 100 <= status < 200:
            return RawReply(status, headers, b"", True)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body, complete = b"".join(self.chunks()), self.chunked_complete
            return RawReply(status, headers, body, complete)
        if "content-length" in headers:
            body = self._take(int(headers["content-length"]))
            return RawReply(status, headers, body or b"", body is not None)
        while self._fill():
            pass
        body, self._buffer = self._buffer, b""
        return RawReply(status, headers, body, True)

    chunked_complete = False

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body; afterwards chunked_complete says whether the terminating one came."""
        self.chunked_complete = False
        while (line := self._line()) is not None:
            size = int(line.split(b";")[0], 16)
            data = self._take(size)
            if data is None or self._take(2) is None:
                return
            if size == 0:
                self.chunked_complete = True
                return
            yield data

    def read_first_content(self) -> None:
        """The head of a streamed answer that is 200, and its chunks up to the first with content."""
        assert self.head()[0] == 200
        for chunk in self.chunks():
            if b'"content":"' in chunk:
                return
        raise AssertionError("the stream ended before its first content")

    def closed_by_server(self, seconds: float = 5) -> bool:
        """True once the server has ended the connection; what it still sends is dropped."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except (ConnectionResetError, BrokenPipeError):
            return True
        except TimeoutError:
            return False
