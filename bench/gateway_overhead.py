#!/usr/bin/env python3
"""What the gateway adds to one warm, plain request: through the gateway, and straight to the fake replica's socket.

The two alternate request by request (A B A B …) on kept connections, so drift of the machine hits both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from common import UnixConnection, post, report, spread, tcp
from support.server import Server, fake


def replica_socket(pids: list[int]) -> str:
    """The listening Unix socket of the one replica, as the kernel lists it."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = link.readlink().as_posix()
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if (
            len(fields) == 8 and fields[6] in inodes and fields[3] == "00010000"
        ):  # __SO_ACCEPTCON: listening
            return fields[7]
    raise SystemExit("the replica listens on no Unix socket")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each kind")
    options = parser.parse_args()
    body = {
        "model": "bench",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 1,
        "temperature": 0,
    }
    with Server() as server:
        server.deploy(fake("bench", tokens_per_second=1_000_000, load_time="0ms"))
        server.chat("bench", max_tokens=1)
        through, direct = tcp(server.url), UnixConnection(replica_socket(server.replica_pids()))

        def once(connection) -> float:
            started = time.perf_counter()
            reply = post(connection, "/v1/chat/completions", body)
            data = reply.read()
            took = time.perf_counter() - started
            if reply.status != 200:
                raise SystemExit(f"{reply.status} {data[:300]!r}")
            return took * 1000

        for _ in range(200):  # warm-up, not counted
            once(through), once(direct)
        pairs = [(once(through), once(direct)) for _ in range(options.requests)]
        added = [a - b for a, b in pairs]
    a, b = spread([p[0] for p in pairs]), spread([p[1] for p in pairs])
    report(
        "gateway_overhead",
        f"p50 {a['median']:.3f} ms through the gateway, {b['median']:.3f} ms direct: added p50 "
        f"{a['median'] - b['median']:.3f} ms ({a['median'] / b['median']:.2f} ×)",
        {
            "unit": "ms",
            "through": a,
            "direct": b,
            "added_p50_ms": a["median"] - b["median"],
            "added_pairwise_median_ms": statistics.median(added),
            "ratio": a["median"] / b["median"],
        },
    )


if __name__ == "__main__":
    main()
