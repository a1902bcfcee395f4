"""Two servers over one cache folder: one of them fetches the model, and when it dies the other one does."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
from support import gguf_corpus
from support.origin import Origin
from support.server import Server, fake, holds_for, wait_until


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    running = Origin(gguf_corpus.whole(tmp_path).read_bytes())
    yield running
    running.close()


def wake(server: Server, origin: Origin) -> None:
    """Deploys a function of the origin's model and asks for a replica without waiting for it."""
    server.deploy(fake("shared", model=origin.url))
    assert server.post("/v1/functions/shared/warm", {"count": 1}).status_code < 300
    server.wait_state("shared", "loading")


@contextmanager
def one_fetches_one_waits(origin: Origin, cache: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers of one cache folder that want the same file: the first one asks for it."""
    with Server(cache=cache) as first, Server(cache=cache) as second:
        wake(first, origin)
        wait_until(lambda: origin.asked, 10, "the first server asks")
        wake(second, origin)
        holds_for(lambda: origin.asked == 1, 0.3, "the second server waits")
        yield first, second


def test_two_servers_share_one_fetch(origin: Origin, tmp_path: Path) -> None:
    with one_fetches_one_waits(origin, tmp_path / "cache") as (first, second):
        origin.may_answer.set()
        for server in (first, second):
            server.wait_state("shared", "ready")
        assert origin.asked == 1


def test_killed_fetcher_is_followed_by_the_one_that_waits(origin: Origin, tmp_path: Path) -> None:
    with one_fetches_one_waits(origin, tmp_path / "cache") as (first, second):
        first.kill()
        wait_until(lambda: origin.asked == 2, 10, "the second server asks")
        origin.may_answer.set()
        second.wait_state("shared", "ready")


def test_private_sources_can_be_allowed_by_name(origin: Origin) -> None:
    origin.may_answer.set()
    with Server("--allow-private-sources") as server:
        wake(server, origin)
        server.wait_state("shared", "ready")
