"""The usage ledger: receipts and idle are the wall clock times the price, rows are the calls that replicas took, sums
survive a kill -9, and a day's budget refuses calls."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import httpx
import pytest
import yaml
from support import jobs
from support.server import Server, fake, wait_until

PER_HOUR, PER_REQUEST = 3600, 0.0001  # a unit a second
FEE = 100


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[Server]:
    config = tmp_path / "glowplug.yaml"
    config.write_text(
        yaml.safe_dump({"prices": {"CPU": {"per_hour": PER_HOUR, "per_request": PER_REQUEST}}})
    )
    folder = tmp_path / "server"
    folder.mkdir()
    with Server("--config", str(config), folder=folder) as running:
        yield running


def usage(server: Server, query: str = "") -> dict:
    reply = server.get(f"/v1/admin/usage{query}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def receipt(server: Server, request: str) -> dict:
    reply = server.get(f"/v1/admin/usage/{request}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def usage_requests(server: Server) -> int:
    return usage(server)["total"]["requests"]


def assert_law(server: Server) -> dict:
    """Each device's five amounts add up, and idle is what was measured to be so, but for rounding."""
    told = usage(server)
    for device in told["devices"]:
        micros = device["micros"]
        parts = micros["callers"] + micros["platform"] + micros["running"] + micros["idle"]
        assert parts == micros["wall"], device
        wall = device["wall_seconds"] * device["per_hour_micros"] / 3600
        assert abs(micros["wall"] - wall) < 2, device
        idle = device["idle_seconds"] * device["per_hour_micros"] / 3600
        rounding = 2 * (told["total"]["requests"] + 10)
        assert idle - 2 <= micros["idle"] <= idle + rounding, device
    return told


def calls_ended(server: Server) -> int:
    """What the callers' side counts of calls that a replica had."""
    total = 0
    for line in server.get("/metrics").text.splitlines():
        if line.startswith("glowplug_usage_rows_total{"):
            total += int(line.rsplit(" ", 1)[1])
    return total


def test_receipts_and_idle_are_the_wall_clock_times_the_price(priced: Server) -> None:
    priced.deploy(fake("fast", slots=2, scale={"max": 2}))
    priced.deploy(fake("slow", tokens_per_second=100))

    def call(i: int) -> httpx.Response:
        name = ("fast", "slow")[i % 2]
        return priced.chat(name, f"call {i}", max_tokens=10 + i % 5)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(call, range(40)))
    assert all(reply.status_code == 200 for reply in replies)
    told = assert_law(priced)
    receipts = [receipt(priced, reply.headers["x-request-id"]) for reply in replies]
    cpu = next(device for device in told["devices"] if device["device"] == "CPU")
    assert cpu["micros"]["running"] == 0
    assert cpu["micros"]["callers"] == sum(
        line["cost_micros"] for one in receipts for line in one["devices"]
    )
    assert told["total"]["cost_micros"] == sum(one["cost_micros"] for one in receipts)
    assert told["total"]["requests"] == len(replies) == calls_ended(priced)
    for reply, one in zip(replies, receipts):
        assert round(float(reply.headers["x-glowplug-cost"]) * 1e6) == one["cost_micros"]
        assert one["fee"]["cost_micros"] == FEE
        assert one["cost_micros"] == FEE + sum(line["cost_micros"] for line in one["devices"])
        tokens = reply.json()["usage"]
        assert one["tokens"]["prompt"] == tokens["prompt_tokens"]
        assert one["tokens"]["completion"] == tokens["completion_tokens"]
    assert told["total"]["completion_tokens"] == sum(
        reply.json()["usage"]["completion_tokens"] for reply in replies
    )


def test_stream_says_its_cost_in_the_usage_chunk_and_is_metered_without_one(priced: Server) -> None:
    priced.deploy(fake("echo"))
    body = {"model": "echo", "messages": [{"role": "user", "content": "go"}], "stream": True}
    for asks in (True, False):
        more = {"stream_options": {"include_usage": True}} if asks else {}
        reply = priced.post("/v1/chat/completions", body | more)
        assert reply.status_code == 200
        one = receipt(priced, reply.headers["x-request-id"])
        assert one["terminal"] == "completed"
        assert one["tokens"]["completion"] > 0
        said = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
        costs = [chunk["glowplug"]["cost"]["micros"] for chunk in said if "glowplug" in chunk]
        assert costs == ([one["cost_micros"]] if asks else [])
    assert_law(priced)


