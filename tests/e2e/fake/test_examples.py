"""The examples work as their pages say: the handler as a process function that asks another function."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support import processes
from support.server import ROOT, Server, wait_until

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def handler(server: Server, echo: str) -> str:
    manifest = yaml.safe_load((EXAMPLES / "python_handler/function.yaml").read_text())
    process = manifest["engine"]["process"]
    process["command"] = [
        part if not part.startswith("examples/") else str(ROOT / part)
        for part in process["command"]
    ]
    process["env"]["MODEL"] = echo
    return server.deploy(manifest | {"keep_alive": "1s"})


def test_handler_answers_an_object(server: Server, handler: str) -> None:
    reply = server.post(
        f"/v1/functions/{handler}/invoke", {"body": {"prompt": "Say hello.", "max_tokens": 6}}
    )
    assert reply.status_code == 200, reply.text
    envelope = reply.json()
    assert envelope["statusCode"] == 200 and envelope["body"]["text"], envelope
    assert envelope["body"]["usage"]["completion_tokens"] == 6


def test_handler_answers_a_string_with_a_string(server: Server, handler: str) -> None:
    event = {"body": json.dumps({"prompt": "Say hello.", "max_tokens": 6})}
    envelope = server.post(f"/v1/functions/{handler}/invoke", event).json()
    assert envelope["statusCode"] == 200 and json.loads(envelope["body"])["text"]


def test_handlers_own_refusal_mirrors_its_status(server: Server, handler: str) -> None:
    reply = server.post(f"/v1/functions/{handler}/invoke", {"body": {"nothing": 1}})
    assert reply.status_code == 400 and reply.json()["statusCode"] == 400, reply.text


def test_handler_scales_to_zero_and_leaves_no_process(server: Server, handler: str) -> None:
    server.post(f"/v1/functions/{handler}/invoke", {"body": {"prompt": "x", "max_tokens": 1}})
    server.wait_state(handler, "cold", 15)
    wait_until(
        lambda: not any(pid in server.replica_pids() for pid in processes.mentioning("handler.py")),
        3,
        "it ended",
    )


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/function.yaml")), ids=lambda path: path.parent.name
)
def test_each_manifest_is_valid(server: Server, path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    reply = server.put(manifest, params={"dry_run": "true"})
    assert reply.status_code == 200, reply.text
