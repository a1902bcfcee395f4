"""More calls than can be answered: what is admitted is answered in time, the rest is refused at once and counted."""

from __future__ import annotations

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from support.server import Server, fake

TOKENS, RATE, SLOTS, QUEUE = 20, 100, 2, 4
SERVICE = TOKENS / RATE  # s
CAPACITY = SLOTS / SERVICE  # calls a second
SECONDS = 5


class Reply(NamedTuple):
    status: int
    seconds: float
    ended: float
    retry_after: str | None


def open_loop(
    server: Server, name: str, rate: float, seconds: float, tokens: int = TOKENS
) -> list[Reply]:
    """Calls come at their times, whatever became of those before."""
    start = time.monotonic()

    def call(number: int) -> Reply:
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        began = time.monotonic()
        reply = server.chat(name, f"call {number}", max_tokens=tokens)
        ended = time.monotonic()
        return Reply(reply.status_code, ended - began, ended - start, reply.headers.get("retry-after"))

    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(call, range(int(rate * seconds))))


def goodput(replies: list[Reply]) -> float:
    """Answers a second while calls come."""
    answered = [one.ended for one in replies if one.status == 200]
    return len(answered) / max(answered)


def counted(server: Server, name: str) -> dict[int, int]:
    found = re.findall(
        rf'glowplug_requests_total{{function="{name}",code="(\d+)"}} (\d+)', server.get("/metrics").text
    )
    return {int(code): int(number) for code, number in found}


@pytest.fixture
def function(server: Server):
    manifest = fake(
        "flooded",
        tokens_per_second=RATE,
        slots=SLOTS,
        scale={"max": 1},
        limits={"queue": QUEUE, "queue_timeout": "10s"},
    )
    name = server.deploy(manifest)
    assert server.chat(name, max_tokens=1).status_code == 200
    yield name
    server.remove(name)


def test_three_times_too_many(server: Server, function: str) -> None:
    before = counted(server, function)
    calm = open_loop(server, function, 0.8 * CAPACITY, SECONDS)
    assert {one.status for one in calm} == {200}
    full = open_loop(server, function, CAPACITY, SECONDS)
    flood = open_loop(server, function, 3 * CAPACITY, SECONDS)

    assert goodput(flood) >= 0.9 * goodput(full)
    refused = [one for one in flood if one.status != 200]
    assert {one.status for one in refused} <= {429, 503}
    assert len(refused) > len(flood) / 2
    assert all(one.retry_after and 1 <= int(one.retry_after) <= 60 for one in refused)
    assert statistics.median(one.seconds for one in refused) < 0.05
    admitted = sorted(one.seconds for one in flood if one.status == 200)
    bound = SERVICE + QUEUE / CAPACITY  # it waited behind a full queue
    assert admitted[int(0.99 * len(admitted))] < 2 * bound

    again = open_loop(server, function, 0.8 * CAPACITY, 2)
    assert {one.status for one in again} == {200}
    assert statistics.median(one.seconds for one in again) < 2 * SERVICE

    arrived = len(calm) + len(full) + len(flood) + len(again)
    after = counted(server, function)
    assert sum(after.values()) - sum(before.values()) == arrived
    assert after[200] - before.get(200, 0) == sum(
        one.status == 200 for some in (calm, full, flood, again) for one in some
    )


def p99(replies: list[Reply]) -> float:
    took = sorted(one.seconds for one in replies if one.status == 200)
    return took[int(0.99 * len(took))]


def test_what_is_admitted_is_answered_nearly_as_soon_as_in_calm(server: Server, deploy) -> None:
    """A deadline in the queue bounds it: what cannot keep it is refused as it comes."""
    tokens, slots = 2 * TOKENS, 2 * SLOTS
    deadline = {"queue_timeout": "260ms"}  # of answers that take 400 ms
    name = deploy("impatient", tokens_per_second=RATE, slots=slots, scale={"max": 1}, limits=deadline)
    for _ in range(3):  # so that its answers' length is known
        open_loop(server, name, CAPACITY, 0.4, tokens)
    calm = open_loop(server, name, 0.8 * CAPACITY, SECONDS, tokens)
    flood = open_loop(server, name, 3 * CAPACITY, SECONDS, tokens)
    assert {one.status for one in calm} == {200}
    assert p99(flood) <= 2 * p99(calm)
    assert goodput(flood) >= 0.9 * CAPACITY
    refused = [one for one in flood if one.status != 200]
    assert {one.status for one in refused} == {503} and len(refused) > len(flood) / 2
    assert all(one.retry_after and 1 <= int(one.retry_after) <= 60 for one in refused)
    assert statistics.median(one.seconds for one in refused) < 0.05
