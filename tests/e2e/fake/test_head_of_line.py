"""What one function waits for holds up no other: a warm one answers at once, a cold one starts at once."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest
from support.load import at_once
from support.server import Server, fake, wait_until

AT_ONCE = 1.0  # s, for what takes milliseconds on a machine that has nothing else to do


@pytest.fixture
def server(tmp_path: Path):
    with Server("--memory", "300MB", "--spares", "0", folder=tmp_path) as running:
        yield running


@pytest.fixture
def callers(server: Server):
    with ThreadPoolExecutor(16) as pool:
        yield pool
        server.kill()  # what is held up is not waited for


def put(server: Server, name: str, **more) -> str:
    fields = {"template": "off", "scale": {"max": 1}, "resources": {"memory": "40MB"}}
    return server.deploy(fake(name, **(fields | more)))


def waiting(server: Server, callers: ThreadPoolExecutor, name: str, count: int = 1) -> list[Future]:
    """Calls that wait for as long as the test lasts; the server's end tells them."""
    calls = [callers.submit(server.chat, name, max_tokens=1) for _ in range(count)]
    wait_until(lambda: server.function(name)["waiting"] == count, 10, f"{count} calls of {name} wait")
    return calls


def slow_start(server: Server, callers: ThreadPoolExecutor) -> list[Future]:
    put(server, "slow", load_time="20s")
    return waiting(server, callers, "slow", 3)


def slow_template(server: Server, callers: ThreadPoolExecutor) -> list[Future]:
    put(server, "slow", load_time="20s", template="on")
    return waiting(server, callers, "slow", 3)


def slow_engine_that_ignores(server: Server, callers: ThreadPoolExecutor) -> list[Future]:
    """A foreign program that never listens."""
    process = {"command": ["/bin/sleep", "60"]}
    put(server, "slow", engine={"process": process})
    return waiting(server, callers, "slow", 3)


def full_queue(server: Server, callers: ThreadPoolExecutor) -> list[Future]:
    put(server, "full", slots=1, tokens_per_second=20, limits={"queue": 3})
    running = callers.submit(server.chat, "full", max_tokens=300)
    wait_until(lambda: server.function("full")["in_flight"] == 1, 10, "its slot is taken")
    calls = waiting(server, callers, "full", 3)
    assert server.chat("full", max_tokens=1).json()["error"]["code"] == "queue_full"
    return [running, *calls]


def too_large_for_now(server: Server, callers: ThreadPoolExecutor) -> list[Future]:
    """It fits once another has ended its work."""
    put(server, "busy", tokens_per_second=20, resources={"memory": "150MB"})
    running = callers.submit(server.chat, "busy", max_tokens=300)
    wait_until(lambda: server.function("busy")["in_flight"] == 1, 10, "the room is taken")
    put(server, "large", resources={"memory": "200MB"})
    return [running, *waiting(server, callers, "large", 3)]


BLOCKERS = [slow_start, slow_template, slow_engine_that_ignores, full_queue, too_large_for_now]


@pytest.mark.parametrize("block", BLOCKERS, ids=lambda block: block.__name__)
def test_others_are_answered_and_started_at_once(
    server: Server, callers, block: Callable[[Server, ThreadPoolExecutor], list[Future]]
) -> None:
    warm = put(server, "warm")
    cold = [put(server, name, load_time="100ms") for name in ("cold-a", "cold-b")]
    assert server.chat(warm, max_tokens=1).status_code == 200

    def ask(name: str) -> tuple[float, bool]:
        asked = time.monotonic()
        reply = server.chat(name, max_tokens=1)
        assert reply.status_code == 200, reply.text
        return time.monotonic() - asked, reply.headers["x-glowplug-cold-start"] == "true"

    calm = statistics.median(ask(warm)[0] for _ in range(20))
    held_up = block(server, callers)
    beside = [ask(warm) for _ in range(20)]
    started = at_once(len(cold), lambda i: ask(cold[i]))
    assert not any(call.done() for call in held_up), "what was to block did not last"
    assert not any(was_cold for _, was_cold in beside) and all(was_cold for _, was_cold in started)
    assert statistics.median(took for took, _ in beside) < 2 * calm + 0.02
    assert max(took for took, _ in beside) < AT_ONCE
    assert max(took for took, _ in started) < 2 * AT_ONCE
