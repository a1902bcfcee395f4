"""P17, fault rows 5 and 31: what a job, a batch and a webhook are due at goes by a clock that nobody sets, also while
the server stands still; what fell due meanwhile is dropped and not carried out."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest
from support import jobs
from support.receiver import Receiver, unwrap
from support.server import Server, fake, holds_for, wait_until
from support.wall_clock import DAY, WallClock, wall_seconds

STEPS = pytest.mark.parametrize("by", [DAY, -DAY], ids=["a-day-on", "a-day-back"])
PAUSE_SECONDS = 17  # longer than some signs of life of a replica are asked for


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def server(tmp_path: Path, clock: WallClock) -> Iterator[Server]:
    config = tmp_path / "config.yaml"
    config.write_text("webhooks: {allow: [127.0.0.1], allow_http: true}\n")
    with Server("--config", str(config), "--spares", "0", folder=tmp_path, env=clock.env) as running:
        running.deploy(fake("fast", load_time="10ms", tokens_per_second=5000))
        running.deploy(fake("slow", load_time="10ms", tokens_per_second=20, slots=1, scale={"max": 1}))
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(500, 200)
    yield made
    made.close()


def step(server: Server, clock: WallClock, by: float) -> None:
    clock.step(by)
    assert abs(wall_seconds(server) - time.time() - by) < 60, "the server's clock was not set"


@STEPS
@pytest.mark.parametrize("restarted", [False, True], ids=["goes-on", "restarted"])
def test_what_a_job_is_due_at_does_not_move(server: Server, clock: WallClock, by: float, restarted: bool) -> None:
    """Its delay, its ttl in the queue, the time that it may run; nothing comes early, and nothing never."""
    body = {"function": "fast", "request": jobs.prompt()}
    keyed = server.post("/v1/jobs", body, headers={"Idempotency-Key": "known"}).json()["id"]
    sent = time.monotonic()
    running = jobs.send(server, "slow", jobs.prompt(tokens=400), execution_timeout=12, max_attempts=9)
    wait_until(lambda: jobs.look(server, running)["status"] == "in_progress", 10, "it runs")
    delayed = jobs.send(server, "fast", delay=5)
    late = jobs.send(server, "slow", ttl=5)
    far = jobs.send(server, "fast", delay="2h")
    step(server, clock, by)
    if restarted:  # within the same boot the server goes on by the machine's own clock
        server.kill()
        server.start()
    waiting = {"queued"}
    holds_for(
        lambda: {jobs.look(server, job)["status"] for job in (delayed, late, far)} == waiting,
        max(0.0, sent + 3 - time.monotonic()),
        "none is due",
    )
    assert jobs.look(server, running)["status"] == "in_progress"
    end = jobs.over(server, delayed, 30)
    assert end["status"] == "completed" and time.monotonic() - sent >= 4.9, end
    end = jobs.over(server, late, 30)
    assert (end["status"], end["attempt"], end["started_at"]) == ("expired", 0, None), end
    end = jobs.over(server, running, 30)
    assert (end["status"], end["error"]["code"]) == ("failed", "deadline_exceeded"), end
    assert time.monotonic() - sent < 40
    assert jobs.look(server, far)["status"] == "queued"
    again = server.post("/v1/jobs", body, headers={"Idempotency-Key": "known"})
    assert again.json()["id"] == keyed and again.headers["idempotent-replayed"] == "true"


@STEPS
def test_times_that_are_told_of_a_job_are_those_that_passed(server: Server, clock: WallClock, by: float) -> None:
    """Whatever the hours are at which it came and ended."""
    sent = time.monotonic()
    delayed = jobs.send(server, "fast", delay=2)
    running = jobs.send(server, "slow", jobs.prompt(tokens=40))
    wait_until(lambda: jobs.look(server, running)["status"] == "in_progress", 10, "it runs")
    step(server, clock, by)
    ends = [jobs.over(server, job, 30) for job in (delayed, running)]
    most = (time.monotonic() - sent) * 1000 + 500
    assert ends[1]["exec_ms"] >= 1900, ends[1]
    for end in ends:
        told = {field: end[field] for field in ("queue_ms", "load_ms", "exec_ms")}
        assert all(0 <= ms <= most for ms in told.values()), told
    assert ends[0]["queue_ms"] >= 1900, ends[0]


@STEPS
def test_webhook_is_tried_again_when_it_is_due_and_says_the_time_of_day(
    server: Server, clock: WallClock, receiver: Receiver, by: float
) -> None:
    endpoint = server.post("/v1/webhook-endpoints", {"url": receiver.url}).json()
    began = time.monotonic()
    assert server.post(f"/v1/webhook-endpoints/{endpoint['id']}/test").status_code == 202
    wait_until(lambda: len(receiver.seen) == 1, 10, "the first attempt")
    step(server, clock, by)
    wait_until(lambda: len(receiver.seen) == 2, 20, "the second")
    assert 4.5 <= time.monotonic() - began
    (first, body), (second, again) = receiver.seen
    assert first["webhook-id"] == second["webhook-id"] and body == again
    moved = int(second["webhook-timestamp"]) - int(first["webhook-timestamp"])
    assert abs(moved - by) < 60, "a receiver would take it for an old one"


@STEPS
def test_batch_is_carried_out_whatever_the_clock_says(server: Server, clock: WallClock, by: float) -> None:
    """Its window of a day is not over, nor is its input gone."""
    server.deploy(fake("lines", load_time="10ms", tokens_per_second=100, slots=2, scale={"max": 1}))
    url = "/v1/completions"
    body = {"model": "lines", "prompt": "x", "max_tokens": 10}
    lines = [{"custom_id": f"id-{i}", "method": "POST", "url": url, "body": body} for i in range(60)]
    content = "\n".join(map(json.dumps, lines)).encode()
    made = server.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)})
    assert made.status_code == 200, made.text
    body = {"input_file_id": made.json()["id"], "endpoint": url, "completion_window": "24h"}
    batch = server.post("/v1/batches", body).json()["id"]

    def look() -> dict:
        return server.get(f"/v1/batches/{batch}").json()

    wait_until(lambda: look()["request_counts"]["completed"] >= 2, 30, "it is under way")
    step(server, clock, by)
    wait_until(lambda: look()["status"] in ("completed", "expired", "failed"), 60, "it is over")
    over = look()
    assert over["status"] == "completed" and over["request_counts"] == {"total": 60, "completed": 60, "failed": 0}, over
    output = server.get(f"/v1/files/{over['output_file_id']}/content").text
    assert len(output.splitlines()) == 60


def test_row_5_what_fell_due_while_the_server_stood_still_is_dropped(server: Server) -> None:
    """A call that waited too long and one whose caller has left, a job past its ttl: no replica hears of them. What
    ran goes on, in the attempt that it was in."""
    limits = {"queue_timeout": "5s"}
    server.deploy(fake("narrow", load_time="10ms", tokens_per_second=20, slots=1, scale={"max": 1}, limits=limits))
    running = jobs.send(server, "narrow", jobs.prompt("running", (PAUSE_SECONDS + 5) * 20))
    wait_until(lambda: server.function("narrow")["in_flight"] == 1, 10, "it runs")
    late = jobs.send(server, "narrow", jobs.prompt("late"), ttl=5)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.chat, "narrow", "waits", max_tokens=1)
        body = json.dumps({"model": "narrow", "prompt": "leaves", "max_tokens": 1}).encode()
        leaves = server.raw()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {leaves.host}\r\nContent-Type: application/json\r\n"
        leaves.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        # A job that is queued does not wait for a place of its function: two calls do.
        wait_until(lambda: server.function("narrow")["waiting"] >= 2, 10, "both calls wait")
        assert jobs.look(server, late)["status"] == "queued"
        os.kill(server.pid, signal.SIGSTOP)
        try:
            time.sleep(1)
            leaves.close()
            time.sleep(PAUSE_SECONDS - 1)  # that long it stands still
        finally:
            os.kill(server.pid, signal.SIGCONT)
        reply = waiting.result(timeout=30)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "server_is_overloaded"), reply.text
    end = jobs.over(server, late, 10)
    assert (end["status"], end["attempt"], end["started_at"]) == ("expired", 0, None), end
    assert jobs.look(server, running)["status"] == "in_progress"
    end = jobs.over(server, running, 40)
    assert (end["status"], end["attempt"]) == ("completed", 1), end
    after = server.chat("narrow", "after", max_tokens=1)
    assert after.status_code == 200
    assert server.get(f"/v1/admin/usage/{reply.headers['x-request-id']}").status_code == 404, "no replica had it"
    receipt = server.get(f"/v1/admin/usage/{end['request_id']}").json()
    assert (receipt["terminal"], receipt["attempts"]) == ("completed", 1), receipt
    rows = server.get("/v1/admin/usage").json()["total"]["requests"]
    assert rows == 3, "one each of the job that ran, of the one that expired, and of the last call"
