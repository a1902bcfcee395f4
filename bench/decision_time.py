#!/usr/bin/env python3
"""How long the brain takes for a turn, in processor time: with ten thousand functions on a fleet of a thousand devices,
and with two hundred functions on a small machine that bursts fill with waiting calls.

On the fleet traffic is Poisson over functions by Zipf; it cannot hold all of them at once, so turns place, evict and
scale besides granting, with no template and next to no queue. The small machine has templates and spares, room for few
of them, and more calls in a burst than it can answer, so that many functions have calls that wait while others give
way. A turn is one event and all that is decided on it: the tick at which autoscalers are asked is one turn for all
functions, and may be the longest. What carries effects out is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from typing import Any

from common import report, spread
from support.server import GLOWPLUG

GOAL_S = 0.001  # p99
FLEET = """
machine: {memory: 100TB, template_memory: 0, page_cache: 100TB, cores: 1000}
devices: [{type: T4, memory: 16GiB, count: 600}, {type: A10G, memory: 24GiB, count: 300},
          {type: A100, memory: 80GiB, count: 100}]
files: own
models:
  - {name: small, share: 6, file: 1GB, kv_per_token: 20KB, threads: 0, prefill_tokens_per_s: 1000, step: 20ms}
  - {name: medium, share: 3, file: 8GB, kv_per_token: 130KB, threads: 0, prefill_tokens_per_s: 500, step: 60ms}
  - {name: large, share: 1, file: 40GB, kv_per_token: 300KB, threads: 0, prefill_tokens_per_s: 250, step: 120ms}
function: {context: 4096, slots: 8, scale: {max: 20}}
"""
CROWDED = """
machine: {memory: 900MB, page_cache: 700MB, cores: 2}
function: {keep_alive: 20s}
"""


def played(world: str, rounds: int, *traffic: str) -> list[dict[str, Any]]:
    """The figures of each round, which is a seed of its own."""
    figures = []
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(world)
        file.flush()
        for seed in range(1, rounds + 1):
            command = [str(GLOWPLUG), "simulate", *traffic, "--seed", str(seed), "--model", file.name, "--zipf", "1",
                       "--no-checks", "--time-turns", "--json"]  # fmt: skip
            figures.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return figures


def in_words(of: str, figures: list[dict[str, Any]]) -> str:
    last, turns = figures[-1], [one["turn"] for one in figures]
    p99 = spread([turn["p99_s"] for turn in turns])["median"]
    longest = max(turn["longest_s"] for turn in turns)
    return (
        f"{of}: p50 {turns[-1]['p50_s'] * 1e6:.0f} µs, p99 {p99 * 1e3:.3f} ms (goal {GOAL_S * 1e3:.0f}), longest "
        f"{longest * 1e3:.1f} ms; {last['calls']} calls, {sum(last['refused'].values())} refused, {last['cold']} cold, "
        f"{last['evicted']} evicted, {last['replicas_most']} at once"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100, help="calls a second of the simulated time")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--crowded-requests", type=int, default=5_000, help="of the small machine")
    options = parser.parse_args()
    fleet = played(FLEET, options.rounds, "--generate", "poisson", "--rate", str(options.rate), "--functions",
                   str(options.functions), "--length", "48h", "--requests", str(options.requests))  # fmt: skip
    crowded = played(CROWDED, options.rounds, "--generate", "bursts", "--rate", "5", "--functions", "200", "--length",
                     "20m", "--requests", str(options.crowded_requests))  # fmt: skip
    worlds = {"fleet": fleet, "crowded": crowded}
    told = [
        in_words(f"{options.functions} functions on 1,000 devices", fleet),
        in_words("200 functions on a machine for few", crowded),
    ]
    report(
        "decision_time",
        "a turn\n  " + "\n  ".join(told),
        {"unit": "s", "goal": GOAL_S, "functions": options.functions}
        | {name: {"p99": spread([one["turn"]["p99_s"] for one in figures]),
                  "turns": [one["turn"] for one in figures],
                  "calls": [one["calls"] for one in figures]} for name, figures in worlds.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
