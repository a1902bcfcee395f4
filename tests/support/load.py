"""A steady load on one function while something happens to it; every answer is kept."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import httpx

from .server import Server


class Load:
    """`threads` callers in a loop until the block ends. Afterwards `.failures` lists what was not a whole answer."""

    def __init__(
        self, server: Server, name: str, *, threads: int = 4, max_tokens: int = 16
    ) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._server, self._name, self._max_tokens = server, name, max_tokens
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=70)

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
                }
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
