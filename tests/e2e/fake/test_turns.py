"""More is wanted than there is room for: whoever waits gets its turn, turns are long enough to pay for the change, and
no process is started before its bytes are reserved."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from support import processes
from support.load import Highest, Load, at_once
from support.server import Server, fake, wait_until

RATE, TOKENS, SLOTS = 50, 10, 4
ANSWER = TOKENS / RATE  # s
TURN = 2.0  # s that one serves at least while another waits
CHANGE = 1.5  # s for the end of what runs, a stop and a start, on a busy machine
GB = 10**9


@pytest.fixture
def server(tmp_path: Path):
    """Its memory holds one function's replica."""
    with Server("--memory", "80MB", "--spares", "0", folder=tmp_path) as running:
        yield running


def put(server: Server, name: str, **more) -> str:
    fields = {
        "load_time": "300ms",
        "tokens_per_second": RATE,
        "slots": SLOTS,
        "scale": {"max": 1},
        "template": "off",
        "resources": {"memory": "60MB"},
    }
    return server.deploy(fake(name, **(fields | more)))


def decisions(server: Server, name: str, *kinds: str) -> int:
    return sum(one["decision"] in kinds for one in server.decisions(name))


def run_for(seconds: float, *loads: Load) -> float:
    """Answers a second of all of them together, while they run."""
    before, began = sum(load.answered() for load in loads), time.monotonic()
    threading.Event().wait(seconds)
    return (sum(load.answered() for load in loads) - before) / (time.monotonic() - began)


def test_two_models_in_one_place_spend_their_time_answering(server: Server) -> None:
    """Both are called without a pause. A swap for each call would leave a fifth of what one alone answers."""
    names = [put(server, name, limits={"queue_timeout": "8s"}) for name in ("red", "blue")]
    for name in names:  # what a start takes is known
        assert server.chat(name, max_tokens=1).status_code == 200
    with Load(server, "blue", max_tokens=TOKENS) as alone:
        wait_until(lambda: alone.answered() > SLOTS, 10, "it answers")
        ideal = run_for(1.5, alone)
    started = sum(decisions(server, name, "start") for name in names)
    red, blue = (Load(server, name, threads=2 * SLOTS, max_tokens=TOKENS) for name in ("red", "blue"))
    began = time.monotonic()
    with red, blue:
        wait_until(lambda: red.answered() and blue.answered(), 10, "both are answered")
        answered = run_for(6.5, red, blue)
        for load in (red, blue):
            load.stop()
    spent = time.monotonic() - began
    swaps = sum(decisions(server, name, "start") for name in names) - started
    assert not red.failures and not blue.failures, (red.failures, blue.failures)  # none missed its deadline
    assert answered >= 0.65 * ideal, f"{answered:.1f} of {ideal:.1f} calls a second, {swaps} starts"
    assert 3 <= swaps <= 3 + spent / TURN
    assert swaps * 10 <= len(red.answers) + len(blue.answers)
    longest = max(answer["seconds"] for load in (red, blue) for answer in load.answers)
    assert longest <= 2 * (TURN + CHANGE) + ANSWER
    assert min(red.answered(), blue.answered()) >= 0.25 * (red.answered() + blue.answered())


def test_a_function_that_floods_the_machine_does_not_keep_others_out(server: Server) -> None:
    """Its queue is never empty; what is called now and then has its turn, and the flood most of the time."""
    put(server, "loud", limits={"queue": 64})
    others = [put(server, name, limits={"queue_timeout": "20s"}) for name in ("quiet-a", "quiet-b")]
    with Load(server, "loud", threads=4 * SLOTS, max_tokens=TOKENS) as loud:
        wait_until(lambda: loud.answered() > 4 * SLOTS, 10, "the flood is answered")
        alone = run_for(2, loud)
        before, began = loud.answered(), time.monotonic()

        def ask(number: int) -> float:
            asked = time.monotonic()
            reply = server.chat(others[number], max_tokens=1)
            assert reply.status_code == 200, reply.text
            return time.monotonic() - asked

        for _ in range(2):
            assert max(at_once(2, ask)) <= 3 * (TURN + CHANGE)
            assert server.function("loud")["waiting"] > 0, "nobody floods"
        rate = (loud.answered() - before) / (time.monotonic() - began)
    assert not loud.failures, loud.failures
    assert rate >= 0.4 * alone, f"{rate:.1f} of {alone:.1f} calls a second"


