"""Fixtures that every suite shares; each suite's conftest.py imports them by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

from .server import Server, cache_dir, fake


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server per file. Tests that end or overload a server start their own."""
    with Server("--allow-process-engines") as running:
        yield running


@pytest.fixture(scope="module")
def echo(server: Server) -> str:
    """A fast fake function, deployed once per file."""
    return server.deploy(fake("echo"))


@pytest.fixture
def deploy(server: Server) -> Iterator[Callable[..., str]]:
    """deploy(name, **fake fields): deploys a fake function and removes it after the test."""
    names: list[str] = []

    def put(name: str, **more) -> str:
        names.append(name)
        return server.deploy(fake(name, **more))

    yield put
    for name in names:
        server.remove(name)


def find_model(name: str = "smollm2") -> Path | None:
    """What the server's cache knows by a catalogue name; SmolLM2 may be named by GLOWPLUG_TEST_MODEL instead."""
    if name == "smollm2" and (named := os.environ.get("GLOWPLUG_TEST_MODEL")):
        path = Path(named)
        assert path.exists(), f"GLOWPLUG_TEST_MODEL={named} does not exist"
        return path
    models = cache_dir() / "models"
    try:
        digest = json.loads((models / "index.json").read_text())[name]
    except (OSError, ValueError, KeyError):
        return None
    blob = models / "blobs" / f"sha256-{digest}.gguf"
    return blob if blob.exists() else None
