"""Contract line 50: the server is killed while jobs wait and run, or told to stop; each reaches one end."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Iterator

import pytest
from support import jobs, processes
from support.server import Server, fake, wait_until

SERVES_AGAIN_SECONDS = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--spares", "0", folder=tmp_path) as running:
        yield running


def deploy(server: Server, **more) -> str:
    return server.deploy(
        fake("work", tokens_per_second=50, slots=2, scale={"min": 0, "max": 1}, **more)
    )


def test_line_50_p16_killed_with_jobs_queued_and_running_it_serves_again_and_each_has_one_end(
    server: Server,
) -> None:
    name = deploy(server)
    done = jobs.send(server, name, jobs.prompt("first", 2))
    before = jobs.over(server, done)
    sent = [jobs.send(server, name, jobs.prompt(f"number {i}", 10), max_attempts=9) for i in range(12)]
    wait_until(lambda: server.function(name)["in_flight"] > 0, 5, "the first one runs")
    ours = processes.descendants(server.pid)
    assert ours
    server.kill()
    wait_until(lambda: not any(map(processes.alive, ours)), 1, "no process of it is left")
    began = time.monotonic()
    server.start()
    assert server.get("/v1/jobs").status_code == 200
    assert time.monotonic() - began <= SERVES_AGAIN_SECONDS
    assert jobs.look(server, done) == before
    for i, job in enumerate(sent):
        seen = jobs.over(server, job, 60)
        assert seen["status"] == "completed", seen
        assert seen["result"]["body"]["usage"]["completion_tokens"] == 10
    assert len(jobs.all_jobs(server, function=name)) == 13


@pytest.mark.parametrize("seed", range(3))
def test_line_50_p1_killed_again_and_again_each_has_one_end(server: Server, seed: int) -> None:
    """Accepted between the kills; ends that were told stay what they were."""
    chance = random.Random(seed)
    name = deploy(server)
    sent: list[str] = []
    told: dict[str, dict] = {}
    for _ in range(4):
        sent += [jobs.send(server, name, jobs.prompt(tokens=5), max_attempts=20) for _ in range(5)]
        time.sleep(chance.uniform(0, 0.5))
        for job in sent:
            seen = jobs.look(server, job)
            if seen["status"] in jobs.OVER:
                assert told.setdefault(job, seen) == seen
        server.kill()
        server.start()
    for job in sent:
        seen = jobs.over(server, job, 60)
        assert seen["status"] == "completed" and told.get(job, seen) == seen


def test_line_51_p3_key_is_known_after_a_kill(server: Server) -> None:
    name = deploy(server)
    body = {"function": name, "request": jobs.prompt()}

    def send(body: dict):
        return server.post("/v1/jobs", body, headers={"Idempotency-Key": "k"})

    first = send(body)
    server.kill()
    server.start()
    again = send(body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert send(body | {"ttl": "1h"}).status_code == 422


def test_told_to_stop_it_hands_back_what_runs(server: Server) -> None:
    name = deploy(server)
    sent = [jobs.send(server, name, jobs.prompt(tokens=100), max_attempts=1) for _ in range(4)]
    wait_until(lambda: jobs.look(server, sent[0])["status"] == "in_progress", 5, "it runs")
    server.terminate()
    assert server.wait_exit() == 0
    server.start()
    for job in sent:
        seen = jobs.over(server, job, 60)
        assert seen["status"] == "completed" and seen["attempt"] == 1, seen


def test_delay_goes_on_over_a_restart(server: Server) -> None:
    name = deploy(server)
    job = jobs.send(server, name, jobs.prompt(tokens=1), delay=2)
    server.kill()
    server.start()
    assert jobs.look(server, job)["status"] == "queued"
    assert jobs.over(server, job)["queue_ms"] >= 1900


def test_removed_function_fails_its_jobs(server: Server) -> None:
    name = deploy(server)
    job = jobs.send(server, name, delay="1h")
    server.remove(name)
    seen = jobs.over(server, job, 5)
    assert seen["status"] == "failed" and seen["error"]["code"] == "model_not_found"
