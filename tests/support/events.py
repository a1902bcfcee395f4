"""A watcher of one function: its event stream, read by a thread of its own from the moment it is opened."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

from . import sse
from .server import Server, wait_until


class Events:
    """Used as a context manager; `.seen` grows while the block runs: (event name, data, seconds since the start)."""

    def __init__(self, server: Server, name: str, *, admin: bool = False) -> None:
        self.seen: list[tuple[str, dict[str, Any], float]] = []
        self.ended = False
        self.complete = False  # the stream ended properly
        self._client = server.raw(admin=admin)
        self._client.socket.settimeout(60)
        self._client.send(
            f"GET /v1/functions/{name}/events HTTP/1.1\r\nHost: {self._client.host}\r\n\r\n".encode()
        )
        assert self._client.head()[0] == 200
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Events:
        self._thread.start()
        self.wait(lambda: self.seen, 5, "the first event")
        return self

    def __exit__(self, *_: Any) -> None:
        # The reader's poll() holds the socket: close() alone would not reach the server before it ends.
        with contextlib.suppress(OSError):
            self._client.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._client.close()

    def _read(self) -> None:
        text = b""
        try:
            for piece in self._client.chunks():
                text += piece
                whole, end, rest = text.rpartition(b"\n\n")
                if not end:
                    continue
                text = rest
                for event, data in sse.events(whole):
                    self.seen.append((event, json.loads(data), time.monotonic() - self._began))
        except OSError:
            pass
        self.complete = self._client.chunked_complete
        self.ended = True

    def wait(self, condition, seconds: float, what: str) -> Any:
        try:
            return wait_until(condition, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; states: {self.states()}") from None

    def wait_state(self, *states: str, seconds: float = 10) -> None:
        """Until the states that were told, repetitions left out, end with these."""
        wanted = list(states)
        self.wait(lambda: self.states()[-len(wanted) :] == wanted, seconds, f"{wanted} is told")

    def of(self, event: str) -> list[dict[str, Any]]:
        return [data for name, data, _ in list(self.seen) if name == event]

    def states(self) -> list[str]:
        """The function's states in the order told, without repetitions."""
        told = [data["state"] for name, data, _ in list(self.seen) if name != "deleted"]
        return [state for i, state in enumerate(told) if i == 0 or told[i - 1] != state]
