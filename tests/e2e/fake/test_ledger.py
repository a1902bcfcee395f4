"""Contract line 68, fault row 65: the ledger is the sum of what callers were told, whatever became of their calls, with
the server killed among them or the ledger's database held by somebody else meanwhile: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import httpx
import pytest
from support import jobs
from support.counts import look
from support.server import Server, fake, wait_until


@dataclass(frozen=True)
class Told:
    """What a caller knows of one call. Of one that it left it knows how many tokens it had, and not how many came."""

    function: str
    terminal: str
    completion: int
    prompt: int | None = None
    at_least: bool = False

    def faults(self, receipt: dict[str, Any]) -> list[str]:
        tokens = receipt["tokens"]
        said = {"function": self.function, "terminal": self.terminal}
        found = [f"{name} is {receipt[name]}, not {value}" for name, value in said.items() if receipt[name] != value]
        few, many = tokens["completion"] < self.completion, tokens["completion"] > self.completion
        if few or (many and not self.at_least):
            found.append(f"{tokens['completion']} completion tokens, not {self.completion}")
        if self.prompt is not None and tokens["prompt"] != self.prompt:
            found.append(f"{tokens['prompt']} prompt tokens, not {self.prompt}")
        if self.terminal in ("failed", "lost") and receipt["cost_micros"] != 0:
            found.append(f"costs {receipt['cost_micros']}")
        return found


class Callers:
    """Calls of all kinds; `told` by request id."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.told: dict[str, Told] = {}
        self._lock = threading.Lock()

    def note(self, request: str, told: Told) -> None:
        with self._lock:
            assert request not in self.told
            self.told[request] = told

    def _note_usage(self, reply: httpx.Response, function: str, usage: dict[str, Any]) -> None:
        told = Told(function, "completed", usage["completion_tokens"], usage["prompt_tokens"])
        self.note(reply.headers["x-request-id"], told)

    def whole(self, number: int) -> None:
        reply = self.server.chat("echo", f"whole {number}", max_tokens=3 + number)
        self._note_usage(reply, "echo", reply.json()["usage"])

    def choices(self, number: int) -> None:
        reply = self.server.chat("echo", f"choices {number}", max_tokens=4, n=2)
        assert reply.json()["usage"]["completion_tokens"] == 8
        self._note_usage(reply, "echo", reply.json()["usage"])

    def event(self, number: int) -> None:
        reply = self.server.post("/v1/functions/echo/invoke", {"body": jobs.prompt(f"event {number}", 5)})
        self._note_usage(reply, "echo", reply.json()["body"]["usage"])

    def stream(self, number: int) -> None:
        options = {"stream_options": {"include_usage": True}} if number % 2 else {}
        with self.server.stream("echo", f"stream {number}", max_tokens=6, **options) as reply:
            pieces, usage = read_stream(reply)
        assert pieces == 6 and (usage is not None) == bool(options)
        told = Told("echo", "completed", pieces, usage["prompt_tokens"] if usage else None)
        self.note(reply.headers["x-request-id"], told)

    def left(self, number: int) -> None:
        with self.server.stream("slow", f"left {number}", max_tokens=500) as reply:
            pieces, _ = read_stream(reply, most=3)
        self.note(reply.headers["x-request-id"], Told("slow", "cancelled", pieces, at_least=True))

    def broken_off(self, number: int) -> None:
        """What a caller had of it before its replica died is what the ledger tells, and it costs nothing."""
        with self.server.stream(f"breaks-{number}", "break", max_tokens=50) as reply:
            pieces, _ = read_stream(reply)
        assert pieces == 5
        self.note(reply.headers["x-request-id"], Told(f"breaks-{number}", "failed", pieces))

    def job(self, number: int) -> None:
        job = jobs.send(self.server, "echo", jobs.prompt(f"job {number}", 4))
        self.note_job(jobs.over(self.server, job, 60))

    def cancelled_job(self, number: int) -> None:
        job = jobs.send(self.server, "slow", jobs.prompt(f"cancelled {number}", 500))
        wait_until(lambda: jobs.look(self.server, job)["status"] == "in_progress", 30, "it runs")
        assert self.server.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
        self.note_job(jobs.look(self.server, job))

    def note_job(self, view: dict[str, Any]) -> None:
        function, status = view["function"], view["status"]
        if status == "completed":
            usage = view["result"]["body"]["usage"]
            self.note(view["request_id"], Told(function, status, usage["completion_tokens"], usage["prompt_tokens"]))
        else:
            self.note(view["request_id"], Told(function, status, 0, at_least=True))

    def faults(self) -> Iterator[str]:
        """What the ledger tells otherwise than the callers were told."""
        total = {"requests": 0, "completion_tokens": 0, "prompt_tokens": 0, "cost_micros": 0}
        for request, told in self.told.items():
            reply = self.server.get(f"/v1/admin/usage/{request}")
            if reply.status_code != 200:
                yield f"{request} ({told}) has no receipt: {reply.status_code} {reply.text[:200]}"
                continue
            receipt = reply.json()
            yield from (f"{request} ({told}): {fault}" for fault in told.faults(receipt))
            total["requests"] += 1
            total["completion_tokens"] += receipt["tokens"]["completion"]
            total["prompt_tokens"] += receipt["tokens"]["prompt"]
            total["cost_micros"] += receipt["cost_micros"]
        summed = self.server.get("/v1/admin/usage").json()["total"]
        for field, value in total.items():
            if summed[field] != value:
                yield f"{field}: the ledger sums up {summed[field]}, its receipts {value}"

    def check(self) -> None:
        faults = list(self.faults())
        assert not faults, "\n".join(faults[:20])


