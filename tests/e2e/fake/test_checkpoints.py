"""Checkpoints of a function: save, list, switch under load, split by weight, roll back, survive, be damaged."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from support import gguf_corpus
from support.load import Load
from support.server import Server, fake, wait_until


def at(name: str, path: str = "") -> str:
    return f"/v1/functions/{name}/checkpoints{path}"


def save(server: Server, name: str, step: int | None = None) -> dict:
    reply = server.post(at(name), {} if step is None else {"step": step})
    assert reply.status_code == 200, reply.text
    return reply.json()


def activate(server: Server, name: str, step: int) -> None:
    reply = server.post(at(name, f"/{step}/activate"))
    assert reply.status_code == 200, reply.text


def rollback(server: Server, name: str) -> list[dict]:
    reply = server.post(f"/v1/functions/{name}/rollback")
    assert reply.status_code == 200, reply.text
    return reply.json()["traffic"]


def traffic(server: Server, name: str, weights: dict) -> list[dict]:
    reply = server.http.put(f"/v1/functions/{name}/traffic", json=weights)
    assert reply.status_code == 200, reply.text
    return reply.json()["traffic"]


def listed(server: Server, name: str) -> dict[int, dict]:
    return {row["step"]: row for row in server.get(at(name)).json()["data"]}


def serving(server: Server, name: str) -> dict[int, int]:
    """What serves now, by weight; what is still being started is left out."""
    rows = server.function(name)["revisions"]
    return {row["revision"]: row["weight"] for row in rows if row["weight"]}


def answering(server: Server, name: str) -> str:
    reply = server.chat(name, max_tokens=1)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-glowplug-revision"]


def two_checkpoints(server: Server, name: str, **more) -> None:
    """checkpoint-10 is revision 1, checkpoint-20 is revision 2 and serves."""
    server.deploy(fake(name, **more))
    save(server, name)
    server.deploy(fake(name, slots=3, **more))
    wait_until(lambda: serving(server, name) == {2: 100}, 10, "revision 2 serves")
    save(server, name)


def test_saved_checkpoints_are_listed(server: Server) -> None:
    server.deploy(fake("saved", prime=["You are kind."]))
    first = save(server, "saved")
    assert (first["id"], first["revision"], first["verified"]) == ("checkpoint-10", 1, True)
    assert first["active"] and first["weight"] == 100
    assert first["adapters"] == [] and first["prompts"][0]["bytes"] == 13
    assert first["settings"]["prime"] == ["You are kind."]
    assert save(server, "saved", 7)["id"] == "checkpoint-7"
    assert save(server, "saved")["step"] == 20
    assert sorted(listed(server, "saved")) == [7, 10, 20]
    again = server.post(at("saved"), {"step": 10})
    assert again.status_code == 409 and again.json()["error"]["code"] == "checkpoint_conflict"


def test_saving_before_the_model_is_known_is_a_clear_conflict(server: Server) -> None:
    server.put(
        {
            "apiVersion": "glowplug.dev/v1",
            "kind": "Function",
            "name": "unknown-yet",
            "model": "/no/such/model.gguf",
        }
    )
    reply = server.post(at("unknown-yet"))
    assert reply.status_code == 409, reply.text
    assert "digest is unknown" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/checkpoints/99/activate", {}, 404, "step"),
        ("POST", "/checkpoints/x/activate", {}, 404, "step"),
        ("DELETE", "/checkpoints/99", None, 404, "step"),
        ("DELETE", "/checkpoints/20", None, 409, "step"),
        ("POST", "/checkpoints", {"step": 0}, 400, "step"),
        ("POST", "/checkpoints", {"step": "ten"}, 400, "step"),
        ("POST", "/checkpoints", {"name": "ten"}, 400, "name"),
        ("PUT", "/traffic", {"10": 90, "20": 20}, 400, "traffic"),
        ("PUT", "/traffic", {"10": 110, "20": -10}, 400, "checkpoint-10"),
        ("PUT", "/traffic", {"10": 99.5, "20": 0.5}, 400, "10"),
        ("PUT", "/traffic", {"10": 50, "checkpoint-10": 50}, 400, "checkpoint-10"),
        ("PUT", "/traffic", {"../x": 100}, 400, "../x"),
        ("PUT", "/traffic", {"10": 50, "99": 50}, 404, "step"),
        ("PUT", "/traffic", {}, 400, "traffic"),
    ],
)
def test_bad_requests_name_what_is_wrong_and_change_nothing(
    server: Server, method: str, path: str, body: dict | None, status: int, param: str
) -> None:
    if server.get("/v1/functions/strict").status_code == 404:
        two_checkpoints(server, "strict")
    reply = server.http.request(method, f"/v1/functions/strict{path}", json=body)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["param"] == param
    assert serving(server, "strict") == {2: 100}
    assert sorted(listed(server, "strict")) == [10, 20]


@pytest.mark.parametrize("name", ["nobody", "Odd_Name", "..%2f..%2fetc", "a%00b"])
def test_unknown_and_odd_names_are_404(server: Server, name: str) -> None:
    for method, path in [
        ("GET", "/checkpoints"),
        ("POST", "/checkpoints"),
        ("POST", "/checkpoints/10/activate"),
        ("DELETE", "/checkpoints/10"),
        ("PUT", "/traffic"),
        ("POST", "/rollback"),
    ]:
        body = None if method in ("GET", "DELETE") else {}
        reply = server.http.request(method, f"/v1/functions/{name}{path}", json=body)
        assert reply.status_code == 404, (method, path, reply.text)


def test_wrong_weights_name_the_sum(server: Server, deploy) -> None:
    deploy("summed")
    reply = server.http.put(
        "/v1/functions/summed/traffic", json={"checkpoint-10": 90, "checkpoint-20": 20}
    )
    assert "sum to 110" in reply.json()["error"]["message"]


def test_activate_brings_the_old_revision_back_and_rollback_undoes_it(server: Server) -> None:
    two_checkpoints(server, "back")
    assert answering(server, "back") == "2"
    activate(server, "back", 10)
    wait_until(lambda: serving(server, "back") == {1: 100}, 10, "checkpoint-10 serves")
    assert answering(server, "back") == "1"
    assert [row["active"] for row in listed(server, "back").values()] == [True, False]
    assert rollback(server, "back") == [
        {"revision": 2, "weight": 100, "checkpoint": "checkpoint-20"}
    ]
    wait_until(lambda: answering(server, "back") == "2", 10, "revision 2 answers again")
    rollback(server, "back")  # further back: before revision 2 was deployed
    wait_until(lambda: answering(server, "back") == "1", 10, "revision 1 answers")
    first = server.post("/v1/functions/back/rollback")
    assert first.status_code == 409 and first.json()["error"]["code"] == "checkpoint_conflict"
    assert answering(server, "back") == "1"


def test_ninety_and_ten_are_exact_over_a_thousand_calls(server: Server) -> None:
    two_checkpoints(server, "split", tokens_per_second=20000)
    traffic(server, "split", {"checkpoint-10": 10, "20": 90})
    wait_until(lambda: serving(server, "split") == {2: 90, 1: 10}, 10, "the split is in force")
    counts = Counter(answering(server, "split") for _ in range(1000))
    assert counts == {"2": 900, "1": 100}
    shown = server.cli("ps").stdout
    assert "2 (90 %), 1 (10 %)" in shown
    weights = {step: row["weight"] for step, row in listed(server, "split").items()}
    assert weights == {10: 10, 20: 90}


def test_line_48_switches_splits_and_rollbacks_under_load_fail_no_request(server: Server) -> None:
    two_checkpoints(server, "busy", load_time="150ms")
    assert answering(server, "busy") == "2"
    with Load(server, "busy", threads=6, max_tokens=24) as load:

        def goes_on(wanted: dict[int, int]) -> None:
            wait_until(lambda: serving(server, "busy") == wanted, 20, f"{wanted} serves")
            for revision in wanted:
                done = load.answered(revision) + 5
                wait_until(
                    lambda r=revision, n=done: load.answered(r) >= n, 20, f"answers of {revision}"
                )

        for _ in range(2):
            activate(server, "busy", 10)
            goes_on({1: 100})
            rollback(server, "busy")
            goes_on({2: 100})
            traffic(server, "busy", {"10": 50, "20": 50})
            goes_on({1: 50, 2: 50})
            traffic(server, "busy", {"10": 10, "20": 90})
            goes_on({1: 10, 2: 90})
            rollback(server, "busy")
            goes_on({1: 50, 2: 50})
            activate(server, "busy", 20)
            goes_on({2: 100})
    assert load.failures == []
    assert load.answered() > 100
    assert server.function("busy")["state"] == "ready"


def test_a_generation_that_does_not_start_hands_its_calls_over(server: Server) -> None:
    name = "limping"
    server.deploy(fake(name, fault="crash_on_load"))
    save(server, name)  # there is no model whose digest could be unknown
    server.deploy(fake(name))
    wait_until(lambda: answering(server, name) == "2", 20, "revision 2 answers")
    save(server, name)
    traffic(server, name, {"10": 10, "20": 90})
    for _ in range(30):
        assert answering(server, name) == "2"
    lines = [d["reason"] for d in server.decisions(name) if d["decision"] == "fallback"]
    assert lines and "revision 2 takes its calls" in lines[0]
    failed = [r for r in server.function(name)["revisions"] if r["revision"] == 1]
    assert failed[0]["state"] == "failed" and failed[0]["reason"]


def test_a_checkpoint_returns_with_its_bytes_or_not_at_all(server: Server, tmp_path: Path) -> None:
    model, name = gguf_corpus.whole(tmp_path), "pinned"
    server.deploy(fake(name, model=str(model)))
    assert answering(server, name) == "1"
    saved = save(server, name)
    assert saved["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    other = tmp_path / "other.gguf"
    other.write_bytes(model.read_bytes())
    server.deploy(fake(name, model=str(other)))
    wait_until(lambda: serving(server, name) == {2: 100}, 10, "revision 2 serves")
    assert answering(server, name) == "2"
    activate(server, name, 10)
    wait_until(lambda: answering(server, name) == "1", 10, "the same bytes are back")
    rollback(server, name)
    wait_until(lambda: answering(server, name) == "2", 10, "and away again")
    fresh = tmp_path / "fresh"
    fresh.write_bytes(model.read_bytes() + bytes(32))
    fresh.replace(model)
    activate(server, name, 10)
    wait_until(lambda: server.function(name)["reason"], 10, "why it does not serve")
    assert "SHA-256" in server.function(name)["reason"]
    assert answering(server, name) == "2"


def test_checkpoints_and_traffic_survive_restart_and_kill(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        two_checkpoints(server, "kept")
        traffic(server, "kept", {"10": 30, "20": 70})
        server.terminate()
        assert server.wait_exit(10) == 0
        server.start()
        assert serving(server, "kept") == {2: 70, 1: 30}
        counts = Counter(answering(server, "kept") for _ in range(20))
        assert counts == {"2": 14, "1": 6}
        activate(server, "kept", 10)
        server.kill()
        server.start()
        assert serving(server, "kept") == {1: 100}
        rollback(server, "kept")
        server.kill()
        server.start()
        assert serving(server, "kept") == {2: 70, 1: 30}
        assert sorted(listed(server, "kept")) == [10, 20]
        assert all(row["verified"] for row in listed(server, "kept").values())


def test_a_damaged_checkpoint_is_named_and_never_serves(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        two_checkpoints(server, "worn")
        traffic(server, "worn", {"10": 50, "20": 50})
        server.terminate()
        assert server.wait_exit(10) == 0
        with sqlite3.connect(tmp_path / "data" / "glowplug.db") as database:
            content = database.execute(
                "SELECT content FROM checkpoints WHERE step = 10"
            ).fetchone()[0]
            assert json.loads(content)["settings"]["slots"] == 4
            database.execute(
                "UPDATE checkpoints SET content = ? WHERE step = 10",
                (content.replace('"slots":4', '"slots":5'),),
            )
        database.close()
        server.start()
        row = listed(server, "worn")[10]
        assert (row["state"], row["verified"], row["active"]) == ("damaged", False, False)
        assert "checksum" in row["reason"]
        assert "checkpoint=checkpoint-10 is damaged" in server.log()
        assert serving(server, "worn") == {2: 100}
        assert {answering(server, "worn") for _ in range(10)} == {"2"}
        refused = server.post(at("worn", "/10/activate"))
        assert refused.status_code == 409, refused.text
        assert "damaged" in refused.json()["error"]["message"]
        assert "damaged" in server.cli("checkpoints", "worn").stdout
        assert server.http.delete(at("worn", "/10")).status_code == 204
        assert sorted(listed(server, "worn")) == [20]


def test_removed_function_takes_its_checkpoints_along(server: Server) -> None:
    server.deploy(fake("short-lived"))
    save(server, "short-lived")
    server.remove("short-lived")
    server.deploy(fake("short-lived"))
    assert listed(server, "short-lived") == {}
    server.remove("short-lived")


def test_the_command_line_does_it_all(server: Server) -> None:
    two_checkpoints(server, "cli-made")

    def ran(*words: str, code: int = 0) -> str:
        result = server.cli("checkpoints", "cli-made", *words)
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    table = ran()
    assert "checkpoint-10" in table and "active" in table
    assert "saved revision 2 as checkpoint-30" in ran("save")
    assert "revision 1 (checkpoint-10) takes 100 %" in ran("activate", "10")
    assert "takes 100 %" in ran("rollback")
    assert "takes 90 %" in ran("traffic", "10=10", "checkpoint-20=90")
    rows = json.loads(server.cli("checkpoints", "cli-made", "--json").stdout)
    assert [row["weight"] for row in rows] == [10, 90, 90]  # 20 and 30 are one state
    assert json.loads(server.cli("--json", "checkpoints", "cli-made", "rollback").stdout)["traffic"]
    assert "removed checkpoint-10" in ran("rm", "10")
    assert "sum to 90" in ran("traffic", "20=90", code=1)
    ran("activate", "77", code=3)
    ran("promote", code=2)
    assert server.cli("checkpoints", "nobody", "list").returncode == 3
