"""`glowplug tune` on the fake engine, whose measurements follow from its manifest: what it tries, tells and keeps."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import httpx
import pytest
from support.server import Server, fake, wait_until

DONE, FAILED, NOT_FOUND = 0, 1, 3
CORES = len(os.sched_getaffinity(0))
# What the fake engine is made to be fastest with.
CHOICE = {"threads": "auto", "batch": "auto", "repack": "off", "kv": "auto"}


def events_of(server: Server, name: str, **body) -> list[tuple[str, dict]]:
    """All events of one tune."""
    found, kind = [], ""
    with server.http.stream("POST", f"/v1/functions/{name}/tune", json=body, timeout=120) as reply:
        assert reply.status_code == 200, reply.read()
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            if line.startswith("event: "):
                kind = line[len("event: ") :]
            elif line.startswith("data: "):
                found.append((kind, json.loads(line[len("data: ") :])))
    return found


def error_of(reply: httpx.Response) -> dict:
    return reply.json()["error"]


def idle(server: Server) -> bool:
    return all(row["in_flight"] + row["waiting"] == 0 for row in server.functions())


def test_each_trial_is_told_and_the_choice_is_kept(server: Server, deploy) -> None:
    name = deploy("tuned-kept", tokens_per_second=100)
    events = events_of(server, name)
    assert [kind for kind, _ in events[:-1]] == ["trial"] * (len(events) - 1)
    trials = [data for _, data in events[:-1]]
    assert [data["done"] for data in trials] == list(range(1, len(trials) + 1))
    assert trials[-1]["of"] == len(trials)
    assert {data["settings"]["threads"] for data in trials} >= {1, CORES}
    assert {data["settings"]["kv"] for data in trials} == {"auto", "q8_0"}
    kind, result = events[-1]
    assert kind == "result" and result["revision"] == 1 and "applied_revision" not in result
    assert result["choice"] == CHOICE
    function = server.function(name)
    assert function["revision"] == 1
    assert function["tuned"]["choice"] == result["choice"]
    assert function["manifest"]["tuning"] == {"batch": "auto", "repack": "auto", "kv": "auto"}


def command_of(server: Server, name: str) -> list[str]:
    """The command line of the one replica that answers a call of the function."""
    assert server.chat(name, max_tokens=1).status_code == 200
    (pid,) = server.replica_pids()
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_the_choice_holds_from_the_next_start_on(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        name = server.deploy(fake("starts"))
        assert "--repack" not in command_of(server, name)
        events_of(server, name)
        assert "--repack" not in command_of(server, name), "what runs goes on as it is"
        server.cli("stop", name)
        wait_until(lambda: not server.replica_pids(), 10, "it has stopped")
        line = command_of(server, name)
        assert line[line.index("--repack") + 1] == "off"
        server.kill()
        server.start()
        line = command_of(server, name)
        assert line[line.index("--repack") + 1] == "off", "after a restart too"


def test_the_record_survives_a_restart_and_a_change_that_does_not_touch_it(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        name = server.deploy(fake("lasting"))
        events_of(server, name)
        before = server.function(name)["tuned"]
        server.kill()
        server.start()
        assert server.function(name)["tuned"] == before
        server.deploy(fake("lasting", keep_alive="1m"))
        assert server.function(name)["revision"] == 2
        assert server.function(name)["tuned"] == before
        server.deploy(fake("lasting", context=512))
        assert "tuned" not in server.function(name)


def test_apply_writes_a_revision_that_says_the_choice(server: Server, deploy) -> None:
    name = deploy("tuned-applied", tuning={"kv": "q8_0"})
    done = server.cli("tune", name, "--apply", "--json")
    assert done.returncode == DONE, (done.stdout, done.stderr)
    result = json.loads(done.stdout)
    function = server.function(name)
    assert result["revision"] == 1 and result["applied_revision"] == function["revision"] == 2
    assert function["manifest"]["tuning"] == {"batch": "auto", "repack": "off", "kv": "q8_0"}


def test_the_command_shows_a_table_and_marks_the_choice(server: Server, deploy) -> None:
    done = server.cli("tune", deploy("tuned-table"))
    assert done.returncode == DONE, (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert lines[0].split() == "THREADS BATCH REPACK KV FILE PREFILL/S DECODE/S START MS OWN MB".split()
    assert sum(line.startswith("*") for line in lines) == 1
    assert "from its next start on" in lines[-1]
    assert "measuring tuned-table" in done.stderr and "100 %" in done.stderr


def test_calls_are_served_while_it_runs_and_the_result_says_so(server: Server, deploy) -> None:
    name = deploy("tuned-busy", load_time="500ms")
    found: list = []
    thread = threading.Thread(target=lambda: found.extend(events_of(server, name)))
    thread.start()
    wait_until(lambda: server.replica_pids(), 10, "it measures")
    assert server.chat(name, max_tokens=2).status_code == 200
    thread.join()
    assert found[-1][0] == "result"
    assert found[-1][1]["calls_meanwhile"] == 1


def test_one_at_a_time_and_a_client_that_leaves_ends_it(server: Server, deploy) -> None:
    name = deploy("tuned-twice", load_time="20s")
    with server.http.stream("POST", f"/v1/functions/{name}/tune", json={}) as running:
        assert running.status_code == 200
        wait_until(lambda: server.replica_pids(), 10, "it measures")
        second = server.post(f"/v1/functions/{name}/tune")
        assert second.status_code == 409 and error_of(second)["code"] == "tune_refused"
        assert "another tune" in error_of(second)["message"]
    wait_until(lambda: not server.replica_pids(), 10, "its process is gone")
    wait_until(
        lambda: server.post("/v1/functions/absent/tune").status_code == 404, 10, "it answers again"
    )
    short = deploy("tuned-after")
    assert events_of(server, short)[-1][0] == "result"


def test_calls_in_flight_refuse_it_unless_forced(server: Server, deploy) -> None:
    busy = deploy("tuned-forced", tokens_per_second=5)
    name = deploy("tuned-beside")
    with server.stream(busy, "word " * 400, max_tokens=500) as answer:
        lines = answer.iter_lines()  # kept: the response closes with it
        next(lines)
        refused = server.post(f"/v1/functions/{name}/tune")
        assert refused.status_code == 409, refused.text
        assert "1 call is in flight" in error_of(refused)["message"]
        forced = events_of(server, name, force=True)
        assert forced[-1][0] == "result" and forced[-1][1]["calls_meanwhile"] >= 1
    wait_until(lambda: idle(server), 10, "the call is over")


def test_a_measurement_that_dies_fails_the_tune_and_nothing_is_kept(server: Server, deploy) -> None:
    name = deploy("tuned-crash", fault="crash_on_load")
    done = server.cli("tune", name)
    assert done.returncode == FAILED, (done.stdout, done.stderr)
    assert "cannot be measured" in done.stderr and "signal 6" in done.stderr
    assert "tuned" not in server.function(name)


@pytest.mark.parametrize(
    "body, param", [({"aply": True}, "aply"), ({"apply": "yes"}, "apply"), ({"force": 1}, "force")]
)
def test_bad_bodies_are_refused_by_name(server: Server, echo: str, body: dict, param: str) -> None:
    reply = server.post(f"/v1/functions/{echo}/tune", body)
    assert reply.status_code == 400, reply.text
    assert error_of(reply)["param"] == param


def test_a_missing_function_and_a_process_engine_are_refused() -> None:
    with Server("--allow-process-engines") as server:
        assert server.cli("tune", "absent").returncode == NOT_FOUND
        manifest = fake("own") | {"engine": {"process": {"command": ["sleep", "1"]}}}
        server.deploy(manifest)
        reply = server.post("/v1/functions/own/tune")
        assert reply.status_code == 400 and error_of(reply)["code"] == "unsupported_value"
        assert "engine.process" in error_of(reply)["message"]


def test_it_must_fit_beside_what_runs() -> None:
    with Server("--memory", "24MiB") as server:
        measured, runs = server.deploy(fake("measured")), server.deploy(fake("runs"))
        assert server.chat(runs, max_tokens=1).status_code == 200
        reply = server.post(f"/v1/functions/{measured}/tune")
        assert reply.status_code == 503 and error_of(reply)["code"] == "does_not_fit"
        server.cli("stop", runs)
        wait_until(lambda: not server.replica_pids(), 10, "it has stopped")
        assert events_of(server, measured)[-1][0] == "result"


def test_draining_ends_it(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        name = server.deploy(fake("drained", load_time="30s"))
        with server.http.stream("POST", f"/v1/functions/{name}/tune", json={}) as running:
            wait_until(lambda: server.replica_pids(), 10, "it measures")
            server.terminate()
            text = "".join(running.iter_text())
        assert "event: error" in text and "shutting_down" in text
        assert server.wait_exit(15) == 0


@pytest.mark.parametrize(
    "tuning, words",
    [
        ({"repak": "on"}, ["tuning.repak", "repack"]),
        ({"kv": "q4_0"}, ["tuning.kv", "q8_0"]),
        ({"batch": 3}, ["tuning.batch", "8 and more"]),
        ({"batch": "big"}, ["tuning.batch"]),
    ],
)
def test_tuning_of_a_manifest_names_the_fault(server: Server, tuning: dict, words: list) -> None:
    reply = server.put(fake("faulty", tuning=tuning))
    assert reply.status_code == 422, reply.text
    for word in words:
        assert word in error_of(reply)["message"]
