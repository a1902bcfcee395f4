"""What a real start reads from the disk, as `glowplug why REQUEST` and Server-Timing tell it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support import server_timing
from support.fixtures import find_model
from support.server import Server, llama, wait_until

TIER = "x-glowplug-start-tier"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    found = find_model()
    if not found:
        pytest.skip("needs the model's file, to throw it out of the page cache")
    return Path(shutil.copy(found, tmp_path / "copy.gguf"))


def throw_out(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start_of(server: Server, name: str) -> dict:
    reply = server.chat(name, max_tokens=1)
    assert reply.status_code == 200, reply.text
    request = reply.headers["x-request-id"]
    told = server.get(f"/v1/functions/{name}/why/{request}").json()
    assert told["start"]["tier"] == reply.headers[TIER]
    read = told["start"]["bytes_read"]
    assert server_timing.bytes_read(reply) == (f"{read / 1e6:.1f} MB" if read else "0 B")
    assert told["usage"]["prompt_tokens"] > 0 and told["phases_ms"]["prefill"] > 0
    return told["start"]


def test_bytes_read_are_those_of_the_load(copy: Path) -> None:
    size = copy.stat().st_size
    with Server("--spares", "0") as server:
        server.deploy(llama("why", copy, template="on", keep_alive="0s"))
        wait_until(lambda: server.function("why")["tier"] in ("disk", "memory"), 60, "prepared")
        throw_out(copy)
        first = start_of(server, "why")
        if first["tier"] == "memory":
            pytest.skip("this file system keeps its files in memory")
        assert 0.9 * size <= first["bytes_read"] <= size
        wait_until(lambda: server.function("why")["state"] == "cold", 10, "back at zero")
        assert start_of(server, "why") == {"cold": True, "tier": "template", "bytes_read": 0}


def test_file_in_memory_is_not_read_again(copy: Path) -> None:
    copy.read_bytes()
    with Server("--spares", "0") as server:
        server.deploy(llama("why", copy, template="off", keep_alive="0s"))
        assert start_of(server, "why") == {"cold": True, "tier": "memory", "bytes_read": 0}
