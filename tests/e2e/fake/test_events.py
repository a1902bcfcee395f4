"""GET /v1/functions/{name}/events: what a watcher is told, and that watching changes nothing."""

from __future__ import annotations

import subprocess
import time

import yaml
from support import sse
from support.events import Events
from support.server import GLOWPLUG, Server, fake, holds_for, wait_until

STREAMS_MAX = 256


def path(name: str) -> str:
    return f"/v1/functions/{name}/events"


def test_a_cycle_from_zero_to_zero_is_told(server: Server, deploy) -> None:
    name = deploy("watched", keep_alive="100ms", load_time="300ms")
    with Events(server, name) as events:
        assert events.seen[0][0] == "state"
        assert events.seen[0][1] == server.function(name)
        assert server.chat(name, max_tokens=1).status_code == 200
        events.wait_state("cold", "loading", "ready", "draining", "cold")
        replicas = [row["replica_list"][0]["state"] for row in events.of("state") if row["replicas"]]
        assert list(dict.fromkeys(replicas)) == ["loading", "ready", "draining"]
        tiers = [row["tier"] for row in events.of("state")]
        assert "replica" in tiers and tiers[-1] == "disk"
        assert events.of("state")[-1]["cold_starts"] == 1


def test_a_new_revision_is_told(server: Server, deploy) -> None:
    name = deploy("renewed")
    with Events(server, name, admin=True) as events:
        server.deploy(fake(name, slots=2))
        events.wait(lambda: events.of("state")[-1]["revision"] == 2, 5, "revision 2")
        assert events.of("state")[-1]["manifest"]["slots"] == 2


def test_a_failed_load_is_told_with_its_reason(server: Server, deploy) -> None:
    name = deploy("breaks-on-load", fault="crash_on_load")
    with Events(server, name) as events:
        assert server.chat(name, max_tokens=1).status_code >= 500
        events.wait_state("failed")
        assert events.of("state")[-1]["reason"]


def test_progress_comes_at_most_every_100_ms_and_ends_with_the_last(server: Server, deploy) -> None:
    name = deploy("slow-load", load_time="1500ms")
    with Events(server, name) as events:
        server.post(f"/v1/functions/{name}/warm", {"count": 1, "for": "1m"})
        events.wait_state("ready")
        told = [(row["progress"], at) for event, row, at in events.seen if event == "progress"]
        assert told, "the fake engine reports progress while it loads"
        assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
        gaps = [after - before for (_, before), (_, after) in zip(told, told[1:])]
        assert all(gap > 0.08 for gap in gaps), gaps
        assert all("manifest" not in row for row in events.of("progress"))
        assert events.of("state")[-1]["replica_list"][0]["progress"] == 1


def test_deleted_is_the_last_event(server: Server, deploy) -> None:
    name = deploy("short-lived")
    assert server.chat(name, max_tokens=1).status_code == 200
    with Events(server, name) as first, Events(server, name) as second:
        server.remove(name)
        for events in (first, second):
            events.wait(lambda: events.ended, 5, "the stream's end")
            assert events.complete
            assert events.seen[-1][:2] == (
                "deleted",
                {"object": "function", "function": name, "deleted": True},
            )


