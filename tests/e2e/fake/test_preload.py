"""Ahead of calls: preload, min_template, schedules, and the list of what is warm."""

from __future__ import annotations

import datetime
import json
import os
import signal
import time
from pathlib import Path

import pytest
from support import gguf_corpus
from support.server import Server, fake, llama, wait_until

BY_TEMPLATE = {"template": "on"}


def preload(server: Server, name: str, tier: str, hold: str = "5m") -> None:
    reply = server.post(f"/v1/functions/{name}/preload", {"tier": tier, "for": hold})
    assert reply.status_code == 202, reply.text


def warm_names(server: Server) -> set[str]:
    return {row["function"] for row in server.get("/v1/functions?warm=true").json()["data"]}


def at_tier(server: Server, name: str, *tiers: str) -> None:
    wait_until(lambda: server.function(name)["tier"] in tiers, 10, f"{name} at {tiers}")


@pytest.mark.parametrize("tier", ["template", "replica"])
def test_preloaded_function_answers_from_that_tier(server: Server, tier: str) -> None:
    name = server.deploy(fake(f"ahead-{tier}", **BY_TEMPLATE))
    assert name not in warm_names(server)
    preload(server, name, tier)
    at_tier(server, name, tier, "spare")
    assert name in warm_names(server)
    reply = server.chat(name, max_tokens=1)
    assert reply.headers["x-glowplug-cold-start"] == ("false" if tier == "replica" else "true")
    assert reply.headers.get("x-glowplug-start-tier", "replica") in (tier, "spare")
    server.remove(name)


def test_preload_for_a_while_ends_and_shows_what_is_left(server: Server) -> None:
    name = server.deploy(fake("for-a-while", keep_alive="0s"))
    preload(server, name, "replica", "1s")
    server.wait_state(name, "ready")
    (hold,) = server.function(name)["holds"]
    assert hold["by"] == "warm" and hold["tier"] == "replica" and hold["left"].endswith("s")
    server.wait_state(name, "cold")
    assert server.function(name)["holds"] == []


def test_model_file_comes_back_into_memory(server: Server, tmp_path: Path) -> None:
    name = server.deploy(llama("read-ahead", gguf_corpus.whole(tmp_path)))
    at_tier(server, name, "memory", "disk")
    preload(server, name, "memory")
    at_tier(server, name, "memory")
    preload(server, name, "disk")
    server.remove(name)


def test_min_template_holds_it_without_a_call_and_after_its_death(server: Server) -> None:
    name = server.deploy(fake("kept-resident", scale={"min_template": 1}, **BY_TEMPLATE))
    at_tier(server, name, "template", "spare")
    first = server.function(name)["template"]["id"]
    os.kill(server.pid_of(first), signal.SIGKILL)
    wait_until(lambda: server.function(name).get("template", {}).get("id", first) != first, 10, "a new template")
    at_tier(server, name, "template", "spare")
    assert [hold["by"] for hold in server.function(name)["holds"]] == ["scale"]
    server.remove(name)


def test_schedule_holds_within_its_hours(server: Server) -> None:
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    inside = {"from": f"{now - hour:%H:%M}", "until": f"{now + hour:%H:%M}", "count": 1}
    outside = {"from": f"{now + hour:%H:%M}", "until": f"{now + 2 * hour:%H:%M}"}
    server.deploy(fake("office-hours", schedule=[inside]))
    server.deploy(fake("off-hours", schedule=[outside]))
    server.wait_state("office-hours", "ready")
    assert server.function("office-hours")["holds"] == [{"by": "schedule", "tier": "replica", "count": 1}]
    assert server.function("off-hours")["state"] == "cold"
    assert server.chat("office-hours", max_tokens=1).headers["x-glowplug-cold-start"] == "false"
    server.remove("office-hours")
    server.remove("off-hours")


def test_what_cannot_be_preloaded_is_said(server: Server) -> None:
    name = server.deploy(fake("no-template"))
    for body, param in [
        ({"tier": "template"}, "tier"),
        ({"tier": "memory"}, "tier"),
        ({"tier": "cloud"}, "tier"),
        ({}, "tier"),
        ({"tier": "replica", "for": "soon"}, "for"),
    ]:
        reply = server.post(f"/v1/functions/{name}/preload", body)
        assert reply.status_code == 400, (body, reply.text)
        assert reply.json()["error"]["param"] == param
    assert server.post("/v1/functions/nobody/preload", {"tier": "replica"}).status_code == 404
    assert server.cli("preload", "nobody").returncode == 3
    assert server.cli("preload", name, "--tier", "cloud").returncode == 2
    server.remove(name)


def test_commands_wait_and_list(server: Server) -> None:
    name = server.deploy(fake("by-hand", load_time="300ms", **BY_TEMPLATE))
    began = time.monotonic()
    done = server.cli("preload", name, "--tier", "template", "--for", "10m", "--wait")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began >= 0.2, "it did not wait"
    assert server.function(name)["tier"] in ("template", "spare")
    listed = server.cli("ps", "--warm")
    assert "template by preload for" in listed.stdout
    rows = json.loads(server.cli("ps", "--warm", "--json").stdout)
    assert name in {row["function"] for row in rows}
    server.remove(name)


def test_templates_come_back_after_a_kill_of_the_server(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        for name, load in (("first", "50ms"), ("second", "60ms")):  # templates of their own
            server.deploy(fake(name, load_time=load, **BY_TEMPLATE))
            assert server.chat(name, max_tokens=1).status_code == 200
        listed = server.data_dir / "resident_templates"
        wait_until(lambda: listed.exists() and listed.read_text() == "second\nfirst\n", 15, "they are written down")
        server.kill()
        server.start()
        for name in ("second", "first"):
            at_tier(server, name, "template", "spare")
        assert not server.replica_pids()


def test_damaged_list_of_templates_is_no_obstacle(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("one", **BY_TEMPLATE))
        server.kill()
        (server.data_dir / "resident_templates").write_bytes(b"\x00\xff\nnobody\n\n../../one\n")
        server.start()
        assert server.chat("one", max_tokens=1).status_code == 200
