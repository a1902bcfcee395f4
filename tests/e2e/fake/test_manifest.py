"""The manifest as scripts rely on it: every fault is listed, unknown fields name the nearest known one."""

from __future__ import annotations

import pytest
from support.server import Server, fake


def test_five_faults_are_all_listed(server: Server) -> None:
    bad = fake("five", slots=0, context="big", keep_alive="soon", task="dream")
    bad["enigne"] = bad.pop("engine")
    reply = server.put(bad)
    assert reply.status_code == 422, reply.text
    error = reply.json()["error"]
    assert error["code"] == "manifest_invalid"
    for path in ("slots", "context", "keep_alive", "task", "enigne"):
        assert path in error["message"], f"{path} is not named: {error['message']}"
    assert "engine" in error["message"].replace("enigne", ""), (
        "the nearest known field is not named"
    )
    assert server.get("/v1/functions/five").status_code == 404


@pytest.mark.parametrize(
    "path, change",
    [
        ("apiVersion", {"apiVersion": "glowplug.dev/v9"}),
        ("kind", {"kind": "Job"}),
        ("slots", {"slots": 65}),
        ("context", {"context": -1}),
        ("scale.max", {"scale": {"min": 0, "max": 21}}),
        ("scale", {"scale": {"min": 3, "max": 1}}),
        ("scale.max", {"scale": {"max": 0}}),
        ("scale.policy", {"scale": {"policy": "vibes"}}),
        ("scale.policy", {"scale": {"policy": 3}}),
        ("scale.target", {"scale": {"target": 0.7}}),
        ("scale.budget", {"scale": {"budget": 5}}),
        ("scale.budget.memory", {"scale": {"budget": {"memory": "4GX"}}}),
        ("scale.budget.per_hour", {"scale": {"budget": {"per_hour": -1}}}),
        ("scale.budget.per_hour", {"scale": {"budget": {"per_hour": 0.0000001}}}),
        ("limits.queue", {"limits": {"queue": -1}}),
        ("limits.queue_timeout", {"limits": {"queue_timeout": "eventually"}}),
        ("limits.nonsense", {"limits": {"nonsense": 1}}),
        ("priority", {"priority": "urgent"}),
        ("failover", {"failover": "perhaps"}),
        ("share", {"share": "everyone"}),
        ("engine", {"engine": "warp"}),
        ("engine.fake.fault", {"engine": {"fake": {"fault": "sulks"}}}),
        ("engine.fake.load_time", {"engine": {"fake": {"load_time": "ages"}}}),
    ],
)
def test_each_fault_names_its_path(server: Server, path: str, change: dict) -> None:
    reply = server.put(fake("faulty") | change)
    assert reply.status_code == 422, reply.text
    assert path in reply.json()["error"]["message"]


def test_name_in_the_path_and_in_the_manifest_must_agree(server: Server) -> None:
    reply = server.http.put("/v1/functions/one", json=fake("two"))
    assert reply.status_code in (400, 422), reply.text


@pytest.mark.parametrize("name", ["UPPER", "a b", "a/b", "..", "x" * 200, "-a", ""])
def test_bad_names_are_refused(server: Server, name: str) -> None:
    reply = server.http.put("/v1/functions/placeholder", json=fake(name))
    assert reply.status_code in (400, 422), reply.text


def test_a_model_that_is_not_there_is_refused_or_fails_with_its_path(
    server: Server, tmp_path
) -> None:
    manifest = fake("absent-file") | {"model": str(tmp_path / "none.gguf")}
    del manifest["engine"]
    reply = server.put(manifest)
    if reply.status_code < 300:
        call = server.chat("absent-file", max_tokens=1)
        assert call.status_code >= 400
        assert "none.gguf" in server.function("absent-file")["reason"]
    else:
        assert "none.gguf" in reply.text


def test_process_engines_are_allowed_on_loopback() -> None:
    manifest = {
        "apiVersion": "glowplug.dev/v1",
        "kind": "Function",
        "name": "shell",
        "engine": {"process": {"command": ["sleep", "60"]}},
    }
    with Server() as server:
        assert server.put(manifest).status_code == 201
