"""P20 of jobs: whatever ends a job or refuses one is counted with its reason, and what came is queued, runs or is over
at every look, over a kill of the server too."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Iterator

import pytest
from support import jobs
from support.counts import LABEL, SumWatch, look
from support.server import Server, fake, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--spares", "0", folder=tmp_path) as running:
        running.deploy(fake("fast", load_time="10ms", tokens_per_second=5000))
        running.deploy(fake("slow", load_time="10ms", tokens_per_second=20, slots=1, scale={"max": 1}))
        running.deploy(fake("brittle", load_time="10ms", fault="crash_on_prompt:poison", template="off"))
        yield running


def by_label(server: Server, name: str) -> Counter[tuple[str, ...]]:
    """Samples above zero, by the values of their labels."""
    text = server.get("/metrics").text
    found = re.findall(rf"^glowplug_{name}_total{{(.*)}} (\d+)$", text, re.M)
    return +Counter({tuple(value for _, value in LABEL.findall(labels)): int(count) for labels, count in found})


def refuse(server: Server) -> Counter[tuple[str, ...]]:
    """What is no job is none of the sums; the fourth one was no submission at all."""
    body = {"function": "fast", "request": jobs.prompt()}
    statuses = [
        server.post("/v1/jobs", body, headers={"Idempotency-Key": "k"}),
        server.post("/v1/jobs", body | {"ttl": "1h"}, headers={"Idempotency-Key": "k"}),
        server.post("/v1/jobs", body | {"function": "nobody"}),
        server.post("/v1/jobs", body | {"ttl": "1ms"}),
        server.post("/v1/jobs", body | {"request": {"prompt": "x", "temperature": 9}}),
    ]
    assert [reply.status_code for reply in statuses] == [202, 422, 404, 400, 400]
    jobs.over(server, statuses[0].json()["id"])
    requests = {"idempotency_key_reused": 1, "model_not_found": 1, "invalid_value": 2}
    assert +look(server).requests == requests
    return Counter({("idempotency_key_reused",): 1, ("model_not_found",): 1, ("invalid_value",): 1})


def test_p20_ends_and_refusals_of_jobs_are_counted_by_their_reason(server: Server) -> None:
    with SumWatch(server):
        refused = refuse(server)
        done = [jobs.send(server, "fast") for _ in range(20)]
        running = jobs.send(server, "slow", jobs.prompt(tokens=500))
        wait_until(lambda: jobs.look(server, running)["status"] == "in_progress", 10, "it runs")
        queued = jobs.send(server, "slow", delay="1h")
        expired = jobs.send(server, "slow", ttl=1)
        assert jobs.over(server, expired)["status"] == "expired"
        for job in (running, queued, queued, running):  # what is over is not counted again
            assert server.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
        timed_out = jobs.send(server, "slow", jobs.prompt(tokens=500), execution_timeout=1)
        assert jobs.over(server, timed_out)["error"]["code"] == "deadline_exceeded"
        poison = jobs.over(server, jobs.send(server, "brittle", jobs.prompt("poison"), max_attempts=2), 60)
        assert poison["dead_lettered"], poison
        assert {jobs.over(server, job)["status"] for job in done} == {"completed"}
        assert server.post(f"/v1/jobs/{timed_out}/retry").status_code == 202
        assert jobs.over(server, timed_out)["status"] == "failed"
        gone = jobs.send(server, "brittle", delay="1h")
        server.remove("brittle")
        assert jobs.over(server, gone)["status"] == "failed"
    counts = look(server).jobs
    assert (counts["accepted"], counts["retried"], counts["found"]) == (27, 1, 0), counts
    assert (counts["queued"], counts["running"], counts["ended"]) == (0, 0, 28), counts
    expected = {
        ("completed", ""): 21,
        ("cancelled", ""): 2,
        ("expired", "deadline_exceeded"): 1,
        ("failed", "deadline_exceeded"): 2,
        ("failed", poison["error"]["code"]): 1,
        ("failed", "model_not_found"): 1,
    }
    assert by_label(server, "jobs_ended") == expected
    assert by_label(server, "jobs_refused") == refused


def test_p20_what_a_killed_server_left_is_found_and_counted_once(server: Server) -> None:
    for _ in range(3):
        jobs.over(server, jobs.send(server, "fast"))
    left = [jobs.send(server, "slow", jobs.prompt(tokens=5), max_attempts=9) for _ in range(4)]
    waits = jobs.send(server, "fast", delay="1h")
    wait_until(lambda: jobs.look(server, left[0])["status"] == "in_progress", 10, "the first runs")
    server.kill()
    server.start()
    with SumWatch(server):
        over_before = sum(jobs.look(server, job)["status"] in jobs.OVER for job in left)
        found = look(server).jobs
        assert len(left) + 1 - over_before <= found["found"] <= len(left) + 1, found
        assert (found["accepted"], found["retried"]) == (0, 0), found
        assert {jobs.over(server, job, 60)["status"] for job in left} == {"completed"}
        after = look(server).jobs
    assert (after["found"], after["queued"], after["running"]) == (found["found"], 1, 0), after
    assert jobs.look(server, waits)["status"] == "queued"
