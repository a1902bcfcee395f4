#!/usr/bin/env python3
"""How many calls a second are accepted for good: a 202 says that the job is on the disk, an fsync came before it.

64 connections, one call under way on each (no pipelining), bodies of 512 bytes, one machine, one load program for all
(durable_client.cc): `POST /v1/functions/NAME/invoke` with `X-Invocation-Type: Event` of a function whose replica does
not become ready, so that nothing but accepting is measured; Redis, `XADD` with appendfsync always; nats-server,
JetStream publish with file storage and sync_interval always, one replica. A B C A B C, medians over the rounds.

Then, apart from the figures, a short run of each under strace counts the syncs. A sync can cover no more calls than
there are connections, so that fewer syncs than that would say that a reply came before one.

--draining: beside it, the same with a function that runs what is accepted, as fast as it can.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import Row, arguments, report, spread, table
from queues_at_hand import Contestant, contestant_of, glowplug, jetstream, load, nats_server, redis, redis_server
from queues_at_hand import sync_ms, syncs_during, version_of
from support.server import fake

JOBS_PER_SECOND, P99_MS = 10_000, 20
OF_REDIS, OF_JETSTREAM = 0.5, 4


def counted(one: Contestant, seconds: float, connections: int) -> dict[str, float]:
    """Syncs of a short run; more of what was accepted than syncs can have covered ends the measurement."""
    run = lambda: load(one, seconds=seconds, warm_up=0, connections=connections)  # noqa: E731
    syncs, seen = syncs_during(one.pid, run)
    if syncs * connections < seen["accepted"]:
        raise SystemExit(f"{one.name}: {seen['accepted']} accepted with {syncs} syncs of {connections} connections")
    return {"syncs": syncs, "accepted": seen["accepted"], "accepted_per_sync": seen["accepted"] / syncs}


def measure(all_: list[Contestant], options: Any) -> dict[str, dict[str, Any]]:
    runs: dict[str, list[dict[str, float]]] = {one.name: [] for one in all_}
    for turn in range(options.rounds + 1):
        for one in all_:
            seen = load(one, seconds=options.seconds, connections=options.connections)
            if seen["refused"]:
                raise SystemExit(f"{one.name} has refused {seen['refused']} calls")
            if turn:  # the first turn warms the machine
                runs[one.name].append(seen)
    return {
        name: {
            "per_second": spread([row["per_second"] for row in rows]),
            "p50_ms": spread([row["p50_ms"] for row in rows]),
            "p99_ms": spread([row["p99_ms"] for row in rows]),
            "max_ms": max(row["max_ms"] for row in rows),
            "client_cpu_share": statistics.median(row["client_cpu_share"] for row in rows),
        }
        for name, rows in runs.items()
    }


def rows_of(results: dict[str, dict[str, Any]], names: list[str]) -> list[Row]:
    ours = results[names[0]]
    goals = {names[1]: f"≥ {OF_REDIS} ×", names[2]: f"≥ {OF_JETSTREAM} ×"}
    rows = []
    for name, row in results.items():
        figure = (
            f"{row['per_second']['median']:.0f}/s, p50 {row['p50_ms']['median']:.2f} ms, "
            f"p99 {row['p99_ms']['median']:.2f} ms"
        )
        if name in goals:
            ratio = ours["per_second"]["median"] / row["per_second"]["median"]
            rows.append(Row(name, goals[name], "", figure, f"{ratio:.2f} ×"))
        else:
            goal = f"≥ {JOBS_PER_SECOND}/s, p99 ≤ {P99_MS} ms" if name == names[0] else ""
            rows.append(Row(name, goal, figure))
        if "counted" in row:
            covers = f"{row['counted']['accepted_per_sync']:.1f} calls for one sync"
            rows.append(Row("  syncs counted", "", covers))
    return rows


def main() -> None:
    parser = arguments(__doc__, rounds=7, one_model=False)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5, help="of one run")
    parser.add_argument("--folder", help="where the servers keep their files; default: the temporary folder")
    parser.add_argument("--draining", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glowplug-bench-", dir=options.folder)))
        places = [folder / name for name in ("glowplug", "redis", "nats")]
        for place in places:
            place.mkdir()
        floor = sync_ms(folder)
        ours, server = stack.enter_context(glowplug(places[0]))
        peers = [stack.enter_context(redis(places[1])), stack.enter_context(jetstream(places[2]))]
        all_ = [ours, *peers]
        if options.draining:
            quick = fake("quick", load_time="1ms", tokens_per_second=1_000_000, slots=8, scale={"max": 1})
            all_.append(contestant_of(server, server.deploy(quick))._replace(name="glowplug, running them meanwhile"))
        results = measure(all_, options)
        for one in [ours, *peers]:
            results[one.name]["counted"] = counted(one, min(options.seconds, 3), options.connections)
        floor += sync_ms(folder)
    versions = {"redis": version_of(redis_server()), "nats-server": version_of(nats_server())}
    probe = spread(floor)
    lines = [
        f"{options.connections} connections, 512 bytes, {options.rounds} rounds of {options.seconds:g} s; "
        f"Redis {versions['redis']}, nats-server {versions['nats-server']}; a write of 4 KiB and its fdatasync: "
        f"p50 {probe['median']:.2f} ms, p99 {probe['p99']:.2f} ms",
        table(rows_of(results, [one.name for one in all_])),
    ]
    report("durable_accept", "\n".join(lines), {"versions": versions, "sync_ms": probe, "contestants": results})


if __name__ == "__main__":
    main()
