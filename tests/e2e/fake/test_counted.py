"""Everything that arrives is counted with what became of it and why, and the sums hold at every look: what has arrived
is what has ended and what is open; what was started is what has ended and what runs."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import httpx
import pytest
from support import sse
from support.counts import Counts, SumWatch, look
from support.raw_client import RawClient
from support.server import Server, fake, wait_until


class Seen:
    """What the callers got, as the server should have counted it."""

    def __init__(self) -> None:
        self.ends: Counter[tuple[str, str]] = Counter()
        self.by_function: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def note(self, function: str, outcome: str, reason: str) -> None:
        with self._lock:
            self.ends[outcome, reason] += 1
            if outcome != "answered":
                self.by_function[function, outcome, reason] += 1

    def note_reply(self, function: str, reply: httpx.Response, *, broken: bool = False) -> str:
        if reply.status_code == 200:
            self.note(function, "answered", "complete")
            return "complete"
        code = reply.json()["error"]["code"]
        self.note(function, "broken" if broken else "refused", code)
        return code


def head_of(client: RawClient, body_bytes: int) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {body_bytes}\r\n\r\n"
    ).encode()


def send_call(server: Server, name: str, **more) -> RawClient:
    body = json.dumps(
        {"model": name, "messages": [{"role": "user", "content": "go on"}]} | more
    ).encode()
    client = server.raw()
    client.send(head_of(client, len(body)) + body)
    return client


def begin_stream(server: Server, name: str, **more) -> RawClient:
    """A stream of which the first content was read."""
    client = send_call(server, name, stream=True, **more)
    client.read_first_content()
    return client


def rest_of(client: RawClient) -> bytes:
    return b"".join(client.chunks())


def good_calls(server: Server, seen: Seen) -> None:
    for number in range(24):
        reply = server.chat("good", f"{number}", max_tokens=8, stream=number % 2 == 0)
        assert seen.note_reply("good", reply) == "complete", reply.text


def bad_requests(server: Server, seen: Seen) -> None:
    for _ in range(3):
        assert seen.note_reply("", server.chat("nobody", max_tokens=1)) == "model_not_found"
    for name in ("../x", "n" * 10_000):
        assert seen.note_reply("", server.chat(name, max_tokens=1)) == "model_not_found"
    for body in (b"{", b"[]", b'{"messages": []}'):
        reply = server.http.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        seen.note_reply("", reply)
        assert reply.status_code == 400, reply.text
    assert seen.note_reply("good", server.chat("good", max_tokens="many")) == "invalid_value"
    with server.raw() as client:
        client.send(head_of(client, 900_000_000) + b"{")
        reply = client.reply()
        assert reply.status == 413
        seen.note("", "refused", reply.json()["error"]["code"])
    dry = server.post(
        "/v1/functions/good/invoke",
        {"body": {"prompt": "x"}},
        headers={"x-invocation-type": "DryRun"},
    )
    assert dry.status_code == 204
    seen.note("good", "answered", "dry_run")


def callers_that_leave(server: Server, seen: Seen) -> None:
    streams = [begin_stream(server, "endless", max_tokens=1000) for _ in range(2)]
    waiting = send_call(server, "slow-start")
    wait_until(lambda: server.function("slow-start")["waiting"] == 1, 5, "the call waits")
    half = server.raw()
    half.send(head_of(half, 100) + b"{")
    for client in (*streams, waiting, half):
        client.close()
    for _ in streams:
        seen.note("endless", "cancelled", "answering")
    seen.note("slow-start", "cancelled", "waiting")
    seen.note("", "cancelled", "sending")


def broken_answers(server: Server, seen: Seen) -> None:
    with send_call(server, "breaks", stream=True, max_tokens=50) as client:
        reply = client.reply()
        last = json.loads(sse.events(reply.body)[-1][1])
        seen.note("breaks", "broken", last["error"]["code"])
    seen.note_reply("half-done", server.chat("half-done", max_tokens=50), broken=True)


def full_queue(server: Server, seen: Seen) -> None:
    """One hangs, one waits behind it, the third is refused; the first two end at the function's timeout."""
    hanging = begin_stream(server, "narrow", max_tokens=50)
    with ThreadPoolExecutor(1) as pool:
        behind = pool.submit(server.chat, "narrow", max_tokens=50)
        wait_until(lambda: server.function("narrow")["waiting"] == 1, 5, "one waits")
        assert seen.note_reply("narrow", server.chat("narrow", max_tokens=1)) == "queue_full"
        assert b"deadline_exceeded" in rest_of(hanging)
        seen.note("narrow", "broken", "deadline_exceeded")
        hanging.close()
        reply = behind.result(timeout=30)
        assert seen.note_reply("narrow", reply, broken=True) == "deadline_exceeded"


