"""SIGTERM while something loads, is fetched or answers: who waits is told at once, who is answered is answered to the
end, and nothing of the server is left."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import gguf_corpus, processes, sse
from support.leaks import CGROUPS
from support.origin import Origin
from support.server import Server, fake, wait_until

TOLD_SECONDS = 1.0
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)"


class Caller(threading.Thread):
    """One call on a thread of its own; `.reply` once it was answered, after `.ended` s of the clock."""

    def __init__(self, server: Server, name: str, **more: Any) -> None:
        super().__init__(daemon=True)
        self.reply: httpx.Response | None = None
        self.ended = 0.0
        self._ask = lambda: server.chat(name, **more)
        self.start()

    def run(self) -> None:
        self.reply = self._ask()
        self.ended = time.monotonic()

    def told(self) -> httpx.Response:
        self.join(timeout=30)
        assert self.reply is not None, "it was not answered"
        return self.reply


def waiting(server: Server, name: str, count: int) -> list[Caller]:
    callers = [Caller(server, name, max_tokens=1) for _ in range(count)]
    wait_until(lambda: server.function(name)["waiting"] == count, 10, f"{count} calls wait")
    return callers


def check_told_at_once(callers: list[Caller], asked: float) -> None:
    for caller in callers:
        reply = caller.told()
        assert reply.status_code == 503, reply.text
        assert reply.json()["error"]["code"] == "shutting_down"
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert caller.ended - asked < TOLD_SECONDS


def check_nothing_left(server: Server) -> None:
    wait_until(lambda: not processes.mentioning(str(server.folder)), 3, "its processes have ended")
    assert not list(CGROUPS.rglob(f"glowplug-{server.pid}*"))
    assert server.run_dir is None or not list(server.run_dir.iterdir())
    assert not list(server.data_dir.rglob("*.tmp"))
    assert not list(server.cache_dir.rglob("partial/*.lock"))


def stubborn(name: str) -> dict:
    """A foreign engine that never gets ready and does not end for SIGTERM."""
    return fake(name) | {"engine": {"process": {"command": [sys.executable, "-c", STUBBORN]}}}


LOADS = {
    "template": lambda: fake("slow", load_time="30s"),
    "replica": lambda: fake("slow", load_time="30s", template="off"),
    "foreign": lambda: stubborn("slow"),
}


@pytest.mark.parametrize("load", LOADS)
def test_sigterm_ends_a_load_at_once_and_lets_answers_end(tmp_path: Path, load: str) -> None:
    with Server("--allow-process-engines", folder=tmp_path) as server:
        server.deploy(fake("steady", tokens_per_second=25, template="off"))
        server.deploy(LOADS[load]())
        before = set(processes.descendants(server.pid))
        callers = waiting(server, "slow", 3)
        wait_until(lambda: set(processes.descendants(server.pid)) - before, 5, "something loads")
        loading = set(processes.descendants(server.pid)) - before
        running = Caller(server, "steady", max_tokens=50, stream=True)  # about two seconds
        wait_until(lambda: server.function("steady")["in_flight"] == 1, 5, "the stream runs")
        asked = time.monotonic()
        server.terminate()
        check_told_at_once(callers, asked)
        wait_until(
            lambda: not any(map(processes.alive, loading)), TOLD_SECONDS, "what loaded has ended"
        )
        assert running.is_alive(), "the stream ended before the load did"
        events = sse.events(running.told().content)
        assert events[-1][1] == sse.DONE
        assert server.wait_exit(5) == 0
        check_nothing_left(server)


def test_sigterm_ends_a_fetch_at_once(tmp_path: Path) -> None:
    origin = Origin(gguf_corpus.whole(tmp_path).read_bytes())  # it does not answer
    try:
        with Server(folder=tmp_path) as server:
            server.deploy(fake("fetched", model=origin.url))
            callers = waiting(server, "fetched", 2)
            wait_until(lambda: origin.asked, 5, "the model is asked for")
            asked = time.monotonic()
            server.terminate()
            check_told_at_once(callers, asked)
            assert server.wait_exit(3) == 0
            check_nothing_left(server)
    finally:
        origin.close()


def test_second_sigterm_leaves_at_once(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("endless", tokens_per_second=10))
        with server.stream("endless", max_tokens=1000) as reply:
            pieces = reply.iter_raw()
            next(pieces)
            asked = time.monotonic()
            server.terminate()
            wait_until(lambda: "draining" in server.log(), 2, "it drains")
            server.terminate()
            assert server.wait_exit(5) == 0
            assert time.monotonic() - asked < 2 * TOLD_SECONDS
            with pytest.raises(httpx.RemoteProtocolError):  # not as if it were whole
                for _ in pieces:
                    pass
        check_nothing_left(server)