def test_cancelled_call_pays_until_its_caller_left_broken_one_nothing(priced: Server) -> None:
    priced.deploy(fake("slow", tokens_per_second=20))
    priced.deploy(fake("crash", fault="crash_after_tokens:3"))
    with priced.http.stream(
        "POST",
        "/v1/chat/completions",
        json={
            "model": "slow",
            "messages": [{"role": "user", "content": "go"}],
            "stream": True,
            "max_tokens": 200,
        },
    ) as reply:
        request = reply.headers["x-request-id"]
        pieces = 0
        for line in reply.iter_lines():
            pieces += '"content":"' in line and '"content":""' not in line
            if pieces >= 3:
                break
    wait_until(lambda: priced.get(f"/v1/admin/usage/{request}").status_code == 200, 5, "a receipt")
    left = receipt(priced, request)
    assert left["terminal"] == "cancelled"
    assert left["tokens"]["completion"] >= 3
    assert left["cost_micros"] > FEE

    broken = priced.chat("crash")
    assert broken.status_code >= 500
    failed = receipt(priced, broken.headers["x-request-id"])
    assert failed["terminal"] == "failed"
    assert failed["cost_micros"] == 0
    assert failed["platform_micros"] > 0
    assert "cost_micros" in failed and broken.headers["x-glowplug-cost"] == "0.000000"
    told = assert_law(priced)
    cpu = told["devices"][-1]["micros"]
    assert cpu["platform"] == failed["platform_micros"]


def test_jobs_are_in_the_law_each_with_one_row(priced: Server) -> None:
    """Answered, cancelled while it runs, and one that breaks each replica that it meets."""
    priced.deploy(fake("echo"))
    priced.deploy(fake("slow", tokens_per_second=20))
    priced.deploy(fake("crash", fault="crash_after_tokens:3"))
    events = [jobs.invoke_event(priced, "echo", tokens=4 + i) for i in range(6)]
    assert all(reply.status_code == 202 for reply in events)
    answered = [reply.json()["id"] for reply in events]
    left = jobs.send(priced, "slow", jobs.prompt("go", 400))
    wait_until(lambda: priced.function("slow")["in_flight"] == 1, 10, "it runs")
    assert priced.post(f"/v1/jobs/{left}/cancel").json()["status"] == "cancelled"
    broken = jobs.send(priced, "crash", jobs.prompt("go", 20), max_attempts=2)
    assert all(jobs.over(priced, job)["status"] == "completed" for job in answered)
    failed = jobs.over(priced, broken, 60)
    assert failed["status"] == "failed" and failed["attempt"] == 2, failed

    told = assert_law(priced)
    rows = {row["function"]: row for row in usage(priced, "?group_by=function")["data"]}
    assert {name: row["requests"] for name, row in rows.items()} == {
        "echo": len(answered),
        "slow": 1,
        "crash": 1,
    }
    assert rows["echo"]["cost_micros"] > FEE * len(answered)
    assert rows["slow"]["cost_micros"] > FEE  # who cancels pays for what it had
    assert rows["crash"]["cost_micros"] == 0 and rows["crash"]["platform_micros"] > 0
    cpu = told["devices"][-1]["micros"]
    assert cpu["running"] == 0
    fees = FEE * (len(answered) + 1)
    assert cpu["callers"] == told["total"]["cost_micros"] - fees
    assert cpu["platform"] == told["total"]["platform_micros"]


def test_sums_after_a_kill_are_what_callers_were_told(priced: Server) -> None:
    priced.deploy(fake("echo"))
    priced.deploy(fake("slow", tokens_per_second=20))
    told = [
        round(float(priced.chat("echo", f"{i}", max_tokens=4).headers["x-glowplug-cost"]) * 1e6)
        for i in range(20)
    ]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(priced.chat, "slow", "go", max_tokens=400)
        wait_until(lambda: priced.function("slow")["in_flight"] == 1, 10, "a call in flight")
        priced.kill()
        with pytest.raises(httpx.HTTPError):
            running.result()
    for _ in range(2):  # what the first start has folded the second one does not fold again
        priced.start()
        data = {row["function"]: row for row in usage(priced)["data"]}
        assert data["echo"]["requests"] == len(told)
        assert data["echo"]["cost_micros"] == sum(told)
        assert data["slow"]["requests"] == 1
        assert data["slow"]["cost_micros"] == 0
        assert not list((priced.data_dir / "usage").glob("*.log"))
        priced.kill()
    priced.start()