def functions_that_do_not_start(server: Server, seen: Seen) -> None:
    for _ in range(2):
        assert seen.note_reply("broken", server.chat("broken", max_tokens=1)) == "function_failed"
    assert seen.note_reply("never", server.chat("never", max_tokens=1)) == "server_is_overloaded"


FUNCTIONS = [
    fake("good"),
    fake("endless", tokens_per_second=20),
    fake("slow-start", load_time="2s"),
    fake("breaks", fault="crash_after_tokens:5", failover="off"),
    fake("half-done", fault="crash_after_tokens:5"),
    fake(
        "narrow",
        slots=1,
        scale={"max": 1},
        fault="hang_after_tokens:2",
        limits={"queue": 1, "queue_timeout": "30s", "timeout": "2s"},
    ),
    fake("broken", fault="crash_on_load"),
    fake("never", fault="never_ready", limits={"queue_timeout": "1s"}),
]
TRAFFIC: list[Callable[[Server, Seen], None]] = [
    good_calls,
    bad_requests,
    callers_that_leave,
    broken_answers,
    full_queue,
    functions_that_do_not_start,
]


def counted(counter: Counter) -> Counter:
    """Without those that are at zero."""
    return +counter


def test_mixed_traffic_is_counted_to_the_last_call(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        for manifest in FUNCTIONS:
            server.deploy(manifest)
        seen = Seen()
        with SumWatch(server) as watch, ThreadPoolExecutor(len(TRAFFIC)) as pool:
            for done in [pool.submit(part, server, seen) for part in TRAFFIC]:
                done.result(timeout=60)
            wait_until(lambda: look(server).open == 0, 10, "no call is open")
        assert watch.looks >= 4 and watch.open_most >= 2, vars(watch)
        counts = look(server)
        assert counts.arrived == sum(seen.ends.values())
        assert counted(counts.calls) == seen.ends
        assert counted(counts.unanswered) == seen.by_function

        server.remove("narrow")  # the sums outlive a function, its own series do not
        gone = look(server)
        assert gone.calls == counts.calls
        assert not [name for name, *_ in gone.unanswered if name == "narrow"]


def test_requests_that_are_no_calls_have_counts_of_their_own(server: Server) -> None:
    before = look(server)
    for path in ("/nope", "/v1/functions/nobody", "/v1/chat/completions"):
        assert server.get(path).status_code in (404, 405)
    after = look(server)
    assert after.arrived == before.arrived
    assert after.requests - before.requests == Counter(
        {"not_found": 1, "model_not_found": 1, "method_not_allowed": 1}
    )


@pytest.fixture
def plain_server(tmp_path: Path):
    with Server("--spares", "0", folder=tmp_path) as running:
        yield running


def wait_for_ends(server: Server, kind: str, expected: dict[str, int]) -> Counts:
    wait_until(
        lambda: look(server).ends(kind) == expected, 15, f"{expected}; are {look(server).ends(kind)}"
    )
    return look(server)


def test_ends_of_replicas_are_counted_by_why(plain_server: Server) -> None:
    server = plain_server
    expected: dict[str, int] = {}

    def ended(reason: str) -> None:
        expected[reason] = expected.get(reason, 0) + 1
        wait_for_ends(server, "replica", expected)

    with SumWatch(server):
        server.deploy(fake("fine", template="off"))
        assert server.chat("fine", max_tokens=1).status_code == 200
        [replica] = server.replica_pids()
        os.kill(replica, signal.SIGKILL)
        ended("killed")

        # One that is killed while it streams is asked to end by the broken stream first.
        stream = begin_stream(server, "fine", max_tokens=1000)
        [replica] = server.replica_pids()
        os.kill(replica, signal.SIGSEGV)
        stream.close()
        ended("crashed")

        assert server.chat("fine", max_tokens=1).status_code == 200
        assert server.post("/v1/functions/fine/stop").status_code == 202
        ended("stopped")

        server.deploy(fake("idle", template="off", keep_alive="0s"))
        assert server.chat("idle", max_tokens=1).status_code == 200
        ended("stopped")

        server.deploy(fake("stillborn", template="off", fault="crash_on_load"))
        assert server.chat("stillborn", max_tokens=1).status_code == 503
        ended("crashed")

        server.deploy(fake("leaves", template="off", fault="exit_after_load"))
        server.chat("leaves", max_tokens=1)
        wait_until(lambda: "exit_error" in look(server).ends("replica"), 10, "it has left")
    assert look(server).ends("template") == {}


def test_ends_of_templates_and_spares_are_counted_apart(tmp_path: Path) -> None:
    with Server("--spares", "1", folder=tmp_path) as server, SumWatch(server):
        server.deploy(fake("forked", template="on", keep_alive="0s"))
        assert server.chat("forked", max_tokens=1).status_code == 200
        wait_until(lambda: server.function("forked")["tier"] == "spare", 10, "a spare stands by")
        assert server.chat("forked", max_tokens=1).status_code == 200
        wait_for_ends(server, "spare", {"handed_over": 1})
        wait_for_ends(server, "replica", {"stopped": 2})
        [spare] = wait_until(server.spare_pids, 10, "another spare stands by")
        os.kill(spare, signal.SIGKILL)
        wait_for_ends(server, "spare", {"handed_over": 1, "killed": 1})
        [template] = server.template_pids()
        os.kill(template, signal.SIGKILL)
        wait_for_ends(server, "template", {"killed": 1})


def test_worker_that_stands_by_is_counted_when_it_is_taken(tmp_path: Path) -> None:
    with Server("--standby", "1", "--template-memory", "off", folder=tmp_path) as server:
        running = ("standby", "cpu")
        wait_until(lambda: look(server).running[running] == 1, 10, "a worker stands by")
        server.deploy(fake("plain"))
        assert server.chat("plain", max_tokens=1).status_code == 200
        wait_for_ends(server, "standby", {"handed_over": 1})


def test_draining_server_counts_to_the_end(tmp_path: Path) -> None:
    """Nobody is let in any more; connections that were half-way through asking for the metrics get them."""
    with Server(folder=tmp_path) as server:
        server.deploy(fake("streams", tokens_per_second=20))
        server.deploy(fake("loads", load_time="20s"))
        streams = [begin_stream(server, "streams", max_tokens=50) for _ in range(3)]
        loading = send_call(server, "loads")
        wait_until(lambda: server.function("loads")["waiting"] == 1, 5, "a call waits")
        asking = [server.raw() for _ in range(5)]
        for client in asking:
            client.send(b"GET /metrics HTTP/1.1\r\n")
        assert look(server).open == 4
        server.terminate()
        opened = []
        for client in asking:
            time.sleep(0.4)  # the drain goes on meanwhile; each look is one of the asserted moments
            client.send(f"Host: {client.host}\r\n\r\n".encode())
            counts = Counts(client.reply().body.decode())
            counts.check()
            opened.append(counts.open)
            client.close()
        assert opened[0] == 3 and opened == sorted(opened, reverse=True), opened
        assert loading.reply().json()["error"]["code"] == "shutting_down"
        assert all(b"[DONE]" in rest_of(stream) for stream in streams)
        assert server.wait_exit() == 0
        said = re.findall(
            r"calls: (\d+) arrived = (\d+) answered \+ (\d+) refused \+ (\d+) broken \+ (\d+) cancelled \+ "
            r"(\d+) cut off",
            server.log(),
        )
        assert said == [("4", "3", "1", "0", "0", "0")]
