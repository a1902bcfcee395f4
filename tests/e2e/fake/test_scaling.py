"""Contract lines 42 to 46: from zero, one load for many, what does not wake, keep_alive, back to zero."""

from __future__ import annotations

import concurrent.futures
import json
import time

import pytest
from support import processes, sse
from support.load import Highest, herd
from support.server import Server, holds_for, wait_until


def starts(server: Server, name: str) -> int:
    return sum(1 for decision in server.decisions(name) if decision["decision"] == "start")


def test_line_42_first_call_is_cold_second_is_warm(server: Server, deploy) -> None:
    name = deploy("first", load_time="200ms")
    assert server.function(name)["state"] == "cold"
    started = time.monotonic()
    first = server.chat(name, max_tokens=2)
    took = time.monotonic() - started
    second = server.chat(name, max_tokens=2)
    assert (first.status_code, second.status_code) == (200, 200)
    assert (first.headers["x-glowplug-cold-start"], second.headers["x-glowplug-cold-start"]) == (
        "true",
        "false",
    )
    assert 0.2 <= took < 3, took
    assert "load" in first.headers["server-timing"]
    row = server.function(name)
    assert (row["state"], row["cold_starts"], row["calls"]) == ("ready", 1, 2)


def test_line_42_first_stream_is_cold(server: Server, deploy) -> None:
    name = deploy("first-stream", load_time="200ms")
    with server.stream(name, max_tokens=3) as reply:
        assert reply.headers["x-glowplug-cold-start"] == "true"
        assert sse.events(reply.read())[-1][1] == sse.DONE


def test_line_43_fifty_first_calls_start_one_replica(server: Server, deploy) -> None:
    name = deploy("crowd", load_time="500ms", slots=64, tokens_per_second=2000)
    before = set(server.replica_pids())
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        replies = list(
            pool.map(lambda i: server.chat(name, f"caller {i}", max_tokens=4), range(50))
        )
    assert [reply.status_code for reply in replies] == [200] * 50
    assert all(reply.headers["x-glowplug-cold-start"] == "true" for reply in replies[:1])
    assert starts(server, name) == 1, server.decisions(name)
    assert server.function(name)["cold_starts"] == 1
    assert len(server.function(name)["replica_list"]) == 1
    assert len(set(server.replica_pids()) - before) == 1


def test_line_43_more_than_slots_wait_and_are_answered(server: Server, deploy) -> None:
    name = deploy(
        "narrow-crowd",
        load_time="100ms",
        slots=2,
        scale={"min": 0, "max": 1},
        tokens_per_second=2000,
    )
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        replies = list(
            pool.map(lambda i: server.chat(name, f"caller {i}", max_tokens=8), range(20))
        )
    assert [reply.status_code for reply in replies] == [200] * 20
    assert starts(server, name) == 1


@pytest.mark.parametrize("queue", [100, 512])
def test_thousand_calls_at_once_load_once_and_wait_no_more_than_the_queue_holds(
    server: Server, deploy, queue: int
) -> None:
    """512 is what a manifest has that says nothing. Who finds the queue full is told so at once."""
    limits = {} if queue == 512 else {"limits": {"queue": queue}}
    name = deploy(
        f"herd-{queue}",
        template="on",
        load_time="3s",
        slots=64,
        tokens_per_second=100_000,
        **limits,
    )
    with Highest(lambda: server.function(name)["waiting"]) as waiting:
        answers = herd(server, name, 1000)
    assert waiting.seen == queue
    refused = [answer for answer in answers if answer.status != 200]
    assert len(answers) - len(refused) == queue
    for answer in refused:
        assert (answer.status, answer.code) == (503, "queue_full"), answer.body
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    row = server.function(name)
    assert (row["calls"], row["cold_starts"], row["in_flight"], row["waiting"]) == (1000, 1, 0, 0)
    kinds = [decision["decision"] for decision in server.decisions(name)]
    assert (kinds.count("load"), kinds.count("start")) == (1, 1)
    assert server.chat(name, max_tokens=1).status_code == 200


