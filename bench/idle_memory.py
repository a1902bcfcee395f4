#!/usr/bin/env python3
"""Memory of a server that serves nothing, RSS and PSS: fresh, with functions deployed, and after calls and scale to
zero."""

from __future__ import annotations

import argparse

from common import report, spread
from support import processes
from support.server import Server, fake


def sample(server: Server) -> dict[str, float]:
    return {
        kind: processes.memory_bytes(server.pid, name) / 1e6
        for kind, name in (("rss", "VmRSS"), ("pss", "Pss"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--functions", type=int, default=100)
    options = parser.parse_args()
    samples: dict[str, list[dict[str, float]]] = {"fresh": [], "deployed": [], "after_calls": []}
    for _ in range(options.runs):
        with Server() as server:
            server.get("/healthz")
            samples["fresh"].append(sample(server))
            for number in range(options.functions):
                server.deploy(fake(f"f{number}", keep_alive="100ms"))
            samples["deployed"].append(sample(server))
            for number in range(200):
                server.chat(f"f{number % 10}", max_tokens=4)
            for number in range(10):
                server.wait_state(f"f{number}", "cold", 10)
            samples["after_calls"].append(sample(server))
    results = {
        stage: {kind: spread([s[kind] for s in rows]) for kind in ("rss", "pss")}
        for stage, rows in samples.items()
    }
    line = ", ".join(
        f"{stage} {r['rss']['median']:.1f} (PSS {r['pss']['median']:.1f})"
        for stage, r in results.items()
    )
    report(
        "idle_memory",
        f"RSS in MB: {line}; {options.functions} functions",
        {"unit": "MB", **results},
    )


if __name__ == "__main__":
    main()
