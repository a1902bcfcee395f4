"""P16 with a hundred thousand jobs that wait: the successor of a server that was killed serves about as soon as ever,
and all of them are there."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Iterator

import pytest
from support import jobs, processes
from support.counts import look
from support.leaks import memory_bytes
from support.server import Server, fake, wait_until

COUNT = 100_000
SERVES_AGAIN_SECONDS = 2.0
BYTES_OF_A_JOB = 200  # while it waits
CACHED_BYTES = 32 << 20  # pages of the file, of whoever writes it and of whoever reads it
READS_JOBS_SECONDS = 3.0  # that many of them, on a slow machine that has other work


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--spares", "0", folder=tmp_path) as running:
        running.deploy(fake("fast", load_time="10ms", tokens_per_second=5000))
        yield running


def multiply(server: Server, job: str) -> None:
    """So many rows of a job that waits, each with an id of its own."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "glowplug.db")) as file, file:
        columns = [row[1] for row in file.execute("PRAGMA table_info(jobs)")]
        taken = ", ".join("jobs.id - number" if column == "id" else f"jobs.{column}" for column in columns)
        file.execute(
            f"""WITH RECURSIVE numbers (number) AS
                (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {COUNT - 1})
                INSERT INTO jobs ({", ".join(columns)}) SELECT {taken} FROM numbers, jobs WHERE jobs.id = ?""",
            (int(job.removeprefix("job_"), 16),),
        )


def test_p16_with_a_hundred_thousand_jobs_it_serves_again_and_knows_them_all(server: Server) -> None:
    waits = jobs.send(server, "fast", delay="2h")
    for _ in range(3):  # so that ids below its own are free
        waits = jobs.send(server, "fast", delay="2h")
    memory = memory_bytes(server.pid)
    server.terminate()
    assert server.wait_exit() == 0
    with contextlib.closing(sqlite3.connect(server.data_dir / "glowplug.db")) as file, file:
        file.execute("DELETE FROM jobs WHERE id <> ?", (int(waits.removeprefix("job_"), 16),))
    multiply(server, waits)
    server.start()
    assert look(server).jobs["queued"] == COUNT
    ended = jobs.over(server, jobs.send(server, "fast"))
    assert memory_bytes(server.pid) - memory <= COUNT * BYTES_OF_A_JOB + CACHED_BYTES
    for _ in range(3):
        sent = [jobs.send(server, "fast", jobs.prompt(tokens=3)) for _ in range(5)]
        ours = processes.descendants(server.pid)
        server.kill()
        began = time.monotonic()
        server.start()
        assert server.get("/v1/jobs?limit=1").status_code == 200
        took = time.monotonic() - began
        assert took <= SERVES_AGAIN_SECONDS + READS_JOBS_SECONDS, took
        wait_until(lambda: not any(map(processes.alive, ours)), 5, "no process of the killed one is left")
        assert {jobs.over(server, job)["status"] for job in sent} == {"completed"}
        assert look(server).jobs["queued"] == COUNT
        assert jobs.look(server, waits)["status"] == "queued" and jobs.look(server, ended["id"]) == ended
    reply = server.post(f"/v1/jobs/{waits}/cancel")
    assert reply.json()["status"] == "cancelled" and look(server).jobs["queued"] == COUNT - 1
