"""Any process of a start, killed at any step of it: the call under way is answered (cut, where the server was killed),
the next one is answered, and nothing is left over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterator

import pytest
from support import gguf_corpus, starts
from support.origin import Origin
from support.server import Server, fake
from support.starts import Held, Start, Step, Stream

NAME = "shaken"
TOKENS = 20  # of an answer
PACE, SLOW_PACE = 40, 4  # in a second; the slow one's first comes late
LARGE = 1 << 30  # bytes that take a while to read


def file_is_verified(folder: Path) -> Step:
    """Most of the file is a hole."""
    file = gguf_corpus.whole(folder)
    os.truncate(file, LARGE)

    def held(start: Start) -> Held | None:
        start.manifest = start.manifest | {"model": str(file)}
        return starts.file_is_verified(start)

    return held


CASES = [
    pytest.param(step, victim, spares, id=f"{step.__name__}-{victim}")
    for step, spares, victims in starts.STEPS
    for victim in victims
]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[int], Server]]:
    running: list[Server] = []

    def start(spares: int) -> Server:
        running.append(Server("--spares", str(spares), folder=tmp_path).start())
        return running[0]

    yield start
    for server in running:
        server.close()


def shaken(
    server: Server, step: Step, victim: str, wanted: str, once_killed: Callable[[], object] = lambda: None
) -> None:
    is_slow = step in (starts.replica_has_the_call, starts.spare_has_the_call)
    pace, tokens = (SLOW_PACE, 4) if is_slow else (PACE, TOKENS)
    manifest = fake(NAME, template="on", load_time="100ms", tokens_per_second=pace, keep_alive="0s")
    starts.shaken(Start(server, manifest, max_tokens=tokens), step, victim, wanted, once_killed)


@pytest.fixture(scope="module")
def wanted() -> str:
    """What an undisturbed call answers."""
    with Server() as server:
        server.deploy(fake(NAME))
        whole = Stream(server, NAME, max_tokens=5 * TOKENS).wait()
        assert whole.is_whole and whole.text
        return whole.text


@pytest.mark.parametrize("step,victim,spares", CASES)
def test_killed_at_a_step(serve, wanted: str, step: Step, victim: str, spares: int) -> None:
    shaken(serve(spares), step, victim, wanted)


def test_server_killed_while_the_file_is_fetched(serve, wanted: str) -> None:
    origin = Origin(gguf_corpus.build())
    try:
        shaken(serve(0), starts.file_is_fetched(origin), "server", wanted, once_killed=origin.may_answer.set)
    finally:
        origin.close()


def test_server_killed_while_the_file_is_verified(serve, wanted: str, tmp_path: Path) -> None:
    shaken(serve(0), file_is_verified(tmp_path), "server", wanted)
