#!/usr/bin/env python3
"""How long the brain takes for a turn with ten thousand functions on a fleet of a thousand devices, in processor time.

Traffic is Poisson over functions by Zipf. The fleet cannot hold all of them at once, so turns place, evict and scale
besides granting. A turn is one event and all that is decided on it: the tick at which autoscalers are asked is one turn
for all functions, and is the longest. What carries effects out is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from common import report, spread
from support.server import GLOWPLUG

GOAL_S = 0.001  # p99
WORLD = """
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100, help="calls a second of the simulated time")
    parser.add_argument("--requests", type=int, default=100_000)
    options = parser.parse_args()
    turns, told = [], {}
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world.yaml"
        world.write_text(WORLD)
        for seed in range(1, options.rounds + 1):
            command = [
                str(GLOWPLUG), "simulate", "--generate", "poisson", "--rate", str(options.rate), "--seed", str(seed),
                "--functions", str(options.functions), "--zipf", "1", "--length", "48h", "--model", str(world),
                "--requests", str(options.requests), "--no-checks", "--time-turns", "--json",
            ]  # fmt: skip
            told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            turns.append(told["turn"])
    p99 = spread([turn["p99_s"] for turn in turns])
    last = turns[-1]
    report(
        "decision_time",
        f"a turn: p50 {last['p50_s'] * 1e6:.0f} µs, p99 {p99['median'] * 1e3:.3f} ms (goal {GOAL_S * 1e3:.0f}), "
        f"longest {max(turn['longest_s'] for turn in turns) * 1e3:.1f} ms; {options.functions} functions, "
        f"{told['calls']} calls, {told['cold']} cold, {told['evicted']} evicted, {told['replicas_most']} at once",
        {"unit": "s", "p99": p99, "turns": turns, "goal": GOAL_S, "functions": options.functions},
    )


if __name__ == "__main__":
    main()
