"""Starts of the real engine that are killed at a step, seen in /proc or in the API. The process is stopped first, so
that it is at that step yet when it is killed. The call under way and the next one are answered, and nothing is left.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest
from support import model_kinds, processes, starts
from support.fixtures import find_model
from support.leaks import nothing_left
from support.origin import Origin
from support.server import Server, llama, wait_until
from support.starts import (
    Find,
    IsThere,
    Newborn,
    Start,
    Step,
    Stream,
    has_socket,
    seen,
    spare_that_waits,
    stopped_at,
    stopped_while_prepared,
)
from support.token_calls import ask, tokens

NAME = "shaken"
SHORT, LONG = tokens(1, 20), tokens(2, 600)
# A first token that takes some 0.3 s, and an answer that outlasts the looks.
CHAT = {"messages": [{"role": "user", "content": "Say something. " * 40}], "ignore_eos": True, "max_tokens": 200}
LARGE = 1 << 29  # bytes that take a while to read


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its states are large, so that restoring one takes a while: 64 KiB a token."""
    return model_kinds.write("llama", tmp_path_factory.mktemp("models"), heads=32, head=128)


@pytest.fixture
def spares_kept() -> int:
    return 0


@pytest.fixture
def server(tmp_path: Path, spares_kept: int) -> Iterator[Server]:
    with Server("--spares", str(spares_kept), folder=tmp_path) as running, nothing_left(running):
        yield running
        running.remove(NAME)


def deploy(server: Server, file: Path) -> None:
    server.deploy(llama(NAME, file, context=1024, slots=2, keep_alive=0))


def answer(server: Server, prompt: list[int] = SHORT) -> list[int]:
    answered = ask(server, NAME, prompt, max_tokens=4)
    assert answered.is_sure, "another prompt is needed"
    return answered.tokens


def at_zero(server: Server) -> None:
    wait_until(lambda: server.function(NAME)["replicas"] == 0, 10, "back at zero")


