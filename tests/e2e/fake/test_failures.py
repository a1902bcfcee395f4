"""Contract lines 29, 30, 31 and 47, and what happens to processes when the server or a replica is killed."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from support import processes, sse
from support.load import Load
from support.raw_client import RawClient
from support.server import Server, fake, wait_until


def begin_stream(server: Server, name: str, max_tokens: int = 1000) -> RawClient:
    """A stream of which the first content was read; the connection stays open."""
    client = server.raw()
    body = json.dumps(
        {
            "model": name,
            "messages": [{"role": "user", "content": "go on"}],
            "stream": True,
            "max_tokens": max_tokens,
        }
    ).encode()
    client.send(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    client.read_first_content()
    return client


def test_line_29_disconnect_frees_the_slot_within_a_second(server: Server, deploy) -> None:
    name = deploy("endless", tokens_per_second=20, slots=1, scale={"min": 0, "max": 1})
    client = begin_stream(server, name)
    assert server.function(name)["in_flight"] == 1
    client.close()
    left = time.monotonic()
    wait_until(lambda: server.function(name)["in_flight"] == 0, 3, "the slot is free")
    assert time.monotonic() - left < 1.0
    started = time.monotonic()
    assert server.chat(name, max_tokens=1).status_code == 200
    assert time.monotonic() - started < 1.0, "the replica still worked for the caller who had left"


def test_line_29_disconnect_while_no_token_is_due(server: Server, deploy) -> None:
    name = deploy("silent", fault="hang_after_tokens:2", tokens_per_second=200)
    client = begin_stream(server, name)
    client.close()
    left = time.monotonic()
    wait_until(lambda: server.function(name)["in_flight"] == 0, 3, "the slot is free")
    assert time.monotonic() - left < 1.0


def test_line_29_disconnect_of_a_plain_call(server: Server, deploy) -> None:
    name = deploy("slow-plain", tokens_per_second=10)
    client = server.raw()
    body = json.dumps(
        {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 500}
    ).encode()
    client.send(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    wait_until(lambda: server.function(name)["in_flight"] == 1, 5, "the call runs")
    client.close()
    left = time.monotonic()
    wait_until(lambda: server.function(name)["in_flight"] == 0, 3, "the slot is free")
    assert time.monotonic() - left < 1.0


def test_line_29_disconnect_while_waiting_for_a_start(server: Server, deploy) -> None:
    name = deploy("slow-start", load_time="1500ms")
    client = server.raw()
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "hi"}]}).encode()
    client.send(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    wait_until(lambda: server.function(name)["waiting"] == 1, 3, "the call waits")
    client.close()
    wait_until(lambda: server.function(name)["waiting"] == 0, 1, "nobody waits any more")


def test_line_30_a_broken_stream_is_never_silent(server: Server, deploy) -> None:
    """A stream whose replica dies either goes on whole, or ends in an error event without [DONE], unterminated."""
    name = deploy("breaks", fault="crash_after_tokens:5", failover="off")
    body = json.dumps(
        {
            "model": name,
            "messages": [{"role": "user", "content": "go on"}],
            "stream": True,
            "max_tokens": 50,
        }
    ).encode()
    with server.raw() as client:
        reply = client.request("POST", "/v1/chat/completions", body)
    assert reply.status == 200
    assert b"[DONE]" not in reply.body
    assert not reply.complete, "the chunked body was terminated as if it were whole"
    last = json.loads(sse.events(reply.body)[-1][1])
    assert last["error"]["message"] and last["error"]["code"], last


def test_line_31_death_before_the_first_token_is_a_clean_5xx(server: Server, deploy) -> None:
    name = deploy("stillborn", fault="crash_after_tokens:0")
    for stream in (False, True):
        reply = server.chat(name, max_tokens=5, stream=stream)
        assert 500 <= reply.status_code < 600, (stream, reply.status_code, reply.text)
        assert reply.json()["error"]["message"]


def test_line_31_death_during_a_plain_call_is_a_clean_5xx(server: Server, deploy) -> None:
    name = deploy("half-done", fault="crash_after_tokens:5")
    reply = server.chat(name, max_tokens=50)
    assert 500 <= reply.status_code < 600, reply.text
    assert reply.json()["error"]["code"] == "replica_failed"


def test_line_31_killed_replica_then_the_next_call_works(server: Server, deploy) -> None:
    before = set(server.replica_pids())
    name = deploy("victim")
    for _ in range(3):
        assert server.chat(name, max_tokens=1).status_code == 200
        ours = set(server.replica_pids()) - before
        assert len(ours) == 1
        os.kill(ours.pop(), signal.SIGKILL)
        reply = server.chat(name, max_tokens=1)
        assert reply.status_code == 200, reply.text


def test_line_31_replica_killed_before_the_answer_is_retried_or_refused(
    server: Server, deploy
) -> None:
    before = set(server.replica_pids())
    name = deploy("slow-victim", tokens_per_second=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.chat, name, max_tokens=2)
        wait_until(lambda: server.function(name)["in_flight"] == 1, 5, "the call runs")
        for pid in set(server.replica_pids()) - before:
            os.kill(pid, signal.SIGKILL)
        reply = call.result(timeout=30)
    assert reply.status_code == 200 or 500 <= reply.status_code < 600
    if reply.status_code == 200:
        assert reply.json()["choices"][0]["finish_reason"]


@pytest.mark.parametrize("template", ["off", "on"])
@pytest.mark.parametrize("fault", ["crash_on_load", "exit_after_load"])
def test_line_47_broken_function_fails_with_a_reason_and_fast(
    server: Server, deploy, echo: str, fault: str, template: str
) -> None:
    name = deploy("broken", fault=fault, template=template)
    first = server.chat(name, max_tokens=1)
    if fault == "crash_on_load":
        assert 500 <= first.status_code < 600, first.text
        row = server.wait_state(name, "failed", 10)
        assert row["reason"], row
        started = time.monotonic()
        second = server.chat(name, max_tokens=1)
        assert time.monotonic() - started < 0.5
        assert 500 <= second.status_code < 600
        assert second.json()["error"]["code"] == "function_failed"
        assert 1 <= int(second.headers["retry-after"]) <= 60
        listed = {entry["id"]: entry["state"] for entry in server.get("/v1/models").json()["data"]}
        assert listed[name] == "failed"
    else:
        assert first.status_code == 200 or 500 <= first.status_code < 600, first.text
    assert server.chat(echo, max_tokens=1).status_code == 200


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_47_crash_loop_does_not_start_without_end(server: Server, deploy, template: str) -> None:
    name = deploy(f"loops-{template}", fault="crash_on_load", load_time="10ms", template=template)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert server.chat(name, max_tokens=1).status_code >= 500
    begun = ("start", "load")  # of a replica, of a template
    count = sum(1 for decision in server.decisions(name) if decision["decision"] in begun)
    assert 1 <= count <= 5, count


# Crash loops while serving (fault 12) and requests that kill (fault 58) ---------------------------------------------


def decided(server: Server, name: str) -> list[str]:
    return [one["decision"] for one in server.decisions(name)]


def test_crash_loop_while_serving_is_quarantined_and_probed(
    server: Server, deploy, echo: str
) -> None:
    """Fault 12. Every call kills its replica: after five deaths calls are refused at once, then one is let through."""
    name = deploy("dies-of-all", fault="crash_on_prompt:boom")
    for attempt in range(5):
        reply = server.chat(name, f"boom {attempt}", max_tokens=1)
        assert reply.status_code >= 500, reply.text
        if reply.json()["error"]["code"] == "function_failed":
            break
    started = time.monotonic()
    refused = server.chat(name, "hello", max_tokens=1)
    assert time.monotonic() - started < 0.5
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "function_failed")
    assert "keeps crashing: 5 of its replicas died" in refused.json()["error"]["message"]
    assert "signal 6" in refused.json()["error"]["message"]
    wait_seconds = int(refused.headers["retry-after"])
    assert 1 <= wait_seconds <= 13
    row = server.function(name)
    assert row["state"] == "failed" and "keeps crashing" in row["reason"], row
    assert server.chat(echo, max_tokens=1).status_code == 200, "its neighbour is untouched"
    until = time.monotonic() + wait_seconds
    wait_until(lambda: time.monotonic() > until, wait_seconds + 5, "the pause is over")
    assert server.chat(name, "hello", max_tokens=1).status_code == 200
    for decision in ("quarantine", "probe", "recovered"):
        assert decision in decided(server, name), decided(server, name)
    assert server.chat(name, "hello", max_tokens=1).status_code == 200


@pytest.mark.parametrize("anew", ["the same", "changed"])
def test_deploying_anew_ends_the_quarantine(server: Server, deploy, anew: str) -> None:
    fault = "crash_on_prompt:boom"
    name = deploy("quarantined", fault=fault)
    wait_until(
        lambda: server.chat(name, "boom", max_tokens=1).json()["error"]["code"] == "function_failed",
        10,
        "it is in quarantine",
    )
    changed = {"context": 4096} if anew == "changed" else {}
    server.deploy(fake(name, fault=fault, **changed))
    assert server.chat(name, "hello", max_tokens=1).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_request_that_kills_is_told_so_and_the_function_goes_on(
    server: Server, deploy, stream: bool
) -> None:
    """Fault 58. Many more than five replicas die of one request that comes again and again between others."""
    name = deploy(f"poisoned-{stream}".lower(), fault="crash_on_prompt:boom")
    for _ in range(4):
        assert server.chat(name, "hello", max_tokens=1).status_code == 200
        reply = server.chat(name, "boom", max_tokens=1, stream=stream)
        assert reply.status_code == 422, reply.text
        assert reply.json()["error"]["code"] == "poisonous_request"
        assert reply.headers["x-should-retry"] == "false"
    assert server.chat(name, "hello", max_tokens=1).status_code == 200
    assert decided(server, name).count("blame") == 4
    assert "quarantine" not in decided(server, name)
    assert server.function(name)["state"] == "ready"
    why = server.get(f"/v1/functions/{name}/why/{reply.headers['x-request-id']}").json()
    assert (why["outcome"], why["status"], why["tries"]) == ("broken", 422, 2)
    wait_until(
        lambda: "blame"
        in [
            one["decision"]
            for one in server.get(f"/v1/functions/{name}/why/{why['request']}").json()["decisions"]
        ],
        5,
        "its anatomy says who is to blame",
    )


def test_those_that_ran_beside_the_killer_are_answered(server: Server, deploy) -> None:
    name = deploy("mixed", fault="crash_on_prompt:boom", tokens_per_second=20, scale={"min": 0, "max": 1})
    assert server.chat(name, "hello", max_tokens=1).status_code == 200
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        others = [pool.submit(server.chat, name, f"hello {i}", max_tokens=30) for i in range(3)]
        wait_until(lambda: server.function(name)["in_flight"] == 3, 5, "they run")
        killer = server.chat(name, "boom", max_tokens=1)
        assert [one.result().status_code for one in others] == [200, 200, 200]
    assert (killer.status_code, killer.json()["error"]["code"]) == (422, "poisonous_request")


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_47_repaired_function_works_at_once(server: Server, deploy, template: str) -> None:
    name = deploy("repaired", fault="crash_on_load", template=template)
    assert server.chat(name, max_tokens=1).status_code >= 500
    server.wait_state(name, "failed", 10)
    server.deploy(fake(name, template=template))
    assert server.chat(name, max_tokens=1).status_code == 200


def test_never_ready_is_refused_at_the_queue_timeout(server: Server, deploy, echo: str) -> None:
    name = deploy("never", fault="never_ready", limits={"queue_timeout": "1s"})
    started = time.monotonic()
    reply = server.chat(name, max_tokens=1)
    assert reply.status_code == 503, reply.text
    assert 0.9 < time.monotonic() - started < 4
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert server.chat(echo, max_tokens=1).status_code == 200


def test_hanging_replica_is_cut_at_the_timeout(server: Server, deploy) -> None:
    name = deploy("hangs", fault="hang_after_tokens:3", limits={"timeout": "1s"})
    started = time.monotonic()
    reply = server.chat(name, max_tokens=50)
    assert reply.status_code == 504, reply.text
    assert time.monotonic() - started < 5
    wait_until(lambda: server.function(name)["in_flight"] == 0, 3, "the slot is free")


def test_full_queue_is_503_with_retry_after(server: Server, deploy) -> None:
    name = deploy(
        "queue-of-two",
        slots=1,
        scale={"min": 0, "max": 1},
        tokens_per_second=20,
        limits={"queue": 2, "queue_timeout": "30s"},
    )
    assert server.chat(name, max_tokens=1).status_code == 200  # warm: one runs, two wait
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda i: server.chat(name, f"{i}", max_tokens=20), range(8)))
    codes = sorted(reply.status_code for reply in replies)
    assert set(codes) == {200, 503}, codes
    for reply in replies:
        if reply.status_code == 503:
            assert reply.json()["error"]["code"] in ("queue_full", "server_is_overloaded")
            assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert codes.count(200) >= 3


def ended(pids: set[int]) -> bool:
    return not any(processes.alive(pid) for pid in pids)


def test_killed_server_leaves_no_orphan_and_comes_back(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("kept"))
        server.deploy(fake("other"))
        for name in ("kept", "other"):
            assert server.chat(name, max_tokens=1).status_code == 200
        replicas = set(server.replica_pids())
        assert len(replicas) >= 2
        server.kill()
        wait_until(lambda: ended(replicas), 3, "the replicas ended with their server")
        server.start()
        assert {row["function"] for row in server.functions()} == {"kept", "other"}
        assert server.chat("kept", max_tokens=1).status_code == 200
        rest = set(server.replica_pids()) | {server.pid}
        assert set(processes.mentioning(str(tmp_path))) <= rest
    wait_until(lambda: not processes.mentioning(str(tmp_path)), 3, "nothing of this server is left")


def test_killed_server_during_loading_leaves_no_orphan(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("loading", load_time="30s"))
        assert (
            server.post("/v1/functions/loading/warm", {"count": 1, "for": "1m"}).status_code == 202
        )
        wait_until(lambda: server.replica_pids(), 5, "a replica loads")
        replicas = set(server.replica_pids())
        server.kill()
        wait_until(lambda: ended(replicas), 3, "the loading replica ended with its server")


def test_killed_replicas_and_server_under_load(tmp_path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    with Server(folder=tmp_path) as server:
        server.deploy(fake("shaken", tokens_per_second=200))
        assert server.chat("shaken", max_tokens=1).status_code == 200
        with Load(server, "shaken", threads=4) as load:
            for _ in range(5):
                done = load.answered() + chance.randint(2, 8)
                wait_until(lambda: load.answered() >= done, 20, "more answers")
                for pid in server.replica_pids():
                    os.kill(pid, signal.SIGKILL)
            replicas = set(server.replica_pids())
            server.kill()
        wait_until(lambda: ended(replicas), 3, "the replicas ended with their server")
        server.start()
        assert server.chat("shaken", max_tokens=1).status_code == 200


def standing_by(server: Server) -> list[int]:
    """Its workers that were started so, whatever they have become."""
    lines = {pid: Path(f"/proc/{pid}/cmdline") for pid in processes.children(server.pid)}
    return [pid for pid, line in lines.items() if line.exists() and b"--standby" in line.read_bytes()]


def test_worker_that_stands_by_becomes_the_replica_and_ends_with_the_server() -> None:
    with Server("--standby", "1", "--template-memory", "off") as server:
        server.deploy(fake("plain"))
        [worker] = wait_until(lambda: standing_by(server), 5, "a worker stands by")
        assert server.chat("plain", max_tokens=1).status_code == 200
        assert server.replica_pids() == [worker]
        wait_until(lambda: len(standing_by(server)) == 2, 5, "the next one stands by")
        left = processes.descendants(server.pid)
        server.kill()
        wait_until(lambda: not any(processes.alive(pid) for pid in left), 5, "nothing is left")


def test_second_server_on_the_same_data_folder_refuses(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        second = Server(folder=tmp_path)
        with pytest.raises(AssertionError):
            second.start()
        assert second.process is not None and second.process.wait(timeout=10) != 0
        assert server.get("/healthz").status_code == 200
