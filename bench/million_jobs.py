#!/usr/bin/env python3
"""A million queued jobs on one server: what accepting and starting others takes then, what the server holds, how soon a
killed one serves again.

The jobs are of a function whose replica does not become ready. Before and after they are there: calls are accepted at
a set pace and as fast as 64 connections go, and jobs of another function, warm, run one after another from their call
to their result, as their caller sees it. Then the server is killed with SIGKILL and started again: the time from exec
until it listens, until it accepts a job, until that has run. No peer.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator

from common import Row, mb, report, spread, table, tcp
from queues_at_hand import NEVER_READY, contestant_of, glowplug, load
from support import processes
from support.server import Server, fake

QUICK = "quick"
EVENT = {"content-type": "application/json", "x-invocation-type": "Event"}
BODY = json.dumps({"body": {"prompt": "x", "max_tokens": 1}})
WITHIN, MEMORY_BYTES, RESTART_SECONDS = 2, 150e6, 10


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> dict:
    connection.request(method, path, body, EVENT)
    reply = connection.getresponse()
    text = reply.read()
    if reply.status >= 300:
        raise SystemExit(f"{method} {path}: {reply.status} {text[:300]!r}")
    return json.loads(text)


def run_one(connection: http.client.HTTPConnection) -> dict:
    """A job of the quick function, from its call to its end."""
    job = ask(connection, "POST", f"/v1/functions/{QUICK}/invoke", BODY)
    while job["status"] in ("queued", "in_progress"):
        job = ask(connection, "GET", f"/v1/jobs/{job['id']}?wait=60")
    if job["status"] != "completed":
        raise SystemExit(f"a job of {QUICK} is {job['status']}: {job}")
    return job


def look(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """What accepting and running take now."""
    stuck = contestant_of(server, NEVER_READY)
    paced = load(stuck, rate=options.rate, seconds=options.seconds, connections=64)
    closed = load(stuck, seconds=options.seconds, connections=64)
    connection, took = tcp(server.url), []
    for number in range(options.runs + 20):
        began = time.perf_counter()
        run_one(connection)
        if number >= 20:  # the first warm it up
            took.append((time.perf_counter() - began) * 1e3)
    connection.close()
    held = {kind: processes.memory_bytes(server.pid, kind) for kind in ("VmRSS", "RssAnon", "VmHWM")}
    return {"paced": paced, "closed": closed, "run_ms": spread(took), "held": held}


def fill(server: Server, wanted: int) -> dict[str, float]:
    """Queues so many more, and what that took."""
    return load(contestant_of(server, NEVER_READY), total=wanted, connections=64, bound=3600)


def restart(server: Server) -> dict[str, float]:
    """kill -9 and a start in the same folder, with seconds from exec."""
    server.kill()
    began = time.monotonic()
    server.start()
    listens = time.monotonic() - began
    with contextlib.closing(tcp(server.url)) as connection:
        ask(connection, "POST", f"/v1/functions/{NEVER_READY}/invoke", BODY)
        accepts = time.monotonic() - began
        run_one(connection)
    return {"listens": listens, "accepts": accepts, "has_run_one": time.monotonic() - began}


@contextlib.contextmanager
def running(folder: str | None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="glowplug-bench-", dir=folder) as place:
        with glowplug(Path(place)) as (_, server):
            server.start_seconds = 300
            server.deploy(fake(QUICK, load_time="1ms", tokens_per_second=1_000_000, slots=4, keep_alive=-1))
            yield server


def rows_of(few: dict, many: dict, restarts: list[dict], after: dict[str, int]) -> list[Row]:
    def pair(what: str, before: float, then: float) -> Row:
        return Row(what, f"≤ {WITHIN} ×", f"{before:.2f} → {then:.2f} ms", "", f"{then / before:.2f} ×")

    rows = [
        pair("accepted at a set pace, p99", few["paced"]["p99_ms"], many["paced"]["p99_ms"]),
        pair("accepted as fast as it goes, p99", few["closed"]["p99_ms"], many["closed"]["p99_ms"]),
        pair("from call to result, warm, p50", few["run_ms"]["median"], many["run_ms"]["median"]),
        pair("from call to result, warm, p99", few["run_ms"]["p99"], many["run_ms"]["p99"]),
        Row("accepted a second", "", f"{few['closed']['per_second']:.0f} → {many['closed']['per_second']:.0f}"),
        Row("memory (RSS) while they wait", f"≤ {mb(MEMORY_BYTES)}", mb(many["held"]["VmRSS"])),
        Row("memory (RSS) after a restart", f"≤ {mb(MEMORY_BYTES)}", mb(after["VmRSS"])),
        Row("  at most, while it started", "", mb(after["VmHWM"])),
    ]
    for moment in ("listens", "accepts", "has_run_one"):
        seen = [row[moment] for row in restarts]
        goal = f"≤ {RESTART_SECONDS} s" if moment == "accepts" else ""
        what = f"after kill -9: {moment.replace('_', ' ')}"
        rows.append(Row(what, goal, f"{statistics.median(seen):.2f} s (most {max(seen):.2f})"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=1000, help="calls a second of the set pace")
    parser.add_argument("--seconds", type=float, default=10, help="of one run of the load")
    parser.add_argument("--runs", type=int, default=500, help="jobs from call to result")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--folder", help="where the server keeps its files")
    parser.add_argument("--quick", action="store_true", help="few and small: shows that it runs, measures nothing")
    options = parser.parse_args()
    if options.quick:
        options.jobs, options.seconds, options.runs, options.restarts = 5_000, 1, 30, 1
    with running(options.folder) as server:
        few = look(server, options)
        there = few["paced"]["accepted"] + few["closed"]["accepted"]
        filled = fill(server, max(1, options.jobs - int(there)))
        many = look(server, options)
        restarts = [restart(server) for _ in range(options.restarts)]
        after = {kind: processes.memory_bytes(server.pid, kind) for kind in ("VmRSS", "RssAnon", "VmHWM")}
    lines = [
        f"{options.jobs} jobs of 512 bytes queued at {filled['per_second']:.0f}/s; then {options.seconds:g} s at "
        f"{options.rate:g}/s and as fast as 64 connections go, {options.runs} jobs from call to result",
        table(rows_of(few, many, restarts, after)),
    ]
    figures = {"few": few, "fill": filled, "many": many, "restarts_seconds": restarts, "held_after_restart": after}
    report("million_jobs", "\n".join(lines), figures)


if __name__ == "__main__":
    main()
