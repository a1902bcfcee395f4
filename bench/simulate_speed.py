#!/usr/bin/env python3
"""How many calls the simulator plays in a second of one core, the whole brain deciding each of them; and the same with
every rule checked after every turn of the brain.

The traffic is made up: Poisson over ten functions that are warm nearly always, on a machine whose replicas take none of
its cores. `--functions 1000` plays scattered calls instead. A B A B …
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
from pathlib import Path

from common import report, spread
from support.server import GLOWPLUG

GOAL = 100_000  # calls a second
WORLD = """
machine: {memory: 64GB, cores: 8}
models: [{name: small, file: 1GB, kv_per_token: 20000, threads: 0, prefill_tokens_per_s: 20000, step: 2ms,
          step_stream: 0.1ms, step_mixed: 10ms}]
function: {slots: 32, scale: {max: 4}}
"""


def play(world: Path, options: argparse.Namespace, *more: str) -> float:
    """Calls played in a second of processor time, so that what else runs here takes nothing away."""
    command = [
        str(GLOWPLUG), "simulate", "--generate", "poisson", "--rate", str(options.rate),
        "--functions", str(options.functions), "--length", "48h", "--requests", str(options.requests),
        "--prompt-tokens", "200:1", "--output-tokens", "60:0.9", "--model", str(world), "--json", *more,
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert told["answered"] == told["calls"] == options.requests, told
    return told["calls"] / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--functions", type=int, default=10)
    parser.add_argument("--rate", type=float, default=50, help="calls a second of the simulated time")
    options = parser.parse_args()
    plain, checked = [], []
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world.yaml"
        world.write_text(WORLD)
        for _ in range(options.rounds):
            plain.append(play(world, options, "--no-checks"))
            checked.append(play(world, options))
    a, b = spread(plain), spread(checked)
    report(
        "simulate_speed",
        f"calls a second of one core: {a['median']:.0f} (p10 {a['p10']:.0f}, goal {GOAL}), with every rule checked "
        f"{b['median']:.0f}; {options.requests} calls, {options.functions} functions",
        {"unit": "calls/s", "plain": a, "checked": b, "goal": GOAL, "functions": options.functions},
    )


if __name__ == "__main__":
    main()
