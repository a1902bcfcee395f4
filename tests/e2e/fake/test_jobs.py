"""Contract lines 50 to 56: calls that are accepted to be answered later."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

import pytest
from support import jobs, processes, sse
from support.load import at_once
from support.server import Server, fake, holds_for, wait_until

SLOW = {"tokens_per_second": 5}


@pytest.fixture
def slow(deploy) -> str:
    """One place, a second for five tokens."""
    return deploy("slow", slots=1, scale={"min": 0, "max": 1}, **SLOW)


def test_job_is_answered_as_the_call_would_have_been(server: Server, echo: str) -> None:
    request = {"prompt": "Once", "max_tokens": 5, "temperature": 0, "seed": 1}
    said = server.post("/v1/completions", request | {"model": echo}).json()
    seen = jobs.over(server, jobs.send(server, echo, request))
    assert seen["object"] == "job" and seen["status"] == "completed" and seen["error"] is None
    assert seen["attempt"] == 1 and seen["max_attempts"] == 3
    assert seen["created_at"] <= seen["started_at"] <= seen["finished_at"]
    assert seen["queue_ms"] >= 0 and seen["exec_ms"] >= 0 and seen["load_ms"] >= 0
    assert seen["result"]["status"] == 200
    body = seen["result"]["body"]
    assert body["choices"] == said["choices"] and body["usage"] == said["usage"]


def test_line_52_dry_run_runs_nothing(server: Server, deploy) -> None:
    name = deploy("dry")
    reply = server.post(
        f"/v1/functions/{name}/invoke",
        {"body": jobs.prompt()},
        headers={"X-Invocation-Type": "DryRun"},
    )
    assert reply.status_code == 204
    assert server.function(name)["calls"] == 0 and not jobs.all_jobs(server, function=name)


def test_line_52_event_is_202_with_a_location(server: Server, echo: str) -> None:
    reply = jobs.invoke_event(server, echo)
    assert reply.status_code == 202, reply.text
    assert reply.json()["status"] == "queued"
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    seen = jobs.over(server, reply.json()["id"])
    envelope = seen["result"]["body"]
    assert envelope["statusCode"] == 200 and envelope["body"]["usage"]["completion_tokens"] == 4


def test_line_52_prefer_wait_gives_202_of_a_slow_job_and_the_answer_of_a_fast_one(
    server: Server, echo: str, slow: str
) -> None:
    def ask(name: str, tokens: int, wait: int):
        return server.post(
            f"/v1/functions/{name}/invoke",
            {"body": jobs.prompt(tokens=tokens)},
            headers={"Prefer": f"wait={wait}"},
        )

    began = time.monotonic()
    late = ask(slow, 20, 1)
    assert late.status_code == 202 and 0.9 <= time.monotonic() - began <= 3
    early = ask(echo, 3, 10)
    assert early.status_code == 200 and early.json()["statusCode"] == 200
    assert early.headers["preference-applied"] == "wait"
    assert jobs.over(server, late.json()["id"])["status"] == "completed"


def test_prefer_wait_result_stays_and_is_what_a_waiting_caller_gets(
    server: Server, echo: str, slow: str
) -> None:
    """One hold that is long enough and one that runs out: the bodies are those of an ordinary call."""

    def ask(name: str, tokens: int, **headers: str):
        body = {"model": name, "prompt": "Once", "max_tokens": tokens, "temperature": 0, "seed": 1}
        return server.post("/v1/completions", body, headers=headers)

    def said(body: dict) -> tuple:
        return body["model"], body["choices"], body["usage"]

    held = ask(echo, 5, Prefer="wait=10")
    assert held.status_code == 200, held.text
    kept = server.get(held.headers["location"]).json()
    assert kept["result"] == {"status": 200, "body": held.json()}
    assert said(held.json()) == said(ask(echo, 5).json())
    late = ask(slow, 8, Prefer="wait=1")
    assert late.status_code == 202 and late.headers["location"] == f"/v1/jobs/{late.json()['id']}"
    kept = jobs.over(server, late.json()["id"])
    assert kept["status"] == "completed" and kept["attempt"] == 1
    assert said(kept["result"]["body"]) == said(ask(slow, 8).json())


@pytest.mark.parametrize(
    ("path", "request_body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 3}),
        ("/v1/completions", {"prompt": "x", "max_tokens": 3}),
    ],
)
def test_respond_async_on_the_openai_routes(
    server: Server, echo: str, path: str, request_body: dict
) -> None:
    body = request_body | {"model": echo}
    reply = server.post(path, body, headers={"Prefer": "respond-async"})
    assert reply.status_code == 202, reply.text
    seen = jobs.over(server, reply.json()["id"])
    assert seen["path"] == path and seen["result"]["body"]["usage"]["completion_tokens"] == 3
    waited = server.post(path, body, headers={"Prefer": "wait=10"})
    assert waited.status_code == 200 and waited.json()["usage"]["completion_tokens"] == 3


def test_what_cannot_run_is_refused_at_once(server: Server, echo: str) -> None:
    def refused(body: dict, status: int, param: str | None) -> None:
        reply = server.post("/v1/jobs", body)
        assert reply.status_code == status, reply.text
        assert reply.json()["error"]["param"] == param, reply.text

    good = {"function": echo, "request": jobs.prompt()}
    refused(good | {"function": "nobody"}, 404, "model")
    refused({"request": jobs.prompt()}, 400, "function")
    refused({"function": echo}, 400, "request")
    refused(good | {"request": jobs.prompt() | {"temperature": 9}}, 400, "temperature")
    refused(good | {"ttl": "1ms"}, 400, "ttl")
    refused(good | {"max_attempts": 0}, 400, "max_attempts")
    refused(good | {"priority": "urgent"}, 400, "priority")
    refused(good | {"delay": "2h", "ttl": "1h"}, 400, "delay")
    refused(good | {"tll": "1h"}, 400, "tll")
    assert not jobs.all_jobs(server, function=echo, status="queued")
    assert server.get("/v1/jobs/job_0000000000000000").status_code == 404
    assert server.get("/v1/jobs/nonsense").status_code == 404
    assert server.get("/v1/jobs?status=odd").json()["error"]["param"] == "status"


def test_line_51_idempotency_key(server: Server, echo: str) -> None:
    def send(key: str, body: dict):
        return server.post("/v1/jobs", body, headers={"Idempotency-Key": key})

    body = {"function": echo, "request": jobs.prompt()}
    first = send("line-51", body)
    assert first.status_code == 202 and "idempotent-replayed" not in first.headers
    again = send('"line-51"', body)
    assert again.status_code == 202 and again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    other = send("line-51", body | {"priority": "batch"})
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    elsewhere = jobs.invoke_event(server, echo, **{"Idempotency-Key": "line-51"})
    assert elsewhere.status_code == 202 and elsewhere.json()["id"] != first.json()["id"]
    assert send("x" * 256, body).status_code == 400


def test_line_51_same_body_in_other_words_is_the_same_job(server: Server, echo: str) -> None:
    """Spaces and the order of its fields are no part of what a body says."""
    body = {"function": echo, "request": jobs.prompt("Once"), "ttl": "1h"}
    texts = [
        json.dumps(body),
        json.dumps(body, indent=2),
        json.dumps(dict(reversed(body.items())), separators=(",", ":")),
        json.dumps(body).replace("Once", "\\u004fnce"),
    ]
    headers = {"Idempotency-Key": "in other words", "Content-Type": "application/json"}
    replies = [server.http.post("/v1/jobs", content=text, headers=headers) for text in texts]
    assert [reply.status_code for reply in replies] == [202] * len(texts), [reply.text for reply in replies]
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert [reply.headers.get("idempotent-replayed") for reply in replies] == [None] + ["true"] * (len(texts) - 1)


def test_line_51_key_goes_with_its_job(server: Server, echo: str) -> None:
    """Of a job that was deleted the key is new, for another body too."""

    def send(text: str):
        body = {"function": echo, "request": jobs.prompt(text)}
        return server.post("/v1/jobs", body, headers={"Idempotency-Key": "goes"})

    first = send("one").json()["id"]
    assert jobs.over(server, first)["status"] == "completed"
    assert send("other").status_code == 422
    assert server.http.delete(f"/v1/jobs/{first}").status_code == 204
    again = send("other")
    assert again.status_code == 202 and "idempotent-replayed" not in again.headers
    assert again.json()["id"] != first
    assert send("other").json()["id"] == again.json()["id"]
    assert jobs.over(server, again.json()["id"])["status"] == "completed"


def test_line_51_keys_at_once_make_one_job(server: Server, deploy) -> None:
    echo = deploy("once")

    def send(_: int):
        return server.post(
            "/v1/jobs",
            {"function": echo, "request": jobs.prompt()},
            headers={"Idempotency-Key": "at-once"},
        )

    replies = at_once(16, send)
    ids = {reply.json()["id"] for reply in replies if reply.status_code == 202}
    assert len(ids) == 1 and [row["id"] for row in jobs.all_jobs(server, function=echo)] == [*ids]
    for reply in replies:
        assert reply.status_code in (202, 409), reply.text
        if reply.status_code == 409:
            assert reply.headers["x-should-retry"] == "true"
            assert reply.json()["error"]["code"] == "idempotency_in_progress"


def test_line_51_key_of_a_synchronous_call(server: Server, echo: str, slow: str) -> None:
    def ask(name: str, key: str, text: str = "x", tokens: int = 3):
        return server.post(
            "/v1/completions",
            {"model": name, "prompt": text, "max_tokens": tokens},
            headers={"Idempotency-Key": key},
        )

    calls = server.function(echo)["calls"]
    first, again = ask(echo, "sync"), ask(echo, "sync")
    assert first.status_code == again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true" and again.json() == first.json()
    assert server.function(echo)["calls"] == calls + 1
    assert ask(echo, "sync", "y").status_code == 422
    answered, refused = sorted(
        at_once(2, lambda _: ask(slow, "both")), key=lambda reply: reply.status_code
    )
    assert (answered.status_code, refused.status_code) == (200, 409)
    assert refused.headers["x-should-retry"] == "true" and refused.headers["retry-after"] == "1"
    assert ask(slow, "both").json() == answered.json()


def test_line_53_cancel_in_every_state(server: Server, slow: str) -> None:
    running, queued = (jobs.send(server, slow, jobs.prompt(tokens=200)) for _ in range(2))
    wait_until(lambda: jobs.look(server, running)["status"] == "in_progress", 5, "it runs")
    wait_until(lambda: server.function(slow)["in_flight"] == 1, 5, "on its replica")
    assert jobs.look(server, queued)["status"] == "queued"
    for job in (queued, running):
        reply = server.post(f"/v1/jobs/{job}/cancel")
        assert reply.status_code == 200 and reply.json()["status"] == "cancelled", reply.text
    wait_until(lambda: server.function(slow)["in_flight"] == 0, 1, "the slot is free")
    done = jobs.send(server, slow, jobs.prompt(tokens=1))
    assert jobs.over(server, done)["status"] == "completed"
    assert server.post(f"/v1/jobs/{done}/cancel").json()["status"] == "completed"
    assert server.post(f"/v1/jobs/{running}/cancel").json()["status"] == "cancelled"
    holds_for(lambda: jobs.look(server, running)["status"] == "cancelled", 0.5, "it stays so")
    seen = jobs.look(server, queued)
    assert (seen["attempt"], seen["started_at"], seen["result"]) == (0, None, None), seen


def test_line_54_past_its_ttl_in_the_queue_it_expires_without_running(
    server: Server, slow: str
) -> None:
    ahead = jobs.send(server, slow, jobs.prompt(tokens=100))
    job = jobs.send(server, slow, ttl=1)
    seen = jobs.over(server, job, 10)
    assert seen["status"] == "expired" and seen["attempt"] == 0 and seen["started_at"] is None
    server.post(f"/v1/jobs/{ahead}/cancel")


def test_line_54_cancel_after_is_its_ttl(server: Server, slow: str) -> None:
    ahead = jobs.send(server, slow, jobs.prompt(tokens=100))
    reply = jobs.invoke_event(server, slow, **{"Cancel-After": "1s"})
    assert jobs.over(server, reply.json()["id"], 10)["status"] == "expired"
    server.post(f"/v1/jobs/{ahead}/cancel")


def test_line_54_past_execution_timeout_it_fails_and_the_slot_is_free(
    server: Server, slow: str
) -> None:
    job = jobs.send(server, slow, jobs.prompt(tokens=200), execution_timeout=1)
    seen = jobs.over(server, job, 10)
    assert seen["status"] == "failed" and seen["error"]["code"] == "deadline_exceeded"
    assert seen["attempt"] == 1
    wait_until(lambda: server.function(slow)["in_flight"] == 0, 1, "the slot is free")


def test_line_55_job_that_kills_its_replicas_is_a_dead_letter_and_others_run(
    server: Server, deploy
) -> None:
    name = deploy("failing", fault="crash_on_prompt:poison")
    good = jobs.over(server, jobs.send(server, name))
    assert good["status"] == "completed"
    job = jobs.send(server, name, jobs.prompt("poison"), max_attempts=2)
    seen = jobs.over(server, job, 60)
    assert seen["status"] == "failed" and seen["dead_lettered"], seen
    assert 1 <= seen["attempt"] <= 2  # the replica's death is put down to it after one or two
    listed = server.get("/v1/dead-letters", params={"function": name}).json()["data"]
    assert [row["id"] for row in listed] == [job]
    assert jobs.over(server, jobs.send(server, name))["status"] == "completed"


FAILING = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def say(self, status):
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def do_GET(self):
        self.say(200)
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        with open(sys.argv[1], "a") as log:
            log.write(f"{time.monotonic()}\\n")
        self.say(500)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def test_line_55_max_attempts_tries_with_growing_gaps_then_redriven_afresh(
    server: Server, tmp_path
) -> None:
    """A process of the user's own that always says 500: each attempt is seen where it arrives."""
    log = tmp_path / "attempts"
    command = [sys.executable, "-c", FAILING, str(log), "{port}"]
    name = server.deploy(
        {
            "apiVersion": "glowplug.dev/v1",
            "kind": "Function",
            "name": "always-500",
            "engine": {"process": {"command": command, "ready": "/"}},
        }
    )
    job = jobs.send(server, name, {"body": {}}, path=f"/v1/functions/{name}/invoke")
    seen = jobs.over(server, job, 60)
    assert seen["status"] == "failed" and seen["dead_lettered"] and seen["attempt"] == 3, seen
    assert seen["result"]["status"] == 500
    times = [float(line) for line in log.read_text().split()]
    assert len(times) == 3
    first, second = times[1] - times[0], times[2] - times[1]
    assert 0.9 <= first <= 1.8 and 1.9 <= second <= 3.3, times
    redriven = server.post("/v1/dead-letters/redrive", {"ids": [job]})
    assert redriven.status_code == 202 and redriven.json() == {"redriven": 1}
    again = jobs.over(server, job, 60)
    assert again["dead_lettered"] and again["attempt"] == 3
    assert len(log.read_text().split()) == 6
    server.remove(name)


