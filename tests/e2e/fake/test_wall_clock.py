"""The wall clock is set by a day while the server runs: what lasts and what is due goes by the monotonic clock, so that
nothing ends early, late or after a negative time; only what is told in hours of the day follows."""

from __future__ import annotations

import datetime
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator

import httpx
import pytest
from support import server_timing
from support.load import at_once
from support.server import ROOT, Server, fake, holds_for, wait_until
from support.wall_clock import DAY, WallClock, wall_seconds

STEPS = pytest.mark.parametrize("by", [DAY, -DAY], ids=["a-day-on", "a-day-back"])


@pytest.fixture(scope="module")
def clock(tmp_path_factory) -> WallClock:
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def server(clock: WallClock) -> Iterator[Server]:
    with Server("--allow-process-engines", "--cores", "8", env=clock.env) as running:
        yield running


@pytest.fixture(autouse=True)
def true_again(clock: WallClock) -> Iterator[None]:
    yield
    clock.reset()


def step(server: Server, clock: WallClock, by: float) -> None:
    clock.step(by)
    assert abs(wall_seconds(server) - time.time() - by) < 60, "the server's clock was not set"


def starts(server: Server, name: str) -> int:
    return sum(one["decision"] == "start" for one in server.decisions(name))


def check_times(server: Server, name: str, reply: httpx.Response, took: float) -> None:
    """Nothing that is told of an answer took less than no time, or longer than its caller waited."""
    assert reply.status_code == 200, reply.text
    most = took * 1000 + 500  # an end is noted a little after its caller has heard it
    told = {f"server-timing {phase}": ms for phase, ms in server_timing.phases(reply).items()}
    for field in ("openai-processing-ms", "x-glowplug-overhead-ms"):
        if field in reply.headers:
            told[field] = float(reply.headers[field])
    why = server.get(f"/v1/functions/{name}/why/{reply.headers['x-request-id']}").json()
    told |= {f"phase {phase}": ms for phase, ms in why["phases_ms"].items()}
    told |= {field: why[field] for field in ("granted_ms", "first_byte_ms", "total_ms") if why[field] is not None}
    told |= {f"decision {one['decision']}": one["after_ms"] for one in why["decisions"]}
    assert len(told) >= 5
    wrong = {what: ms for what, ms in told.items() if not 0 <= ms <= most}
    assert not wrong, f"{wrong} of {most:.0f} ms; {told}"


def seconds_summed(server: Server) -> dict[str, float]:
    text = server.get("/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(\w+_seconds_sum\{[^}]*\}) (\S+)$", text, re.M)}


TO_AND_FRO = (DAY, -2 * DAY, 2 * DAY, -DAY) * 3


@pytest.mark.parametrize("steps", [(DAY,), (-DAY,), TO_AND_FRO], ids=["on", "back", "to-and-fro"])
def test_calls_under_way_take_the_time_that_they_take(server: Server, clock: WallClock, deploy, steps) -> None:
    """One streams, one is answered whole, one waits for a slot and one for a start while the clock is set."""
    began, summed = time.monotonic(), seconds_summed(server)
    one_slot: dict[str, Any] = {"slots": 1, "scale": {"max": 1}}
    for name, more in (
        ("steady", {"tokens_per_second": 50}),
        ("full", {"tokens_per_second": 20} | one_slot),
        ("starting", {"load_time": "1500ms", "template": "off"}),
    ):
        deploy(name, **more)
    for name in ("steady", "full"):
        assert server.chat(name, max_tokens=1).status_code == 200

    def call(name: str, tokens: int, stream: bool = False) -> tuple[str, httpx.Response, float]:
        asked = time.monotonic()
        reply = server.chat(name, max_tokens=tokens, stream=stream)
        return name, reply, time.monotonic() - asked

    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(call, "steady", 75), pool.submit(call, "steady", 75, True), pool.submit(call, "full", 30)]
        wait_until(lambda: server.function("full")["in_flight"] == 1, 5, "the slot is taken")
        calls += [pool.submit(call, "full", 1), pool.submit(call, "starting", 1)]

        def all_under_way() -> bool:
            rows = {name: server.function(name) for name in ("steady", "full", "starting")}
            return (rows["steady"]["in_flight"], rows["full"]["waiting"], rows["starting"]["waiting"]) == (2, 1, 1)

        wait_until(all_under_way, 5, "all calls are where they are to be")
        for by in steps:
            step(server, clock, by) if len(steps) == 1 else clock.step(by)
            threading.Event().wait(0.05)  # so that each is noticed by some turn
        for done in calls:
            check_times(server, *done.result())
    spent = time.monotonic() - began
    for name, value in seconds_summed(server).items():
        assert 0 <= value - summed.get(name, 0) <= 7 * spent, (name, value)