def read_stream(reply: httpx.Response, most: int | None = None) -> tuple[int, dict[str, Any] | None]:
    """How many pieces of content came, and the usage where it came; ends after `most` pieces, or where it breaks."""
    assert reply.status_code == 200
    pieces, usage = 0, None
    with contextlib.suppress(httpx.RemoteProtocolError):
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            usage = chunk.get("usage") or usage
            pieces += sum(bool(choice["delta"].get("content")) for choice in chunk.get("choices", []))
            if most is not None and pieces >= most:
                break
    return pieces, usage


BREAKS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--spares", "0", folder=tmp_path) as running:
        running.deploy(fake("echo", load_time="10ms", slots=8))
        running.deploy(fake("slow", load_time="10ms", tokens_per_second=20, slots=16, scale={"max": 1}))
        for number in range(BREAKS):
            breaks = fake(f"breaks-{number}", fault="crash_after_tokens:5", failover="off", template="off")
            running.deploy(breaks)
        yield running


def make_calls(callers: Callers, seed: int) -> None:
    kinds: list[tuple[Callable[[int], None], int]] = [
        (callers.whole, 12),
        (callers.choices, 4),
        (callers.event, 6),
        (callers.stream, 12),
        (callers.left, 4),
        (callers.broken_off, BREAKS),
        (callers.job, 8),
        (callers.cancelled_job, 2),
    ]
    calls = [(kind, number) for kind, count in kinds for number in range(count)]
    random.Random(seed).shuffle(calls)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(kind, number) for kind, number in calls]:
            done.result(timeout=90)
    wait_until(lambda: look(callers.server).open == 0, 30, "no call is open")


@pytest.mark.parametrize("seed", [1, 2])
def test_line_68_ledger_is_the_sum_of_what_callers_were_told_also_after_kills(server: Server, seed: int) -> None:
    callers = Callers(server)
    make_calls(callers, seed)
    callers.check()
    with server.stream("slow", "cut off", max_tokens=500) as reply:
        lines = reply.iter_lines()
        wait_until(lambda: '"content":"' in next(lines), 30, "it is answered")
        left = [jobs.send(server, "slow", jobs.prompt(f"left {i}", 20), max_attempts=9) for i in range(3)]
        wait_until(lambda: jobs.look(server, left[0])["status"] == "in_progress", 30, "a job runs")
        server.kill()
    callers.note(reply.headers["x-request-id"], Told("slow", "lost", 0, at_least=True))
    server.start()
    for job in left:
        callers.note_job(jobs.over(server, job, 60))
    callers.check()
    summed = server.get("/v1/admin/usage").json()["data"]
    for _ in range(2):  # what one server has folded the next one does not fold again
        server.kill()
        server.start()
        assert server.get("/v1/admin/usage").json()["data"] == summed
    callers.check()


def metric(server: Server, name: str) -> int:
    text = server.get("/metrics").text
    return int(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """A program of somebody else's has a transaction on it; it waits for its turn as long as it must."""
    with contextlib.closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@pytest.mark.parametrize("killed", [False, True], ids=["goes-on", "is-killed"])
def test_row_65_calls_are_answered_and_metered_while_the_database_takes_nothing(server: Server, killed: bool) -> None:
    """Their receipts lie in the log meanwhile, and are in the ledger once, whoever folds them."""
    callers = Callers(server)
    callers.whole(0)
    callers.left(0)
    callers.check()
    with held(server.data_dir / "glowplug.db"):
        for number in range(1, 11):
            callers.whole(number)
            callers.stream(number)
        callers.broken_off(0)
        failed = 'glowplug_usage_writes_failed_total{to="database"}'
        wait_until(lambda: metric(server, failed) > 0, 30, "the database takes nothing")
        assert metric(server, "glowplug_usage_log_bytes") > 0
        if killed:
            server.kill()
    if killed:
        server.start()
    wait_until(lambda: not list(callers.faults()), 30, "all is in the ledger")
    assert metric(server, "glowplug_usage_records_dropped_total") == 0
    assert metric(server, "glowplug_usage_records_damaged_total") == 0
    server.kill()
    server.start()
    callers.check()
