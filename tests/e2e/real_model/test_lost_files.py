"""A model's file cut or replaced, as root may do, under a replica of the real engine that has it mapped: the replica
ends by SIGBUS or goes on with what it has, the server says what happened, the next call is answered or told why not.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Iterator

import httpx
import pytest
from support import model_kinds
from support.leaks import nothing_left
from support.origin import Origin
from support.server import Server, fake, llama, wait_until
from support.token_calls import ask, tokens

PROMPT = tokens(1, 20)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("--spares", "0") as running:
        yield running


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return model_kinds.write("llama", tmp_path)


def cut(file: Path) -> None:
    file.chmod(0o600)
    os.truncate(file, 4096)


def complete(server: Server, name: str, prompt: list[int]) -> httpx.Response:
    return server.post("/v1/completions", {"model": name, "prompt": prompt, "max_tokens": 4})


def reasons(server: Server, name: str) -> str:
    return " | ".join(line["reason"] for line in server.decisions(name))


@pytest.mark.parametrize("template", ["off", "on"])
def test_own_file_cut_under_a_running_replica(server: Server, whole: Path, tmp_path: Path, template: str) -> None:
    own = tmp_path / "own.gguf"
    shutil.copyfile(whole, own)
    server.deploy(fake("other"))
    server.deploy(llama("cut", own, template=template, context=256, slots=2))
    wanted = ask(server, "cut", PROMPT)

    cut(own)
    for _ in range(2):  # the second one is told at once
        refused = complete(server, "cut", PROMPT[:9])
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "function_failed"), refused.text
        assert "the file ends" in refused.json()["error"]["message"]
    assert "killed by signal 7 (Bus error)" in reasons(server, "cut")
    row = server.function("cut")
    assert row["state"] == "failed" and "the file ends" in row["reason"]
    assert server.chat("other", max_tokens=1).status_code == 200

    shutil.copyfile(whole, own)
    wait_until(lambda: complete(server, "cut", PROMPT[:9]).status_code == 200, 20, "answered again")
    ask(server, "cut", PROMPT).assert_is(wanted)


def test_cached_file_cut_under_a_running_replica_is_fetched_again(server: Server, whole: Path) -> None:
    origin = Origin(whole.read_bytes())
    origin.may_answer.set()
    try:
        server.deploy(llama("cut", origin.url, context=256, slots=2))
        wanted = ask(server, "cut", PROMPT)
        (blob,) = server.cache_dir.glob("models/blobs/*.gguf")
        with nothing_left(server):
            cut(blob)
            during = complete(server, "cut", PROMPT[:9])
            assert during.status_code == 200, during.text
            assert "killed by signal 7 (Bus error)" in reasons(server, "cut")
            ask(server, "cut", PROMPT).assert_is(wanted)
        assert origin.asked == 2 and blob.read_bytes() == whole.read_bytes()
    finally:
        origin.close()


def test_own_file_replaced_under_a_running_replica(server: Server, whole: Path, tmp_path: Path) -> None:
    other = model_kinds.write("llama", tmp_path, heads=8, head=64)
    own = tmp_path / "own.gguf"
    shutil.copyfile(whole, own)
    server.deploy(llama("replaced", own, context=256, slots=2))
    wanted = ask(server, "replaced", PROMPT)
    os.replace(other, own)
    ask(server, "replaced", PROMPT).assert_is(wanted)
    server.post("/v1/functions/replaced/stop")
    wait_until(lambda: server.function("replaced")["replicas"] == 0, 10, "no replica")
    reply = complete(server, "replaced", PROMPT)
    assert reply.status_code == 200, reply.text
    assert "its model file has" in reasons(server, "replaced"), "else it came from the former template"
