"""Batch work stands still while other work needs the cores, and for no longer than it may."""

from __future__ import annotations

import concurrent.futures
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from support import processes
from support.server import Server, fake, wait_until

WAIT = 20  # s, for what takes milliseconds on a machine that has nothing else to do


@pytest.fixture
def server():
    with Server("--cores", "2") as running:
        yield running


@pytest.fixture
def callers():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield pool


def pid(server: Server, name: str) -> int:
    (only,) = server.function(name)["replica_list"]
    found = server.pid_of(only["id"])
    assert found is not None
    return found


def stands(process: int) -> bool:
    """All of its threads are stopped."""
    states = [
        (task / "stat").read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{process}/task").iterdir()
    ]
    return set(states) == {"T"}


def begin(server: Server, callers, name: str, tokens: int, **more) -> Future:
    """A call that runs at 100 tokens a second."""
    server.deploy(fake(name, tokens_per_second=100, **more))
    server.chat(name, max_tokens=1)
    running = callers.submit(server.chat, name, max_tokens=tokens)
    wait_until(lambda: server.function(name)["in_flight"] == 1, WAIT, f"{name} works")
    return running


def standing(server: Server, callers, tokens: int, quick_tokens: int) -> tuple[Future, int, Future]:
    """A call of batch work, its process, which stands still, and the call for which it does."""
    slow = begin(server, callers, "slow", tokens, priority="batch")
    process = pid(server, "slow")
    quick = begin(server, callers, "quick", quick_tokens)
    wait_until(lambda: stands(process), WAIT, "batch work stands still")
    return slow, process, quick


def test_it_stands_still_and_loses_nothing(server: Server, callers) -> None:
    slow = begin(server, callers, "slow", 100, priority="batch")
    process = pid(server, "slow")
    assert not stands(process)
    began = time.monotonic()
    quick = begin(server, callers, "quick", 150)
    wait_until(lambda: stands(process), WAIT, "batch work stands still")
    (replica,) = server.function("slow")["replica_list"]
    assert replica["frozen"]
    assert [one["decision"] for one in server.decisions("slow")].count("freeze") == 1
    assert quick.result().json()["usage"]["completion_tokens"] == 150
    wait_until(lambda: not stands(process), WAIT, "it goes on")
    answer = slow.result()
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 100
    assert time.monotonic() - began > 1.5  # the quick one had the cores meanwhile


def test_it_has_its_time_after_ten_seconds(server: Server, callers) -> None:
    slow, process, quick = standing(server, callers, 150, 1600)
    wait_until(lambda: not stands(process), WAIT, "it has its time")
    assert not quick.done()
    assert slow.result().status_code == 200
    assert not quick.done()
    quick.result()


def test_what_stands_still_can_be_stopped(server: Server, callers) -> None:
    slow, process, quick = standing(server, callers, 20, 1000)
    assert server.post("/v1/functions/slow/stop").status_code < 300
    assert slow.result().status_code == 200  # it ends what it has begun
    wait_until(lambda: not processes.alive(process), WAIT, "it is gone")
    assert not quick.done()
    quick.result()


def test_what_stands_still_does_not_outlive_its_server(server: Server, callers) -> None:
    slow, process, quick = standing(server, callers, 300, 1000)
    server.kill()
    wait_until(lambda: not processes.alive(process), WAIT, "it is gone")
    for call in (slow, quick):
        assert call.exception() is not None or call.result().status_code >= 500
