#!/usr/bin/env python3
"""Ten thousand deployed functions on one server: what it holds, what the list of models takes, what a call takes.

The functions have the fake engine and the server the real control process, gateway and storage. A few of them are
called from zero and one while it is warm, first with --few deployed and then with all, so that the ratio says whether
it matters how many there are. No peer: none of those that we run beside us has functions that are deployed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from typing import Any, Callable

from common import report, spread, tcp
from support import processes
from support.server import Server, fake

CHAT = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}


def milliseconds(ask: Callable[[], None]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1e3


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: dict | None = None) -> None:
    connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    if reply.status >= 300:
        raise SystemExit(f"{method} {path}: {reply.status} {text[:300]!r}")


def measure(server: Server, connection: http.client.HTTPConnection, deployed: int, calls: int) -> dict[str, Any]:
    def call(name: str) -> float:
        return milliseconds(lambda: ask(connection, "POST", "/v1/chat/completions", {"model": name, **CHAT}))

    ask(connection, "GET", "/healthz")
    cold = [call(f"f{number * (deployed // calls)}") for number in range(calls)]
    warm = [call("f0") for _ in range(calls + 1)][1:]
    lists = [milliseconds(lambda: ask(connection, "GET", "/v1/models")) for _ in range(calls)]
    return {
        "rss_mb": processes.memory_bytes(server.pid, "VmRSS") / 1e6,
        "from_zero_ms": spread(cold),
        "warm_ms": spread(warm),
        "models_ms": spread(lists),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="show that it runs; measures nothing")
    options = parser.parse_args()
    if options.quick:
        options.functions, options.few, options.calls = 200, 20, 5
    results: dict[str, dict[str, Any]] = {}
    deploys: list[float] = []
    with Server("--log-level", "warn") as server:
        connection = tcp(server.url)
        for number in range(options.functions):
            manifest = fake(f"f{number}", load_time="1ms", tokens_per_second=10_000)
            put = lambda: ask(connection, "PUT", f"/v1/functions/{manifest['name']}", manifest)  # noqa: E731, B023
            deploys.append(milliseconds(put))
            if number + 1 in (options.few, options.functions):
                results[f"{number + 1}"] = measure(server, connection, number + 1, options.calls)
    lines = [
        f"{count} functions: RSS {r['rss_mb']:.0f} MB, /v1/models {r['models_ms']['median']:.1f} ms, "
        f"warm call {r['warm_ms']['median']:.2f} ms, from zero {r['from_zero_ms']['median']:.1f} ms"
        for count, r in results.items()
    ]
    deploy = {"first": spread(deploys[: options.few]), "last": spread(deploys[-options.few :])}
    lines.append(f"a deploy: first {deploy['first']['median']:.2f} ms, last {deploy['last']['median']:.2f} ms")
    report("many_functions", "\n".join(lines), {"unit": "ms", "deploy_ms": deploy, **results})


if __name__ == "__main__":
    main()
