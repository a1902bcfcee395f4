"""Replicas of the built-in engine share the cores: their threads follow the neighbours that work."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from support.server import Server, cache_dir, llama, wait_until

CORES = 2
LONG = {"max_tokens": 160}

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < CORES, reason="one core is nothing to share"
)


@pytest.fixture
def server():
    with Server("--cores", str(CORES), "--spares", "0", cache=cache_dir()) as running:
        yield running


def replica(server: Server, name: str) -> dict:
    (only,) = server.function(name)["replica_list"]
    return only


def threads(server: Server, name: str) -> int:
    return replica(server, name)["threads"]


def works(server: Server, name: str) -> bool:
    return server.function(name)["in_flight"] == 1


def cores_used(server: Server, name: str, seconds: float) -> float:
    """By a replica's process, on average from now on."""
    pid = server.pid_of(replica(server, name)["id"])

    def spent() -> float:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    before, began = spent(), time.monotonic()
    time.sleep(seconds)  # over which it is measured
    return (spent() - before) / (time.monotonic() - began)


def timed(server: Server, name: str, **more) -> float:
    began = time.monotonic()
    reply = server.chat(name, "Tell me a very long story.", **(LONG | more))
    assert reply.status_code == 200, reply.text
    return time.monotonic() - began


@pytest.mark.parametrize("template", ["auto", "off"])
def test_two_that_work_at_once_share_the_cores(server: Server, model: str, template: str) -> None:
    alone = {}
    for name in ("one", "two"):
        server.deploy(llama(name, model, slots=1, template=template))
        timed(server, name, max_tokens=2)
        alone[name] = timed(server, name)
        assert threads(server, name) == CORES

    with ThreadPoolExecutor() as pool:
        calls: dict[str, Future] = {}
        for name in ("one", "two"):
            calls[name] = pool.submit(timed, server, name)
            wait_until(lambda: works(server, name), 20, f"{name} works")
        assert {name: threads(server, name) for name in calls} == dict.fromkeys(calls, CORES // 2)
        together = {name: call.result() for name, call in calls.items()}
    for name, seconds in together.items():
        assert seconds < 3 * alone[name], (together, alone)

    timed(server, "one", max_tokens=2)
    assert threads(server, "one") == CORES


@pytest.mark.parametrize("template", ["auto", "off"])
def test_the_engine_computes_with_what_it_is_told(
    server: Server, model: str, template: str
) -> None:
    """One that starts beside another begins with its share, and has all once it is alone."""
    for name in ("first", "late"):
        server.deploy(llama(name, model, slots=1, template=template))
    timed(server, "first", max_tokens=2)
    if template == "auto":  # its template is there, so that `late` is forked
        wait_until(lambda: "template" in server.function("late"), 20, "a template for both")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(timed, server, "first", max_tokens=200)
        wait_until(lambda: works(server, "first"), 20, "the first works")
        late = pool.submit(timed, server, "late", max_tokens=500)
        wait_until(lambda: works(server, "late"), 20, "the late one works")
        assert threads(server, "late") == CORES // 2
        assert cores_used(server, "late", 0.5) < CORES // 2 + 0.3
        first.result()
        wait_until(lambda: threads(server, "late") == CORES, 5, "it has all cores")
        assert cores_used(server, "late", 1) > CORES // 2 + 0.2
        late.result()