def killed_in_a_call(
    server: Server, wanted: list[int], find: Find, is_there: IsThere, prompt: list[int] = SHORT
) -> int | None:
    """The process that was killed; the call is answered all the same."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(answer, server, prompt)
        pid = stopped_at(find, is_there, call.done)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        assert call.result() == wanted
    assert pid is None or not processes.alive(pid)
    return pid


def holds_state(pid: int) -> bool:
    """Whether it has the state of a prompt, which it closes when that is restored."""
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(re.match(r"/memfd:(prompt-)?state", link) for link in links)


def test_template_killed_while_it_loads(server: Server, file: Path) -> None:
    deploy(server, file)
    wanted = answer(server)

    def loading() -> int | None:
        template = server.function(NAME).get("template", {})
        return server.pid_of(template["id"]) if template.get("state") == "loading" else None

    def attempt() -> int | None:
        server.remove(NAME)
        wait_until(lambda: not processes.children(server.pid), 5, "all has ended")
        deploy(server, file)
        # It takes another name with its first order.
        return killed_in_a_call(server, wanted, loading, lambda pid: processes.name_of(pid) == "glowplug-worker")

    seen(attempt)
    assert any("killed; one more try" in line["reason"] for line in server.decisions(NAME))
    assert answer(server) == wanted


def test_replica_killed_between_fork_and_ready(server: Server, file: Path) -> None:
    deploy(server, file)
    wanted = answer(server)

    def attempt() -> int | None:
        at_zero(server)
        return killed_in_a_call(server, wanted, Newborn(server), lambda pid: not has_socket(server, pid))

    seen(attempt)
    assert answer(server) == wanted


def test_replica_killed_while_a_prompt_is_restored(server: Server, file: Path) -> None:
    deploy(server, file)
    wanted = answer(server, LONG)

    def restoring() -> int | None:
        return next(filter(holds_state, processes.children(server.pid)), None)

    def attempt() -> int | None:
        at_zero(server)
        return killed_in_a_call(server, wanted, restoring, holds_state, LONG)

    seen(attempt)
    again = ask(server, NAME, LONG, max_tokens=4)
    assert (again.tokens, again.cached) == (wanted, len(LONG) - 1)


def held_while_prepared(server: Server, wanted: list[int]) -> int | None:
    """A spare; the call takes the one that waits, and another one is made behind it."""
    wait_until(lambda: spare_that_waits(server), 10, "a spare that is ready")
    newborn = Newborn(server)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(answer, server)
        spare = stopped_while_prepared(server, newborn)
        assert call.result() == wanted
    return spare


@pytest.mark.parametrize("spares_kept", [1])
def test_spare_killed_while_it_is_prepared(server: Server, file: Path) -> None:
    deploy(server, file)
    wanted = answer(server)
    spare = seen(lambda: held_while_prepared(server, wanted))
    os.kill(spare, signal.SIGKILL)
    assert answer(server) == wanted
    assert not processes.alive(spare)


def test_server_that_stops_while_a_spare_is_prepared_waits_for_nothing(tmp_path: Path, file: Path) -> None:
    for _ in range(3):  # most often it does in the first
        with Server("--spares", "1", folder=tmp_path) as server:
            deploy(server, file)
            wanted = answer(server)
            spare = seen(lambda: held_while_prepared(server, wanted))
            server.terminate()
            wait_until(lambda: server.process.poll() is not None, 3, "the server has ended")
            assert not processes.alive(spare)  # although it was held


@pytest.mark.parametrize("spares_kept", [1])
def test_spare_killed_while_it_waits(server: Server, file: Path) -> None:
    deploy(server, file)
    wanted = answer(server)
    spare = wait_until(lambda: spare_that_waits(server), 10, "a spare that is ready")
    os.kill(spare, signal.SIGKILL)
    assert answer(server) == wanted
    assert not processes.alive(spare)


# The server, at each step of a start ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smol() -> Path:
    found = find_model()
    if not found:
        pytest.skip("needs the model's file, to serve it from an origin and to lengthen it")
    return found


def chatting(model: Path | str) -> dict:
    return llama(NAME, model, slots=2, keep_alive=0)


def bare(spares_kept: int, folder: Path) -> Server:
    """It remembers no prompt, so that each call computes its own."""
    return Server("--spares", str(spares_kept), "--prompt-cache", "off", folder=folder)


@pytest.fixture(scope="module")
def wanted(smol: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """How an undisturbed call is answered."""
    with bare(0, tmp_path_factory.mktemp("undisturbed")) as server:
        server.deploy(chatting(smol))
        whole = Stream(server, NAME, **CHAT | {"max_tokens": 4}).wait()
        assert whole.is_whole and whole.text, whole.body
        return whole.text


@pytest.mark.parametrize(
    "step,spares_kept", [pytest.param(step, spares, id=step.__name__) for step, spares, _ in starts.STEPS]
)
def test_server_killed_at_a_step(tmp_path: Path, smol: Path, wanted: str, step: Step, spares_kept: int) -> None:
    with bare(spares_kept, tmp_path) as server:
        starts.shaken(Start(server, chatting(smol), **CHAT), step, "server", wanted)


def test_server_killed_while_the_file_is_fetched(tmp_path: Path, smol: Path, wanted: str) -> None:
    origin = Origin(smol.read_bytes())
    try:
        with bare(0, tmp_path) as server:
            start = Start(server, chatting(origin.url), **CHAT)
            starts.shaken(start, starts.file_is_fetched(origin), "server", wanted, origin.may_answer.set)
    finally:
        origin.close()


def test_server_killed_while_the_file_is_verified(tmp_path: Path, smol: Path, wanted: str) -> None:
    """Behind the model it has a hole, so that reading takes a while."""
    file = tmp_path / "lengthened.gguf"
    shutil.copyfile(smol, file)
    os.truncate(file, LARGE)
    with bare(0, tmp_path) as server:
        starts.shaken(Start(server, chatting(file), **CHAT), starts.file_is_verified, "server", wanted)
