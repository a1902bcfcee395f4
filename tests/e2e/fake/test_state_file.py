"""A large state file: the server serves while its pages are still read, and ends where one of them is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Iterator

import pytest
from support.server import Server, fake, wait_until

LARGE_BYTES = 48 << 20  # more than is looked through before a start
PAGE_BYTES = 4096


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Stopped, with a state file of that size."""
    with Server("--spares", "0", folder=tmp_path) as running:
        running.deploy(fake("kept"))
        running.terminate()
        assert running.wait_exit() == 0
        with contextlib.closing(sqlite3.connect(state_file(running))) as file, file:
            file.execute(
                "INSERT INTO idempotency (scope, key, body_hash, answer, created_queue_ms)"
                " VALUES ('/none', 'large', '', zeroblob(?), 1 << 60)",
                (LARGE_BYTES,),
            )
        assert state_file(running).stat().st_size > LARGE_BYTES
        yield running


def state_file(server: Server) -> Path:
    return server.data_dir / "glowplug.db"


def test_sound_one_is_served_from_at_once_and_found_sound(server: Server) -> None:
    server.start()
    assert server.chat("kept", max_tokens=1).status_code == 200
    wait_until(lambda: "the state file is sound" in server.log(), 20, "its pages are read")
    assert server.chat("kept", max_tokens=1).status_code == 200


def test_damaged_one_ends_the_server_with_what_to_do(server: Server) -> None:
    with open(state_file(server), "r+b") as file:
        file.seek(-3 * PAGE_BYTES, 2)
        file.write(b"\x7f" * 64)
    server.launch()
    assert server.wait_exit(20) == 1
    assert "is damaged" in server.log() and "restore it from a backup" in server.log()