@STEPS
def test_what_is_idle_or_held_ends_when_it_is_due(server: Server, clock: WallClock, deploy, by: float) -> None:
    """No storm of expiries, and none that never comes."""
    names = [deploy(f"idle-{i}", keep_alive="4s") for i in range(5)]
    held = deploy("held", keep_alive="100ms")
    replies = at_once(len(names), lambda i: server.chat(names[i], max_tokens=1))
    assert [reply.status_code for reply in replies] == [200] * len(names)
    assert server.post(f"/v1/functions/{held}/warm", {"count": 1, "for": "4s"}).status_code == 202
    server.wait_state(held, "ready", 3)
    ended = time.monotonic()
    step(server, clock, by)
    assert server.chat(names[0], max_tokens=1, keep_alive="3s").headers["x-glowplug-cold-start"] == "false"

    def all_there() -> bool:
        return all(server.function(name)["state"] == "ready" for name in (*names, held))

    holds_for(all_there, 1.0, "what is idle stays as long as it may")
    wait_until(lambda: all(server.function(name)["state"] == "cold" for name in (*names, held)), 8, "all are gone")
    assert time.monotonic() - ended < 6


@STEPS
def test_an_engine_falls_asleep_when_it_is_due(
    server: Server, clock: WallClock, deploy, tmp_path: Path, by: float
) -> None:
    engine = [sys.executable, str(ROOT / "tests/e2e/standins/sleeping_engine.py"), "--port", "{port}"]
    process = {
        "command": [*engine, "--log", str(tmp_path / "log"), "--kind", "vllm", "--enable-sleep-mode"],
        "env": {"VLLM_SERVER_DEV_MODE": "1"},
        "sleep": {"kind": "vllm", "after": "2s", "timeout": "10s"},
    }
    name = deploy("sleeper", engine={"process": process})
    assert server.chat(name).status_code == 200
    step(server, clock, by)
    holds_for(lambda: server.function(name)["tier"] != "asleep", 1.0, "it is awake as long as it may")
    wait_until(lambda: server.function(name)["tier"] == "asleep", 5, "it sleeps")


@STEPS
def test_a_call_waits_as_long_as_it_may(server: Server, clock: WallClock, deploy, by: float) -> None:
    limits = {"queue": 1, "queue_timeout": "2s"}
    name = deploy("narrow", tokens_per_second=20, slots=1, scale={"max": 1}, limits=limits)
    assert server.chat(name, max_tokens=1).status_code == 200
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(server.chat, name, max_tokens=100)
        wait_until(lambda: server.function(name)["in_flight"] == 1, 5, "the slot is taken")
        asked = time.monotonic()
        waiting = pool.submit(server.chat, name, max_tokens=1)
        wait_until(lambda: server.function(name)["waiting"] == 1, 5, "a call waits")
        before = server.chat(name, max_tokens=1)
        step(server, clock, by)
        after = server.chat(name, max_tokens=1)
        for full in (before, after):
            assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full"), full.text
        assert 1 <= int(after.headers["retry-after"]) <= int(before.headers["retry-after"]) + 2
        late = waiting.result()
        assert 1.9 <= time.monotonic() - asked < 4
        assert (late.status_code, late.json()["error"]["code"]) == (503, "server_is_overloaded"), late.text
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert running.result().json()["usage"]["completion_tokens"] == 100


@STEPS
def test_a_failure_is_remembered_as_long_as_it_is(server: Server, clock: WallClock, deploy, by: float) -> None:
    name = deploy("broken", fault="crash_on_load", load_time="10ms", template="off")
    first = server.chat(name, max_tokens=1)
    failed = time.monotonic()
    assert first.status_code == 503, first.text
    tries = starts(server, name)
    step(server, clock, by)
    again = server.chat(name, max_tokens=1)
    assert (again.status_code, starts(server, name)) == (503, tries), "it was tried again at once"
    assert 1 <= int(again.headers["retry-after"]) <= 10

    def tried_again() -> bool:
        return server.chat(name, max_tokens=1).status_code == 503 and starts(server, name) > tries

    wait_until(tried_again, 10, "it is tried again")
    assert 4 <= time.monotonic() - failed <= 8


def test_hours_of_the_day_follow_the_clock(server: Server, clock: WallClock) -> None:
    """Also while nobody calls: what a schedule holds comes and goes by itself once the clock was set."""
    noon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=12)
    hour = datetime.timedelta(hours=1)
    hold = {"from": f"{noon - hour:%H:%M}", "until": f"{noon + hour:%H:%M}", "count": 1}
    name = server.deploy(fake("office-hours", keep_alive="100ms", schedule=[hold]))
    holds_for(lambda: server.function(name)["state"] == "cold", 0.5, "its hours are far away")
    clock.step(DAY / 2)
    server.wait_state(name, "ready", 10)
    assert server.chat(name, max_tokens=1).headers["x-glowplug-cold-start"] == "false"
    clock.step(-DAY / 2)
    server.wait_state(name, "cold", 10)
    server.remove(name)
