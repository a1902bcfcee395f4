"""The server's own memory after many starts, deaths, deploys and refusals: what it took for them it gives back."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Callable, Iterator

import pytest
from support import gguf_corpus, jobs
from support.leaks import stays_within
from support.origin import Origin
from support.server import Server, fake, wait_until

MB = 1 << 20


@pytest.fixture
def server(tmp_path):
    with Server("--spares", "1", folder=tmp_path) as running:
        yield running


@pytest.fixture
def origin() -> Iterator[Origin]:
    running = Origin(gguf_corpus.build())
    yield running
    running.close()


def at_zero(server: Server, name: str) -> None:
    wait_until(lambda: server.function(name)["replicas"] == 0, 10, "back at zero")


def starts(server: Server, template: str) -> Callable[[], None]:
    name = server.deploy(fake("started", template=template, load_time="5ms", keep_alive="0s", tokens_per_second=5000))

    def round() -> None:
        for _ in range(10):
            assert server.chat(name, max_tokens=2).status_code == 200
            at_zero(server, name)

    return round


def deaths(server: Server) -> Callable[[], None]:
    name = server.deploy(fake("killed", template="on", load_time="5ms", tokens_per_second=5000))

    def round() -> None:
        for _ in range(5):
            assert server.chat(name, max_tokens=2).status_code == 200
            for pid in server.replica_pids() + server.spare_pids():
                os.kill(pid, signal.SIGKILL)
            at_zero(server, name)  # a call that met the dead one would take from those that may be tried again

    return round


def deploys(server: Server) -> Callable[[], None]:
    def round() -> None:
        for number in range(5):
            name = server.deploy(fake(f"deployed-{number}", template="on", load_time="5ms", tokens_per_second=5000))
            assert server.chat(name, max_tokens=2).status_code == 200
            server.remove(name)

    return round


def fetches(server: Server, origin: Origin) -> Callable[[], None]:
    """Of a file that is changed behind the server's back, on as many threads in turn as fetch at once."""
    origin.may_answer.set()
    name = server.deploy(fake("fetched", model=origin.url, load_time="5ms", keep_alive="0s", tokens_per_second=5000))

    def round() -> None:
        for _ in range(4):
            assert server.chat(name, max_tokens=2).status_code == 200
            at_zero(server, name)
            for blob in server.cache_dir.glob("models/blobs/*.gguf"):
                blob.unlink()

    return round


def over_jobs(server: Server) -> Callable[[], None]:
    """Each with a megabyte of a request, under a key, read and watched until it is over; its row stays on the disk."""
    name = server.deploy(fake("worked", load_time="5ms", tokens_per_second=5000, context=1 << 20))
    numbers = itertools.count()

    def round() -> None:
        sent = []
        for _ in range(4):
            request = jobs.prompt("x" * MB, 2)
            key = {"Idempotency-Key": f"{next(numbers)}"}
            reply = server.post("/v1/jobs", {"function": name, "request": request}, headers=key)
            assert reply.status_code == 202, reply.text
            sent.append(reply.json()["id"])
        assert {jobs.over(server, job)["status"] for job in sent} == {"completed"}
        assert '"completed"' in server.get(f"/v1/jobs/{sent[0]}/stream").text

    return round


@pytest.mark.parametrize("what", ["jobs", "starts", "starts without a template", "deaths", "deploys", "fetches"])
def test_memory_does_not_grow(server: Server, origin: Origin, what: str) -> None:
    round = {
        "jobs": lambda: over_jobs(server),
        "starts": lambda: starts(server, "on"),
        "starts without a template": lambda: starts(server, "off"),
        "deaths": lambda: deaths(server),
        "deploys": lambda: deploys(server),
        "fetches": lambda: fetches(server, origin),
    }[what]()
    stays_within(server.pid, round, warm_up=10, rounds=20, grows_by=8 * MB if what == "jobs" else MB)
