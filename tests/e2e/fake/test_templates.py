"""Templates: loaded once, forked from, killed, hung and shared; a call is answered whatever happens to them."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import time

import pytest
from support import processes, server_timing, sse
from support.leaks import nothing_left
from support.server import Server, fake, wait_until
from support.starts import Changes


CHANGES = 6  # that a start from a template shows, and one more


def deploy(server: Server, name: str, **more) -> str:
    return server.deploy(fake(name, template="on", **more))


def only_template(server: Server) -> int:
    (pid,) = server.template_pids()
    return pid


@pytest.fixture
def spares_kept() -> int:
    return 0


@pytest.fixture
def server(tmp_path, spares_kept):
    with Server("--spares", str(spares_kept), folder=tmp_path) as running:
        yield running
        ours = set(processes.children(running.pid))
    wait_until(lambda: not any(map(processes.alive, ours)), 3, "templates end with their server")


def test_second_cold_start_forks_what_the_first_has_loaded(server: Server) -> None:
    name = deploy(server, "forked", load_time="600ms", keep_alive="0s")
    first = server.chat(name, max_tokens=2)
    assert first.status_code == 200 and first.headers["x-glowplug-cold-start"] == "true"
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
    row = server.function(name)
    assert row["tier"] == "template" and row["template"]["state"] == "ready"
    assert row["template"]["memory_bytes"] > 0 and row["memory_bytes"] == 0
    began = time.monotonic()
    second = server.chat(name, max_tokens=2)
    assert time.monotonic() - began < 0.5, "it was loaded again"
    assert second.headers["x-glowplug-cold-start"] == "true"
    phases = server_timing.phases(second)
    assert phases["load"] == 0 and 0 < phases["fork"] < 400
    assert server_timing.bytes_read(second) == "0 B"
    assert second.json()["choices"] == first.json()["choices"]
    assert server.cli("ps").stdout.splitlines()[0].split()[7] == "TEMPLATE"


def test_fifty_first_calls_load_once(server: Server) -> None:
    name = deploy(server, "crowd", load_time="300ms", slots=64, tokens_per_second=2000)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda i: server.chat(name, f"{i}", max_tokens=2), range(50)))
    assert [reply.status_code for reply in replies] == [200] * 50
    assert len(server.template_pids()) == 1 and len(server.replica_pids()) == 1


def test_forty_functions_of_one_model_share_one_template(server: Server) -> None:
    for i in range(40):
        deploy(server, f"f{i}", keep_alive="0s")
    for i in range(40):
        assert server.chat(f"f{i}", max_tokens=1).status_code == 200
    assert len(server.template_pids()) == 1
    for i in range(40):
        server.remove(f"f{i}")
    wait_until(lambda: not server.template_pids(), 3, "a template that nobody uses is gone")


def test_killed_template_leaves_its_replicas_streams_alone(server: Server) -> None:
    name = deploy(server, "streaming", tokens_per_second=100)
    whole = server.chat(name, max_tokens=60)
    with server.stream(name, max_tokens=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        os.kill(only_template(server), signal.SIGKILL)
        text = "\n".join(["", *lines])
    chunks = sse.chunks(text)
    assert sse.events(text)[-1][1] == sse.DONE
    assert whole.json()["choices"][0]["message"]["content"].endswith(sse.text_of(chunks))
    assert server.function(name)["tier"] == "replica" and "template" not in server.function(name)
    server.post(f"/v1/functions/{name}/stop")
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "stopped")
    assert server.chat(name, max_tokens=1).status_code == 200
    assert len(server.template_pids()) == 1


def test_template_that_hangs_is_passed_over(server: Server) -> None:
    name = deploy(server, "hung", keep_alive="0s")
    assert server.chat(name, max_tokens=1).status_code == 200
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
    with nothing_left(server):
        hung = only_template(server)
        os.kill(hung, signal.SIGSTOP)
        assert server.chat(name, max_tokens=1).status_code == 200
        assert not processes.alive(hung)
        assert any("did not fork" in line["reason"] for line in server.decisions(name))
        assert server.chat(name, max_tokens=1).status_code == 200
        wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")


def test_template_that_cannot_load_says_why(server: Server) -> None:
    name = deploy(server, "broken", fault="crash_on_load")
    reply = server.chat(name, max_tokens=1)
    assert reply.status_code >= 500 and "signal 6" in reply.text
    assert server.function(name)["state"] == "failed" and not server.template_pids()


def test_replicas_that_keep_dying_end_their_template(server: Server) -> None:
    name = deploy(server, "dying", fault="crash_after_tokens:1")
    for _ in range(3):
        assert server.chat(name, max_tokens=4).status_code >= 500
    wait_until(
        lambda: any("replicas died" in line["reason"] for line in server.decisions(name)),
        5,
        "the template is replaced",
    )


@pytest.mark.parametrize("spares_kept", [0, 2])
def test_any_process_killed_after_any_change_the_next_call_is_answered(server: Server) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    with nothing_left(server), concurrent.futures.ThreadPoolExecutor(2) as pool:
        name = deploy(server, "shaken", load_time="20ms", keep_alive="0s", tokens_per_second=1000)
        for step in range(60):
            changes = Changes(server)
            call = pool.submit(server.chat, name, max_tokens=2)
            for _ in range(step % CHANGES):
                changes.wait(call.done)
            victims = processes.children(server.pid)
            if victims:
                try:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            assert call.result().status_code in (200, 502, 503), call.result().text
            retry = server.chat(name, max_tokens=2)
            assert retry.status_code == 200, (step, retry.text)
        wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
        assert not server.replica_pids() and len(server.template_pids()) <= 1
        server.remove(name)


def test_process_engine_cannot_have_one(server: Server) -> None:
    manifest = {
        "name": "foreign",
        "engine": {"process": {"command": ["sleep", "60"]}},
        "template": "on",
    }
    reply = server.put(manifest)
    assert reply.status_code == 422 and "template" in reply.json()["error"]["message"]
    reply = server.put({"name": "odd", "engine": "fake", "template": "always"})
    assert reply.status_code == 422 and "auto or on or off" in reply.json()["error"]["message"]


def spares(server: Server, name: str) -> list[dict]:
    return server.function(name)["template"]["spares"]


@pytest.mark.parametrize("spares_kept", [1])
def test_spare_is_handed_over_and_the_next_one_made_behind_it(server: Server) -> None:
    name = deploy(server, "ahead", keep_alive="0s")
    assert server.chat(name, max_tokens=1).status_code == 200
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
    for _ in range(3):
        wait_until(lambda: server.spare_pids(), 5, "a spare")
        (spare,) = spares(server, name)
        wait_until(
            lambda: any(
                f"replica {spare['id']} ready" in line["reason"] for line in server.decisions(name)
            ),
            5,
            "the spare is ready",
        )
        reply = server.chat(name, max_tokens=1)
        assert reply.headers["x-glowplug-cold-start"] == "true"
        phases = server_timing.phases(reply)
        assert phases["load"] == phases["fork"] == 0
        assert spares(server, name) == [] or spares(server, name)[0]["id"] != spare["id"]
        wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
    log = server.get(f"/v1/functions/{name}/logs").text
    assert "sandbox:" not in log


@pytest.mark.parametrize("spares_kept", [1])
def test_killed_spare_is_no_failure(server: Server) -> None:
    name = deploy(server, "lonely", keep_alive="0s")
    assert server.chat(name, max_tokens=1).status_code == 200
    wait_until(lambda: server.spare_pids(), 5, "a spare")
    for pid in server.spare_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.spare_pids(), 5, "the spare is gone")
    assert server.chat(name, max_tokens=1).status_code == 200


def test_no_spares_where_none_are_wanted(server: Server) -> None:
    name = deploy(server, "bare", keep_alive="0s")
    for _ in range(2):
        assert server.chat(name, max_tokens=1).status_code == 200
        wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
    assert spares(server, name) == [] and not server.replica_pids()
