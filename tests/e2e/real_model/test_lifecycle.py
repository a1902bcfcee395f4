"""A real replica's life: killed, replaced, drained, scaled to zero; contract lines 29, 31, 42, 46, 47, 48 and 49."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support import gguf_corpus, processes, sse
from support.load import Load
from support.server import Server, cache_dir, llama, wait_until


@pytest.fixture(scope="module")
def needs_a_file(model: str, server: Server, smol: str) -> str:
    """A local path for manifests; the catalogue's download, once made, is found under the cache."""
    if model != "smollm2":
        return model
    found = [
        path
        for path in (cache_dir() / "models").glob("**/*")
        if path.is_file() and path.stat().st_size > 50e6
    ]
    assert found, "the deployed catalogue model left no file in the cache"
    return str(found[0])


def kill_all(pids) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def ended(pids) -> bool:
    return not any(processes.alive(pid) for pid in pids)


def test_line_31_killed_replica_then_the_next_call_works(server: Server, smol: str) -> None:
    for _ in range(3):
        assert server.chat(smol, max_tokens=2).status_code == 200
        pids = server.replica_pids()
        assert pids
        kill_all(pids)
        reply = server.chat(smol, max_tokens=2)
        assert reply.status_code == 200, reply.text


def test_line_29_disconnect_frees_the_slot_within_a_second(server: Server, smol: str) -> None:
    body = json.dumps(
        {
            "model": smol,
            "messages": [{"role": "user", "content": "Tell me a very long story."}],
            "stream": True,
            "max_tokens": 1500,
        }
    ).encode()
    client = server.raw()
    client.send(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    wait_until(lambda: server.function(smol)["in_flight"] == 1, 20, "the call runs")
    assert b"200" in client.socket.recv(4096)
    client.close()
    left = time.monotonic()
    wait_until(lambda: server.function(smol)["in_flight"] == 0, 3, "the slot is free")
    assert time.monotonic() - left < 1.0
    # 1,500 tokens would take many seconds; the step under way may end first.
    wait_until(lambda: is_idle(server.replica_pids()), 5, "nothing is computed for nobody")


def is_idle(pids: list[int]) -> bool:
    """Whether they use next to no processor time in the next third of a second."""
    before = sum(map(cpu_seconds, pids))
    time.sleep(0.33)
    return sum(map(cpu_seconds, pids)) - before < 0.05


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_line_42_and_46_to_zero_and_back(server: Server, needs_a_file: str) -> None:
    """It is looked at while it stays, and has its short keep_alive from its last call."""
    server.deploy(llama("brief", needs_a_file))

    def answered(cold: str, **more) -> None:
        reply = server.chat("brief", max_tokens=2, **more)
        assert (reply.status_code, reply.headers["x-glowplug-cold-start"]) == (200, cold), reply.text

    answered("true")
    answered("false")
    (pid,) = server.pids_of("brief")
    assert processes.memory_bytes(pid) > 20e6, "the replica does not hold the model"
    called = time.monotonic()
    answered("false", keep_alive="1s")
    lived, late = processes.seconds_until_end(pid, 20)
    assert time.monotonic() - called >= 1.0 and lived <= 2.0 + late, (lived, late)
    row = server.wait_state("brief", "cold", 5)
    assert row["memory_bytes"] == 0 and row["replica_list"] == []
    answered("true")
    answered("false")
    server.remove("brief")


def test_line_47_broken_file_fails_with_a_reason(server: Server, smol: str, tmp_path) -> None:
    for fault, path in gguf_corpus.broken(tmp_path).items():
        name = "broken-" + fault.replace("_", "-")
        reply = server.put(llama(name, path))
        if reply.status_code < 300:
            assert server.chat(name, max_tokens=1).status_code >= 400
            row = server.wait_state(name, "failed", 5)
            assert len(row["reason"]) > 10, (fault, row)
        else:
            assert reply.status_code in (400, 422) and len(reply.json()["error"]["message"]) > 10, (
                reply.text
            )
        server.remove(name)
    assert server.chat(smol, max_tokens=1).status_code == 200


def test_line_47_truncated_model_is_refused(server: Server, needs_a_file: str, tmp_path) -> None:
    cut = tmp_path / "cut.gguf"
    with open(needs_a_file, "rb") as whole, open(cut, "wb") as part:
        part.write(whole.read(os.path.getsize(needs_a_file) - (1 << 20)))
    reply = server.put(llama("cut", cut))
    if reply.status_code < 300:
        assert server.chat("cut", max_tokens=1).status_code >= 400
        assert server.wait_state("cut", "failed", 5)["reason"]
    server.remove("cut")


def test_line_48_new_revision_and_rollback_under_load(server: Server, needs_a_file: str) -> None:
    old, new = llama("rolling", needs_a_file), llama("rolling", needs_a_file, slots=2)
    server.deploy(old)
    assert server.chat("rolling", max_tokens=1).status_code == 200
    with Load(server, "rolling", threads=2, max_tokens=8) as load:
        wait_until(lambda: load.answered(1) >= 4, 60, "answers of revision 1")
        server.deploy(new)
        wait_until(lambda: load.answered(2) >= 4, 60, "answers of revision 2")
        server.deploy(old)
        done = load.answered() + 8
        wait_until(lambda: load.answered() >= done, 60, "answers after the rollback")
    assert load.failures == []
    server.remove("rolling")


def test_line_48_a_broken_revision_does_not_replace_a_working_one(
    server: Server, needs_a_file: str, tmp_path
) -> None:
    server.deploy(llama("careful", needs_a_file))
    assert server.chat("careful", max_tokens=1).status_code == 200
    server.put(llama("careful", gguf_corpus.broken(tmp_path)["truncated_data"]))
    for _ in range(3):
        assert server.chat("careful", max_tokens=1).status_code == 200
    server.remove("careful")


def test_line_49_sigterm_lets_the_stream_finish(model: str, tmp_path) -> None:
    with Server(folder=tmp_path, cache=cache_dir()) as server:
        server.deploy(llama("last-words", model))
        assert server.chat("last-words", max_tokens=1).status_code == 200
        finished = {}

        def read() -> None:
            with server.stream("last-words", "Tell me a long story.", max_tokens=150) as reply:
                finished["text"] = reply.read()

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: server.function("last-words")["in_flight"] == 1, 10, "the stream runs")
        server.terminate()
        reader.join(timeout=40)
        assert sse.events(finished["text"])[-1][1] == sse.DONE
        assert server.wait_exit(15) == 0
    wait_until(lambda: not processes.mentioning(str(tmp_path)), 3, "nothing of this server is left")


