#!/usr/bin/env python3
"""A batch of 100,000 lines from its upload to its output file, while somebody else calls and waits: how long it takes,
what the server holds, and how much longer those calls take than without it.

On the fake engine, so that the server is measured and not a model: eight slots, two tokens a line. The calls go to a
function of their own, one every 50 ms.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time

from common import Row, arguments, mb, post, report, spread, table, tcp, until
from support import processes
from support.server import Server, fake

OVER = {"completed", "failed", "expired", "cancelled"}
EVERY_S = 0.05


class Caller:
    """Calls in a loop until the block ends; `seconds` holds how long each took, `failed` what was not answered."""

    def __init__(self, url: str, name: str) -> None:
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._url, self._name = url, name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = tcp(self._url)
        body = {"model": self._name, "max_tokens": 2, "messages": [{"role": "user", "content": "a call"}]}
        while not self._stop.wait(EVERY_S):
            began = time.perf_counter()
            reply = post(connection, "/v1/chat/completions", body)
            text = reply.read()
            self.seconds.append(time.perf_counter() - began)
            if reply.status != 200:
                self.failed.append(f"{reply.status} {text[:100]!r}")


def run_batch(server: Server, lines: int) -> tuple[dict, float]:
    """(the batch at its end, seconds from the upload on)"""
    body = {"model": "lines", "max_tokens": 2, "messages": [{"role": "user", "content": "a line"}]}
    about = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    text = "".join(json.dumps({"custom_id": f"id-{n}"} | about) + "\n" for n in range(lines))
    began = time.perf_counter()
    file = server.http.post(
        "/v1/files", files={"file": ("lines.jsonl", text.encode())}, data={"purpose": "batch"}
    ).json()["id"]
    wish = {"input_file_id": file, "endpoint": about["url"], "completion_window": "24h"}
    batch = server.post("/v1/batches", wish).json()

    def is_over() -> bool:
        nonlocal batch
        batch = server.get(f"/v1/batches/{batch['id']}").json()
        time.sleep(0.2)
        return batch["status"] in OVER

    until(is_over, 3600, "the batch is over")
    return batch, time.perf_counter() - began


def main() -> None:
    parser = arguments(__doc__, one_model=False)
    parser.add_argument("--lines", type=int, default=100_000)
    options = parser.parse_args()
    if options.quick:
        options.lines = 500
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(f"batch_lines: {options.lines}\n")
        config.flush()
        with Server("--config", config.name) as server:
            for name in ("lines", "calls"):
                server.deploy(fake(name, slots=8, tokens_per_second=10_000, scale={"max": 1}))
            with Caller(server.url, "calls") as alone:
                time.sleep(2 if options.quick else 20)
            before = processes.memory_bytes(server.pid, "VmRSS")
            with Caller(server.url, "calls") as beside:
                batch, took = run_batch(server, options.lines)
            most = processes.memory_bytes(server.pid, "VmHWM")
    counts = batch["request_counts"]
    assert batch["status"] == "completed" and counts["completed"] == options.lines, batch
    failed = alone.failed + beside.failed
    calls, quiet = spread(beside.seconds), spread(alone.seconds)
    lines = [
        Row("from the upload to the output file", "", f"{took:.1f} s"),
        Row("lines a second", "", f"{options.lines / took:,.0f}"),
        Row("the server holds (RSS), before; at most", "", f"{mb(before)}; {mb(most)}"),
        Row(
            "a call meanwhile, p50; p99",
            "",
            f"{calls['median'] * 1000:.1f}; {calls['p99'] * 1000:.1f} ms",
            f"without the batch {quiet['median'] * 1000:.1f}; {quiet['p99'] * 1000:.1f} ms",
        ),
        Row("calls that were not answered", "0", f"{len(failed)} of {len(alone.seconds + beside.seconds)}"),
    ]
    report(
        "large_batch",
        f"a batch of {options.lines:,} lines\n{table(lines)}",
        {
            "unit": "s",
            "lines": options.lines,
            "seconds": took,
            "rss_before": before,
            "rss_most": most,
            "calls": calls,
            "calls_alone": quiet,
            "failed": failed[:10],
        },
    )


if __name__ == "__main__":
    main()