def test_two_hundred_calls_at_once_are_all_answered(server: Server, deploy) -> None:
    name = deploy("crowd-200", template="on", load_time="300ms", tokens_per_second=100_000)
    answers = herd(server, name, 200)
    assert [answer.status for answer in answers] == [200] * 200
    kinds = [decision["decision"] for decision in server.decisions(name)]
    assert (kinds.count("load"), kinds.count("start")) == (1, 1)


def look_at_everything(server: Server, name: str) -> None:
    for path in (
        "/v1/models",
        f"/v1/models/{name}",
        "/readyz",
        "/metrics",
        "/healthz",
        "/version",
        "/v1/functions",
        f"/v1/functions/{name}",
        f"/v1/functions/{name}/logs",
    ):
        assert server.get(path).status_code == 200, path
    with server.raw(admin=True) as client:
        for path in ("/readyz", "/metrics", "/healthz", "/version", "/v1/admin/decisions"):
            assert client.request("GET", path).status == 200, path


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_44_looking_does_not_wake(server: Server, deploy, template: str) -> None:
    name = deploy(f"asleep-{template}", template=template)
    for _ in range(5):
        look_at_everything(server, name)
    row = server.function(name)
    assert (row["state"], row["cold_starts"], row["calls"]) == ("cold", 0, 0)
    assert starts(server, name) == 0


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_44_looking_does_not_reset_the_idle_timer(server: Server, deploy, template: str) -> None:
    name = deploy(f"dozing-{template}", keep_alive="1s", template=template)
    assert server.chat(name, max_tokens=2).status_code == 200
    ended = time.monotonic()

    def asleep() -> bool:
        look_at_everything(server, name)
        return server.function(name)["state"] == "cold"

    wait_until(asleep, 4, "cold while being looked at")
    assert time.monotonic() - ended < 2.2


@pytest.mark.parametrize("value", ["10m", 30, -1, "-1", "1h30m"])
def test_line_45_keep_alive_values_that_stay(server: Server, deploy, value: object) -> None:
    name = deploy("stays", keep_alive=value)
    assert server.chat(name, max_tokens=1).status_code == 200
    holds_for(
        lambda: server.function(name)["state"] == "ready", 0.5, f"ready with keep_alive {value!r}"
    )


@pytest.mark.parametrize("value", [0, "0", "0s", "100ms"])
def test_line_45_keep_alive_values_that_leave(server: Server, deploy, value: object) -> None:
    name = deploy("leaves", keep_alive=value)
    assert server.chat(name, max_tokens=1).status_code == 200
    server.wait_state(name, "cold", 2)


@pytest.mark.parametrize("value", ["soon", {"a": 1}, "10 parsecs"])
def test_line_45_bad_keep_alive_is_refused(server: Server, deploy, value: object) -> None:
    name = deploy("strict")
    reply = server.chat(name, max_tokens=1, keep_alive=value)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == "keep_alive"


