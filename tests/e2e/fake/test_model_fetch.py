"""Fetches: two servers share one and take over from each other; nobody waits for those of others."""

from __future__ import annotations

from collections import Counter
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


def wake(server: Server, origin: Origin, name: str = "shared", part: str = "") -> str:
    """Deploys a function of the origin's model and asks for a replica without waiting for it. Another part of its
    address makes it another model."""
    server.deploy(fake(name, model=origin.url + part))
    assert server.post(f"/v1/functions/{name}/warm", {"count": 1}).status_code < 300
    server.wait_state(name, "loading")
    return name


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


FETCHES_AT_ONCE = 16


def test_what_is_here_waits_for_no_download_and_one_download_for_no_other(origin: Origin, tmp_path: Path) -> None:
    own = gguf_corpus.whole(tmp_path)
    with Server() as server:
        origin.may_answer.set()
        wake(server, origin, "fetched")
        server.wait_state("fetched", "ready")
        assert server.post("/v1/functions/fetched/stop").status_code == 202
        origin.may_answer.clear()

        hanging = [wake(server, origin, f"hangs-{i}", f"?{i}") for i in range(FETCHES_AT_ONCE + 2)]
        wait_until(lambda: origin.asked == 1 + FETCHES_AT_ONCE, 10, "so many are asked for at once")
        server.deploy(fake("same-model", model=origin.url))
        server.deploy(fake("own-file", model=str(own)))
        for name in ("fetched", "same-model", "own-file"):
            assert server.chat(name, max_tokens=1, timeout=5).status_code == 200, name
        assert {server.function(name)["state"] for name in hanging} == {"loading"}

        origin.may_answer.set()
        for name in hanging:
            server.wait_state(name, "ready", 20)
        assert sorted(Counter(origin.paths).values()) == [1] * (1 + len(hanging)), origin.paths
