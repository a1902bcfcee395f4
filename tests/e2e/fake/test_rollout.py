"""Contract lines 48 and 49: a new revision and a rollback under load, and the end of a server."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from support import processes, sse
from support.load import Load
from support.server import Server, fake, wait_until


def test_deploying_twice_changes_nothing(server: Server) -> None:
    first = server.put(fake("twice"))
    second = server.put(fake("twice"))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["revision"] == second.json()["revision"] == 1
    third = server.put(fake("twice", slots=2))
    assert third.status_code == 200 and third.json()["revision"] == 2
    assert server.function("twice")["revision"] == 2


def test_if_match_guards_a_deploy(server: Server) -> None:
    server.put(fake("guarded"))
    stale = server.put(fake("guarded", slots=2), headers={"If-Match": "7"})
    assert stale.status_code == 409, stale.text
    assert stale.json()["error"]["code"] == "revision_conflict"
    assert server.put(fake("guarded", slots=2), headers={"If-Match": "1"}).status_code == 200


def test_dry_run_changes_nothing(server: Server) -> None:
    reply = server.put(fake("rehearsed"), params={"dry_run": "true"})
    assert reply.status_code == 200, reply.text
    assert server.get("/v1/functions/rehearsed").status_code == 404


def test_delete_is_204_then_404(server: Server) -> None:
    server.deploy(fake("removed"))
    assert server.chat("removed", max_tokens=1).status_code == 200
    assert server.http.delete("/v1/functions/removed").status_code == 204
    assert server.http.delete("/v1/functions/removed").status_code == 404
    assert server.chat("removed", max_tokens=1).status_code == 404


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_48_new_revisions_and_rollback_under_load(server: Server, template: str) -> None:
    name = f"rolling-{template}"
    old = fake(name, template=template)
    new = fake(name, template=template, slots=3, load_time="200ms")
    server.deploy(old)
    assert server.chat(name, max_tokens=1).status_code == 200
    with Load(server, name, threads=4, max_tokens=24) as load:
        wait_until(lambda: load.answered(1) >= 10, 20, "answers of revision 1")
        server.deploy(new)
        wait_until(lambda: load.answered(2) >= 10, 20, "answers of revision 2")
        server.deploy(old)  # the rollback: the former manifest again
        revision = server.function(name)["revision"]
        wait_until(
            lambda: load.answered(3) >= 10 or load.answered(revision) >= 30,
            20,
            "answers after the rollback",
        )
    assert load.failures == []
    assert server.function(name)["state"] == "ready"


@pytest.mark.parametrize("template", ["off", "on"])
def test_line_48_a_broken_revision_does_not_replace_a_working_one(server: Server, template: str) -> None:
    name = f"careful-{template}"
    server.deploy(fake(name, template=template))
    assert server.chat(name, max_tokens=1).status_code == 200
    with Load(server, name, threads=2) as load:
        server.put(fake(name, template=template, fault="crash_on_load"))
        wait_until(
            lambda: any(d["decision"] == "failed" for d in server.decisions(name)),
            20,
            "it failed",
        )
        done = load.answered() + 10
        wait_until(lambda: load.answered() >= done, 10, "answers after the failed rollout")
    assert load.failures == []
    assert server.function(name)["reason"], "the failed revision is not explained"


def test_line_49_sigterm_drains(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("last-words", tokens_per_second=25))
        finished = {}

        def read() -> None:
            with server.stream("last-words", max_tokens=50) as reply:  # about two seconds
                finished["text"] = reply.read()

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: server.function("last-words")["in_flight"] == 1, 5, "the stream runs")
        with server.raw(admin=True) as probe:
            assert probe.request("GET", "/readyz").status == 200
            server.terminate()

            def not_ready() -> bool:
                try:
                    return httpx.get(server.admin_url + "/readyz", timeout=5).status_code == 503
                except httpx.TransportError:
                    return True

            wait_until(not_ready, 1, "readyz fails")
        assert reader.is_alive(), "the stream ended before readiness did"
        try:
            late = httpx.post(
                server.url + "/v1/chat/completions",
                timeout=5,
                json={"model": "last-words", "messages": [{"role": "user", "content": "me too"}]},
            )
            assert late.status_code == 503, late.text
            assert late.json()["error"]["code"] == "shutting_down"
            assert 1 <= int(late.headers["retry-after"]) <= 60
        except httpx.TransportError:
            pass  # no longer accepting is as good
        reader.join(timeout=20)
        events = sse.events(finished["text"])
        assert events[-1][1] == sse.DONE
        assert any(
            json.loads(data)["choices"][0]["finish_reason"]
            for _, data in events[:-1]
            if json.loads(data)["choices"]
        )
        assert server.wait_exit(20) == 0
    wait_until(lambda: not processes.mentioning(str(tmp_path)), 3, "nothing of this server is left")


def test_line_49_sigterm_while_idle_is_quick(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("idle"))
        server.chat("idle", max_tokens=1)
        server.terminate()
        assert server.wait_exit(5) == 0


def test_line_49_functions_survive_a_restart(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("kept"))
        server.deploy(fake("kept", slots=2))
        server.terminate()
        assert server.wait_exit(10) == 0
        server.start()
        row = server.function("kept")
        assert (row["revision"], row["state"]) == (2, "cold")
        assert server.chat("kept", max_tokens=1).status_code == 200