def test_retry_and_delete(server: Server, slow: str) -> None:
    running = jobs.send(server, slow, jobs.prompt(tokens=100))
    assert server.post(f"/v1/jobs/{running}/retry").status_code == 409
    assert server.http.delete(f"/v1/jobs/{running}").status_code == 409
    server.post(f"/v1/jobs/{running}/cancel")
    failed = jobs.send(server, slow, jobs.prompt(tokens=50), execution_timeout=1)
    assert jobs.over(server, failed)["status"] == "failed"
    reply = server.post(f"/v1/jobs/{failed}/retry")
    assert reply.status_code == 202 and reply.json()["status"] in ("queued", "in_progress")
    assert jobs.over(server, failed)["status"] == "failed"
    assert server.http.delete(f"/v1/jobs/{failed}").status_code == 204
    assert server.get(f"/v1/jobs/{failed}").status_code == 404
    assert server.http.delete(f"/v1/jobs/{failed}").status_code == 404


def stream(server: Server, job: str, last: str = "") -> list[tuple[str, str, dict]]:
    """(id, event, job) of each event until the end."""
    headers = {"Last-Event-ID": last} if last else {}
    reply = server.get(f"/v1/jobs/{job}/stream", headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    ids = [
        line.removeprefix("id: ") for line in reply.text.split("\n") if line.startswith("id: ")
    ]
    return [
        (number, name, json.loads(data))
        for number, (name, data) in zip(ids, sse.events(reply.text), strict=True)
    ]


def test_stream_of_states_ends_with_the_result_and_is_resumable(server: Server, slow: str) -> None:
    ahead = jobs.send(server, slow, jobs.prompt(tokens=5))
    job = jobs.send(server, slow, jobs.prompt(tokens=3))
    seen = stream(server, job)
    assert [name for _, name, _ in seen] == ["queued", "in_progress", "completed"]
    numbers = [int(number) for number, _, _ in seen]
    assert numbers == sorted(set(numbers))
    assert seen[-1][2]["result"]["body"]["usage"]["completion_tokens"] == 3
    assert seen[-1][2] == jobs.look(server, job)
    assert stream(server, job, seen[0][0])[-1] == seen[-1]
    assert stream(server, job, seen[1][0]) == [seen[-1]]
    assert stream(server, job, seen[-1][0]) == []
    assert jobs.over(server, ahead)["status"] == "completed"


def test_delay_and_list(server: Server, deploy) -> None:
    name = deploy("listed")
    later = jobs.send(server, name, delay="1h")
    soon = jobs.send(server, name, delay=1)
    done = [jobs.send(server, name) for _ in range(4)]
    for job in done:
        assert jobs.over(server, job)["status"] == "completed"
    seen = jobs.over(server, soon)
    assert seen["queue_ms"] >= 900
    assert [row["id"] for row in jobs.all_jobs(server, function=name, limit=2)] == [
        *reversed(done),
        soon,
        later,
    ]
    queued = server.get("/v1/jobs", params={"function": name, "status": "queued"}).json()
    assert [row["id"] for row in queued["data"]] == [later] and not queued["has_more"]
    assert queued["object"] == "list" and queued["first_id"] == later == queued["last_id"]


def test_burst_on_a_cold_function_drains_without_a_5xx(server: Server, deploy) -> None:
    name = deploy("burst", tokens_per_second=5000, load_time="300ms", scale={"min": 0, "max": 2})
    count = 2000

    def share(number: int) -> list[str]:
        ids = []
        for _ in range(count // 20):
            reply = jobs.invoke_event(server, name, tokens=2)
            assert reply.status_code == 202, reply.text
            ids.append(reply.json()["id"])
        return ids

    ids = {job for some in at_once(20, share) for job in some}
    assert len(ids) == count

    def drained() -> bool:
        states = [server.get("/v1/jobs", params={"function": name, "status": status, "limit": 1})
                  for status in ("queued", "in_progress")]
        return not any(reply.json()["data"] for reply in states)

    wait_until(drained, 120, "all are over")
    ended = jobs.all_jobs(server, function=name)
    assert {row["id"] for row in ended} == ids
    assert all(row["status"] == "completed" for row in ended)


def test_line_56_paused_worker_that_wakes_late_changes_nothing(deploy, server: Server) -> None:
    """Its first attempt has run out of time; when it wakes, the second one is under way, whose answer is the job's."""
    name = deploy("paused", tokens_per_second=20, template="off", slots=1,
                  scale={"min": 0, "max": 1})
    job = jobs.send(server, name, jobs.prompt(tokens=20), execution_timeout=4)
    wait_until(lambda: server.function(name)["in_flight"] == 1, 5, "it runs")
    [pid] = server.pids_of(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        failed = jobs.over(server, job, 20)
        assert failed["status"] == "failed" and failed["error"]["code"] == "deadline_exceeded"
        assert server.post(f"/v1/jobs/{job}/retry").status_code == 202
        wait_until(lambda: jobs.look(server, job)["status"] == "in_progress", 10, "it runs again")
        assert processes.alive(pid), "it was ended before it could wake too late"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    seen = jobs.over(server, job, 20)
    assert seen["status"] == "completed" and seen["result"]["body"]["usage"]["completion_tokens"] == 20, seen
    holds_for(lambda: jobs.look(server, job) == seen, 2, "it stays so")


def test_cli(server: Server, echo: str, tmp_path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"body": jobs.prompt()}))
    sent = server.cli("invoke", echo, "--async", "--event", str(event))
    assert sent.returncode == 0, sent.stderr
    job = sent.stdout.strip()
    shown = server.cli("jobs", job, "--wait", "--json")
    assert shown.returncode == 0 and json.loads(shown.stdout)["status"] == "completed"
    listed = server.cli("jobs", "--function", echo, "--json")
    assert job in [row["id"] for row in json.loads(listed.stdout)]
    table = server.cli("jobs", "--status", "completed")
    assert table.returncode == 0 and job in table.stdout and "\x1b" not in table.stdout
    assert server.cli("jobs", "cancel", job).stdout == f"{job}: completed\n"
    assert server.cli("jobs", "retry", job).returncode == 1
    assert server.cli("jobs", "--wait").returncode == 2
    assert server.cli("jobs", "--status", "odd").returncode == 2
    gone = server.cli("jobs", "rm", job, "--json")
    assert gone.returncode == 0 and json.loads(gone.stdout)["deleted"] is True
    assert server.cli("jobs", job).returncode == 3
    assert server.cli("jobs", "rm").returncode == 2
    assert json.loads(server.cli("dead-letters", "--json").stdout) is not None
    assert server.cli("dead-letters", "redrive", "--json").returncode == 0
    assert server.cli("dead-letters", "odd").returncode == 2


def test_cli_wait_says_by_its_exit_code_what_became_of_the_job(server: Server, slow: str) -> None:
    job = jobs.send(server, slow, jobs.prompt(tokens=100), execution_timeout=1)
    shown = server.cli("jobs", job, "--wait", "--json")
    assert shown.returncode == 1 and json.loads(shown.stdout)["status"] == "failed"
    looked = server.cli("jobs", job)
    assert looked.returncode == 0 and "deadline_exceeded" in looked.stdout


def test_metrics(server: Server, echo: str) -> None:
    jobs.over(server, jobs.send(server, echo))
    text = server.get("/metrics").text
    for name in ("glowplug_jobs_queued", "glowplug_jobs_running", "glowplug_state_syncs_total"):
        assert f"\n{name} " in text, name
    assert 'glowplug_jobs_ended_total{status="completed",code=""}' in text


def test_calls_of_batch_jobs_let_others_by(server: Server) -> None:
    """One slot: whoever waits on the line comes before the batch that was there first."""
    slow = {"load_time": "4s", "template": "off"}  # so that no further replica helps meanwhile
    server.deploy(fake("one", tokens_per_second=50, slots=1, scale={"max": 4}, **slow))
    server.chat("one", max_tokens=1)
    batch = [jobs.send(server, "one", jobs.prompt(f"number {i}", 50), priority="batch") for i in range(4)]
    wait_until(lambda: server.function("one")["waiting"] >= 2, 10, "they wait for the slot")
    assert server.chat("one", max_tokens=1).status_code == 200
    assert sum(jobs.look(server, job)["status"] == "completed" for job in batch) <= 1
    assert [jobs.over(server, job, 30)["status"] for job in batch] == ["completed"] * 4