def test_spent_budget_refuses_until_it_is_raised_also_after_a_restart(priced: Server) -> None:
    manifest = fake("dear", tokens_per_second=100)
    budget = {"budget": {"per_day": 0.05}}
    priced.deploy(manifest | {"scale": budget})
    paid = [priced.chat("dear", max_tokens=10) for _ in range(1)]
    while paid[-1].status_code == 200 and len(paid) < 20:
        paid.append(priced.chat("dear", max_tokens=10))
    refused = paid[-1]
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"
    assert "x-glowplug-cost" not in refused.headers
    assert "scale.budget.per_day" in priced.log()
    priced.kill()
    priced.start()
    assert priced.chat("dear").status_code == 429
    priced.deploy(manifest | {"scale": {"budget": {"per_day": 1000}}})
    assert priced.chat("dear").status_code == 200


def test_sums_as_json_csv_and_by_the_command(priced: Server) -> None:
    priced.deploy(fake("echo"))
    reply = priced.chat("echo")
    by_day = usage(priced, "?group_by=function,day")
    assert [row["function"] for row in by_day["data"]] == ["echo"]
    day = by_day["data"][0]["day"]
    assert usage(priced, f"?from={day}&to={day}")["total"] == by_day["total"]
    assert usage(priced, "?from=2999-01-01")["data"] == []
    text = priced.get("/v1/admin/usage?group_by=function,day&format=csv")
    assert text.headers["content-type"].startswith("text/csv")
    assert text.text == priced.get(
        "/v1/admin/usage?group_by=function,day", headers={"accept": "text/csv"}
    ).text
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert rows[0]["day"] == day and rows[0]["requests"] == "1"
    assert rows[0]["cost"] == reply.headers["x-glowplug-cost"]
    for bad in ("group_by=model", "from=yesterday", "to=2026-13-01", "format=xml"):
        fault = priced.get(f"/v1/admin/usage?{bad}")
        assert fault.status_code == 400, bad
        assert fault.json()["error"]["param"] == bad.split("=")[0]
    assert priced.get("/v1/admin/usage/req_none").status_code == 404

    shown = priced.cli("usage", "--by", "function,day")
    assert shown.returncode == 0 and "echo" in shown.stdout and "cost by day" in shown.stdout
    parsed = json.loads(priced.cli("--json", "usage").stdout)
    assert parsed["total"]["requests"] == 1
    why = priced.cli("why", reply.headers["x-request-id"])
    assert "RECEIPT" in why.stdout and "fee of CPU" in why.stdout


def test_job_that_is_retried_pays_for_each_run(priced: Server) -> None:
    """Each has a receipt; by the job's own id one finds its last."""
    priced.deploy(fake("again", tokens_per_second=50))
    job = jobs.send(priced, "again", jobs.prompt(tokens=100), execution_timeout=1, max_attempts=1)
    first = jobs.over(priced, job)
    assert (first["status"], first["error"]["code"]) == ("failed", "deadline_exceeded"), first
    priced.deploy(fake("again", tokens_per_second=1000))
    serving = lambda: priced.chat("again", max_tokens=1).headers["x-glowplug-revision"]  # noqa: E731
    wait_until(lambda: serving() == "2", 20, "the faster one serves")
    calls = usage_requests(priced)
    assert priced.post(f"/v1/jobs/{job}/retry").status_code == 202
    second = jobs.over(priced, job)
    assert second["status"] == "completed" and second["request_id"] != first["request_id"], second
    failed, done = (receipt(priced, one["request_id"]) for one in (first, second))
    assert (failed["terminal"], done["terminal"]) == ("failed", "completed")
    assert failed["platform_micros"] > 0 == failed["cost_micros"], failed
    assert done["cost_micros"] > FEE and done["platform_micros"] == 0, done
    assert receipt(priced, job) == done
    wait_until(lambda: usage_requests(priced) > calls, 10, "both are in the sums")
    assert_law(priced)