def test_killed_server_leaves_no_orphan_and_comes_back(model: str, tmp_path) -> None:
    with Server(folder=tmp_path, cache=cache_dir()) as server:
        server.deploy(llama("kept", model))
        assert server.chat("kept", max_tokens=1).status_code == 200
        replicas = server.replica_pids()
        assert replicas
        server.kill()
        wait_until(lambda: ended(replicas), 3, "the replicas ended with their server")
        server.start()
        assert server.chat("kept", max_tokens=1).status_code == 200
    wait_until(lambda: not processes.mentioning(str(tmp_path)), 3, "nothing of this server is left")


def test_replicas_and_server_killed_under_load(model: str, tmp_path) -> None:
    with Server(folder=tmp_path, cache=cache_dir()) as server:
        server.deploy(llama("shaken", model))
        assert server.chat("shaken", max_tokens=1).status_code == 200
        with Load(server, "shaken", threads=2, max_tokens=24) as load:
            for _ in range(3):
                done = load.answered() + 3
                wait_until(lambda: load.answered() >= done, 60, "more answers")
                kill_all(server.replica_pids())
            done = load.answered() + 3
            wait_until(lambda: load.answered() >= done, 60, "answers after the kills")
            replicas = server.replica_pids()
            server.kill()
        wait_until(lambda: ended(replicas), 3, "the replicas ended with their server")
        server.start()
        assert server.chat("shaken", max_tokens=1).status_code == 200
    wait_until(lambda: not processes.mentioning(str(tmp_path)), 3, "nothing of this server is left")
