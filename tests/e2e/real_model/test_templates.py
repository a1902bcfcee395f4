"""Replicas forked from a template of the real engine: the same answers, little memory of their own, no shared luck."""

from __future__ import annotations

import concurrent.futures
import os
import signal
from pathlib import Path

import pytest
from support import processes, sse
from support.server import Server, cache_dir, llama, wait_until
from support.starts import Changes

CHANGES = 5  # that a start from a template shows, and one more


@pytest.fixture
def server():
    with Server(cache=cache_dir()) as running:
        yield running


def cold(server: Server, name: str) -> None:
    server.post(f"/v1/functions/{name}/stop")
    wait_until(lambda: server.function(name)["state"] == "cold", 10, "back at zero")


def answer(server: Server, name: str, **more) -> str:
    reply = server.chat(name, "Name three colours.", **more)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


def test_forked_and_executed_replicas_answer_alike(server: Server, model: str) -> None:
    server.deploy(llama("forked", model))
    server.deploy(llama("alone", model, template="off"))
    wanted = {"max_tokens": 24, "temperature": 0}
    assert answer(server, "forked", **wanted) == answer(server, "alone", **wanted)
    assert server.function("forked")["template"]["state"] == "ready"
    assert "template" not in server.function("alone")


def test_siblings_draw_different_luck(server: Server, model: str) -> None:
    server.deploy(llama("lucky", model))
    texts = []
    for _ in range(4):
        texts.append(answer(server, "lucky", max_tokens=24, temperature=1.5, seed=None))
        cold(server, "lucky")
    assert len(set(texts)) > 1, texts


def test_a_further_replica_holds_little_of_its_own(server: Server, model: str) -> None:
    server.deploy(llama("small", model))
    server.post("/v1/functions/small/warm", {"count": 3, "for": "5m"})
    wait_until(lambda: len(server.function("small")["replica_list"]) == 3, 20, "three replicas")
    wait_until(
        lambda: all(row["state"] == "ready" for row in server.function("small")["replica_list"]),
        20,
        "all are ready",
    )
    for _ in range(3):
        answer(server, "small", max_tokens=8)
    for pid in server.replica_pids():
        own = sum(
            int(line.split()[1]) * 1024
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Private_Dirty")
        )
        assert own < 40e6, f"replica {pid} holds {own / 1e6:.0f} MB of its own"


def test_killed_template_leaves_the_stream_alone(server: Server, model: str) -> None:
    server.deploy(llama("streaming", model))
    with server.stream("streaming", "Tell me a story.", max_tokens=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        (template,) = server.template_pids()
        os.kill(template, signal.SIGKILL)
        text = "\n".join(["", *lines])
    assert sse.events(text)[-1][1] == sse.DONE
    cold(server, "streaming")
    assert answer(server, "streaming", max_tokens=2)


def test_any_process_killed_at_any_step_the_next_call_is_answered(
    server: Server, model: str
) -> None:
    server.deploy(llama("shaken", model, keep_alive=0))
    answer(server, "shaken", max_tokens=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for step in range(10):
            wait_until(lambda: server.function("shaken")["state"] == "cold", 10, "back at zero")
            changes = Changes(server)
            call = pool.submit(server.chat, "shaken", max_tokens=1)
            for _ in range(step % CHANGES):
                changes.wait(call.done)
            for pid in server.template_pids() if step % 4 == 3 else server.replica_pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            assert call.result().status_code in (200, 502, 503), call.result().text
            assert answer(server, "shaken", max_tokens=1), step
    wait_until(
        lambda: all(map(processes.alive, processes.children(server.pid))), 5, "no zombie is left"
    )