def test_line_45_a_request_overrides_the_manifest(server: Server, deploy) -> None:
    name = deploy("patient", keep_alive="10m")
    assert server.chat(name, max_tokens=1, keep_alive=0).status_code == 200
    server.wait_state(name, "cold", 2)
    name = deploy("hasty", keep_alive="200ms")
    assert server.chat(name, max_tokens=1, keep_alive="10m").status_code == 200
    holds_for(
        lambda: server.function(name)["state"] == "ready",
        1.0,
        "the caller's longer keep_alive holds",
    )


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_46_idle_replica_is_gone_in_time(server: Server, deploy, template: str) -> None:
    name = deploy(f"brief-{template}", template=template)
    assert server.chat(name, max_tokens=2).status_code == 200
    (pid,) = server.pids_of(name)
    called = time.monotonic()
    assert server.chat(name, max_tokens=2, keep_alive="1s").status_code == 200
    lived, late = processes.seconds_until_end(pid, 20)
    assert time.monotonic() - called >= 1.0 and lived <= 2.0 + late, (lived, late)
    row = server.wait_state(name, "cold", 5)
    assert row["memory_bytes"] == 0 and row["replica_list"] == [] and row["replicas"] == 0
    again = server.chat(name, max_tokens=2)
    assert (again.status_code, again.headers["x-glowplug-cold-start"]) == (200, "true")


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_46_a_call_in_flight_is_never_cut(server: Server, deploy, template: str) -> None:
    name = deploy(f"long-answer-{template}", template=template, keep_alive="100ms", tokens_per_second=20)
    with server.stream(name, max_tokens=40) as reply:  # two seconds, twenty times keep_alive
        text = reply.read()
    assert sse.events(text)[-1][1] == sse.DONE
    assert len([c for c in sse.chunks(text) if sse.text_of([c])]) >= 1
    server.wait_state(name, "cold", 3)


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_46_calls_racing_the_idle_timer_never_fail(server: Server, deploy, template: str) -> None:
    """Calls land around the moment of scale-down; each is answered, warm or cold."""
    name = deploy(f"edge-{template}", template=template, keep_alive="50ms", load_time="10ms", tokens_per_second=5000)
    colds = 0
    for i in range(40):
        reply = server.chat(name, max_tokens=1)
        assert reply.status_code == 200, f"call {i}: {reply.text}"
        colds += reply.headers["x-glowplug-cold-start"] == "true"
        pause = 0.040 + 0.0005 * i
        deadline = time.monotonic() + pause
        wait_until(lambda: time.monotonic() >= deadline, 1, "the pause between two calls")
    assert colds >= 1


def test_warm_and_stop(server: Server, deploy) -> None:
    name = deploy("by-hand", keep_alive="100ms")
    reply = server.post(f"/v1/functions/{name}/warm", {"count": 2, "for": "1m"})
    assert reply.status_code == 202, reply.text
    wait_until(
        lambda: sum(r["state"] == "ready" for r in server.function(name)["replica_list"]) == 2,
        5,
        "two are warm",
    )
    first = server.chat(name, max_tokens=1)
    assert first.headers["x-glowplug-cold-start"] == "false"
    holds_for(lambda: server.function(name)["state"] == "ready", 0.5, "held warm beyond keep_alive")
    assert server.post(f"/v1/functions/{name}/stop").status_code == 202
    server.wait_state(name, "cold", 5)
    assert server.chat(name, max_tokens=1).headers["x-glowplug-cold-start"] == "true"


def test_scale_min_keeps_one_and_replaces_it(server: Server, deploy) -> None:
    before = set(server.replica_pids())
    name = deploy("always", scale={"min": 1, "max": 2}, keep_alive="100ms")
    server.wait_state(name, "ready", 5)
    assert server.chat(name, max_tokens=1).headers["x-glowplug-cold-start"] == "false"
    holds_for(lambda: server.function(name)["state"] == "ready", 0.5, "min 1 outlives keep_alive")
    assert len(set(server.replica_pids()) - before) == 1


def test_metrics_parse_and_count(server: Server, deploy) -> None:
    name = deploy("counted")
    for _ in range(3):
        server.chat(name, max_tokens=1)
    lines = server.get("/metrics").text.splitlines()
    samples = [line for line in lines if line and not line.startswith("#")]
    assert samples and all(
        len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) is not None
        for line in samples
    )
    assert any(line.startswith("glowplug_") and name in line for line in samples), samples[:20]


def test_decisions_say_why(server: Server, deploy) -> None:
    name = deploy("explained")
    server.chat(name, max_tokens=1)
    kinds = [decision["decision"] for decision in server.decisions(name)]
    for kind in ("deploy", "start", "ready"):
        assert kind in kinds, kinds
    assert all(decision["reason"] for decision in server.decisions(name))
    json.dumps(server.decisions(name))