def test_a_domain_that_floods_a_function_does_not_keep_others_out(server: Server) -> None:
    """One replica, which serves one cache domain at a time: nobody waits for longer than a turn of each."""
    name = put(server, "shared", template="auto", resources={}, limits={"queue": 64, "queue_timeout": "20s"})
    quiet = ["a", "b", "c"]
    with Load(server, name, threads=4 * SLOTS, max_tokens=TOKENS, cache_salt="loud") as loud:
        wait_until(lambda: loud.answered() > 4 * SLOTS, 10, "the flood is answered")

        def ask(number: int) -> float:
            asked = time.monotonic()
            reply = server.chat(name, max_tokens=1, cache_salt=quiet[number])
            assert reply.status_code == 200, reply.text
            return time.monotonic() - asked

        for _ in range(2):
            assert max(at_once(len(quiet), ask)) <= (len(quiet) + 1) * (TURN / 2 + CHANGE)
            assert server.function(name)["waiting"] > 0, "nobody floods"
    assert not loud.failures, loud.failures


PLACES = pytest.mark.parametrize("device", ["CPU", "T4"])


@pytest.fixture
def place(tmp_path: Path, device: str):
    """A server with room for one, and how much a function is to say that it takes."""
    path = tmp_path / "glowplug.yaml"
    settings = {"spares": 0} | ({"memory": "80MB"} if device == "CPU" else {"devices": [{"type": "T4"}]})
    path.write_text(yaml.safe_dump(settings))
    with Server("--config", str(path), folder=tmp_path) as running:
        yield running, {"memory": 60_000_000 if device == "CPU" else 15 * GB, "device": device}


@PLACES
def test_starts_that_race_for_one_place_are_never_two_processes(place, device: str) -> None:
    server, resources = place
    names = [put(server, f"racer-{i}", resources=resources, load_time="100ms") for i in range(3)]

    def reserved() -> float:
        rows = server.get("/v1/admin/devices").json()["data"]
        (row,) = [one for one in rows if one["id"].startswith(device)]
        return row["reserved_bytes"] / row["memory_bytes"]

    with Highest(lambda: len(processes.descendants(server.pid))) as most, Highest(reserved, 0.005) as share:
        for _ in range(4):
            replies = at_once(len(names), lambda i: server.chat(names[i], max_tokens=1))
            assert [reply.status_code for reply in replies] == [200] * len(names)
    assert most.seen == 1, "two processes had the place"
    assert 0.5 < share.seen <= 1
    for name in names:
        assert decisions(server, name, "start") >= 2 and decisions(server, name, "failed") == 0, name


@PLACES
def test_who_loses_the_race_waits_and_is_told_when_it_was_in_vain(place, device: str) -> None:
    """The place is taken for longer than the other may wait: nothing is started for it, and nothing breaks."""
    server, resources = place
    put(server, "holder", resources=resources)
    loser = put(server, "loser", resources=resources, limits={"queue_timeout": "1s"})
    assert server.chat("holder", max_tokens=1).status_code == 200
    before = processes.descendants(server.pid)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.chat, "holder", max_tokens=4 * RATE)
        wait_until(lambda: server.function("holder")["in_flight"] == 1, 5, "the place is taken")
        asked = time.monotonic()
        reply = server.chat(loser, max_tokens=1)
        assert 0.9 <= time.monotonic() - asked < 3
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "server_is_overloaded"), reply.text
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert processes.descendants(server.pid) == before and decisions(server, loser, "start") == 0
        assert not running.done()
        assert running.result().json()["usage"]["completion_tokens"] == 4 * RATE
    assert server.chat(loser, max_tokens=1).status_code == 200
