"""Any process of a start, killed at any step of it: the call under way is answered (cut, where the server was killed),
the next one is answered, and nothing is left over.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Callable, Iterator

import pytest
from support import gguf_corpus, starts
from support.leaks import kill_and_restart, nothing_left
from support.origin import Origin
from support.server import Server, fake, wait_until
from support.starts import Held, Start, Step, Stream

NAME = "shaken"
TOKENS = 20  # of an answer
PACE, SLOW_PACE = 40, 4  # in a second; the slow one's first comes late
LARGE = 1 << 30  # bytes that take a while to read


def file_is_fetched(origin: Origin) -> Step:
    def held(start: Start) -> Held:
        start.manifest = start.manifest | {"model": origin.url}
        start.fresh()
        call = start.call()
        wait_until(lambda: origin.asked and start.row()["waiting"], 10, "the file is asked for")
        return start.held(call)

    return held


def file_is_verified(folder: Path) -> Step:
    """Most of the file is a hole."""
    file = gguf_corpus.whole(folder)
    os.truncate(file, LARGE)

    def held(start: Start) -> Held | None:
        start.manifest = start.manifest | {"model": str(file)}
        return starts.file_is_verified(start)

    return held


STEPS: list[tuple[Step, int, tuple[str, ...]]] = [  # with so many spares, who is killed
    (starts.replica_loads, 0, ("server", "replica")),
    (starts.template_loads, 0, ("server", "template")),
    (starts.fork_is_asked_for, 0, ("server", "template")),
    (starts.replica_is_forked, 0, ("server", "template", "replica")),
    (starts.replica_has_the_call, 0, ("server", "template", "replica")),
    (starts.first_token_is_out, 0, ("server", "template", "replica")),
    (starts.spare_is_prepared, 1, ("server", "template", "spare")),
    (starts.spare_waits, 1, ("server", "template", "spare")),
    (starts.spare_has_the_call, 1, ("server", "template", "replica")),
    (starts.next_spare_waits, 1, ("server", "template", "replica", "spare")),
]
CASES = [
    pytest.param(step, victim, spares, id=f"{step.__name__}-{victim}")
    for step, spares, victims in STEPS
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


def killed(start: Start, held: Held, victim: str) -> None:
    """All but the victim go on."""
    server = start.server
    if victim == "server":
        kill_and_restart(server, lambda: starts.goes_on(held.stopped))
    else:
        os.kill(held.victims[victim], signal.SIGKILL)
        starts.goes_on(held.stopped)


def answered(call: Stream, victim: str, wanted: str) -> None:
    """Wholly, but by a server or a replica that was killed in the midst of it."""
    if call.is_whole:
        assert call.text and wanted.startswith(call.text)
    else:
        assert victim == "server" or (victim == "replica" and call.says_why_it_broke_off), call.body


def shaken(
    server: Server, step: Step, victim: str, wanted: str, once_killed: Callable[[], object] = lambda: None
) -> None:
    is_slow = step in (starts.replica_has_the_call, starts.spare_has_the_call)
    pace, tokens = (SLOW_PACE, 4) if is_slow else (PACE, TOKENS)
    manifest = fake(NAME, template="on", load_time="100ms", tokens_per_second=pace, keep_alive="0s")
    start = Start(server, manifest, max_tokens=tokens)
    with nothing_left(server):
        held = starts.seen(lambda: step(start))
        killed(start, held, victim)
        once_killed()
        if held.call:
            answered(held.call.wait(), victim, wanted)
        next_one = server.chat(NAME, max_tokens=1)
        assert next_one.status_code == 200, next_one.text
        wait_until(lambda: start.row()["replicas"] == 0, 10, "back at zero")
        server.remove(NAME)


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
        shaken(serve(0), file_is_fetched(origin), "server", wanted, once_killed=origin.may_answer.set)
    finally:
        origin.close()


def test_server_killed_while_the_file_is_verified(serve, wanted: str, tmp_path: Path) -> None:
    shaken(serve(0), file_is_verified(tmp_path), "server", wanted)