def test_unknown_function_is_404(server: Server) -> None:
    reply = server.get(path("absent"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_watching_does_not_wake(server: Server, deploy) -> None:
    name = deploy("left-alone")
    with Events(server, name) as events:
        holds_for(lambda: server.function(name)["state"] == "cold", 0.5, "cold while watched")
        assert len(events.seen) == 1
    row = server.function(name)
    assert (row["calls"], row["cold_starts"]) == (0, 0)


def test_watching_does_not_reset_the_idle_timer(server: Server, deploy) -> None:
    name = deploy("nodding-off", keep_alive="1s")
    assert server.chat(name, max_tokens=1).status_code == 200
    ended = time.monotonic()
    with Events(server, name) as events:
        while events.states()[-1] != "cold":
            assert time.monotonic() - ended < 4, events.states()
            with Events(server, name):  # one more comes and goes
                pass
    assert time.monotonic() - ended < 2.2


def test_a_watcher_that_leaves_is_forgotten(server: Server, deploy) -> None:
    name = deploy("often-watched")
    for _ in range(STREAMS_MAX + 20):  # more than may watch at once
        with Events(server, name):
            pass
    with Events(server, name) as events:
        assert server.chat(name, max_tokens=1).status_code == 200
        events.wait_state("ready")


def test_too_many_streams_are_refused_until_one_leaves(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("popular"))
        open_ = [Events(server, "popular") for _ in range(STREAMS_MAX)]
        try:
            refused = server.get(path("popular"))
            assert refused.status_code == 503, refused.text
            assert refused.json()["error"]["code"] == "server_is_overloaded"
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert server.chat("popular", max_tokens=1).status_code == 200
            metrics = server.get("/metrics").text
            assert "glowplug_event_streams_refused_total 1\n" in metrics
            open_.pop()._client.close()

            def admitted() -> bool:
                with server.http.stream("GET", path("popular")) as reply:
                    return reply.status_code == 200

            wait_until(admitted, 5, "a place is free")
        finally:
            for events in open_:
                events._client.close()


def test_a_reader_that_sleeps_gets_the_latest_and_holds_nobody_up(server: Server, deploy) -> None:
    """Each event is large; what the reader does not take is not kept for it."""
    name = deploy("unread", load_time="1ms", context=4096, prime=["x" * 60_000] * 3)
    with server.raw() as client:
        client.send(f"GET {path(name)} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
        cycles = 40
        for _ in range(cycles):
            assert server.chat(name, max_tokens=1, keep_alive=0).status_code == 200
            server.wait_state(name, "cold", 5)
        row = server.function(name)
        assert row["cold_starts"] == cycles
        server.remove(name)
        reply = client.reply()
    told = sse.events(reply.body)
    assert reply.complete and told[-1][0] == "deleted"
    assert len(told) < 3 * cycles, "of the four changes of each cycle most came while it slept"
    assert '"cold_starts":0' in told[0][1]


def test_drain_ends_streams_properly_and_at_once(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("kept"))
        assert server.chat("kept", max_tokens=1).status_code == 200
        with Events(server, "kept") as events:
            server.terminate()
            began = time.monotonic()
            assert server.wait_exit() == 0
            assert time.monotonic() - began < 5
            events.wait(lambda: events.ended, 5, "the stream's end")
            assert events.complete
            assert not events.of("deleted")


def deploying(server: Server, folder, manifest: dict) -> subprocess.Popen:
    path = folder / "function.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return subprocess.Popen(
        [str(GLOWPLUG), "deploy", str(path), "--wait", "--url", server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_deploy_shows_the_way_and_polls_nothing(server: Server, tmp_path) -> None:
    process = deploying(server, tmp_path, fake("shown", load_time="600ms"))
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "shown is deployed (revision 1)" in out
    assert "loading" in err and "100 %" in err
    assert server.function("shown")["state"] == "ready"
    server.remove("shown")


def test_deploy_outlives_a_restart_of_the_server(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        process = deploying(server, tmp_path, fake("carried-over", load_time="1s"))
        wait_until(lambda: server.replica_pids(), 10, "a replica loads")
        server.kill()
        server.listen = server.url.removeprefix("http://")
        server.start()
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert "carried-over is deployed (revision 1)" in out
        assert server.function("carried-over")["state"] == "ready"


def test_deploy_of_what_is_deleted_meanwhile_is_not_found(server: Server, tmp_path) -> None:
    process = deploying(server, tmp_path, fake("withdrawn", load_time="20s"))
    wait_until(
        lambda: any(
            row["function"] == "withdrawn" and row["state"] == "loading"
            for row in server.functions()
        ),
        10,
        "it loads",
    )
    server.remove("withdrawn")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3, err
    assert "withdrawn" in err
