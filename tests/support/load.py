"""Loads: a steady one on one function while something happens to it, and a herd of calls at one moment."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from urllib.parse import urlsplit

import httpx

from .server import Server


class Load:
    """`threads` callers in a loop until the block ends. Afterwards `.failures` lists what was not a whole answer.
    Further fields go into each request."""

    def __init__(
        self, server: Server, name: str, *, threads: int = 4, max_tokens: int = 16, **fields: Any
    ) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._server, self._name, self._max_tokens, self._fields = server, name, max_tokens, fields
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(timeout=70)

    def stop(self) -> None:
        """No new calls; those under way are answered."""
        self._stop.set()

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                body = {
                    "model": self._name,
                    "max_tokens": self._max_tokens,
                    "temperature": 0,
                    "messages": [{"role": "user", "content": f"caller {number}, call {count}"}],
                    "stream": count % 2 == 0,
                } | self._fields
                started = time.monotonic()
                try:
                    reply = client.post("/v1/chat/completions", json=body)
                    whole = reply.status_code == 200 and (
                        not body["stream"] or "data: [DONE]" in reply.text
                    )
                    if not whole:
                        self.failures.append(f"{reply.status_code} {reply.text[-300:]}")
                    self.answers.append(
                        {
                            "status": reply.status_code,
                            "seconds": time.monotonic() - started,
                            "revision": reply.headers.get("x-glowplug-revision"),
                        }
                    )
                except httpx.HTTPError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")

    def answered(self, revision: object = None) -> int:
        """Whole answers so far, of one revision when it is named."""
        return sum(
            1
            for answer in list(self.answers)
            if answer["status"] == 200 and (revision is None or answer["revision"] == str(revision))
        )


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What `call(0)` … `call(count - 1)` give, each on a thread of its own; the first exception is raised."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


class Answer:
    """Of a call of a herd."""

    def __init__(self, reply: bytes) -> None:
        head, _, self.body = reply.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        fields = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in fields}

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]


def herd(server: Server, name: str, count: int, *, max_tokens: int = 1) -> list[Answer]:
    """`count` calls, each on a connection of its own; all connections are open before the first call is sent."""
    at = urlsplit(server.url)
    body = json.dumps(
        {
            "model": name,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": "all at once"}],
        }
    ).encode()
    call = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {at.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        try:
            writer.write(call)
            return Answer(await reader.read())
        finally:
            writer.close()

    async def all_of_them() -> list[Answer]:
        opened = [await asyncio.open_connection(at.hostname, at.port) for _ in range(count)]
        return await asyncio.gather(*(ask(*one) for one in opened))

    return asyncio.run(asyncio.wait_for(all_of_them(), 60))


class Highest:
    """Asks `look()` over and over, or `every` so many seconds, while the block runs; `.seen` is the highest it gave.
    What it raises is raised at the block's end."""

    def __init__(self, look: Callable[[], float], every: float = 0) -> None:
        self.seen = float("-inf")
        self._look, self._every, self._stop = look, every, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: Any) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        if kind is not None:  # the block's own is told
            return
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise TimeoutError("look() did not come back within 30 s")

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every):
                self.seen = max(self.seen, self._look())
        except BaseException as error:
            self._error = error
