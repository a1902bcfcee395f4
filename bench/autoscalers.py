#!/usr/bin/env python3
"""The autoscalers beside what others do, on published traces, in the simulator: cold starts, what callers waited for
them, calls refused and lost, memory held, money. Writes the tables into docs/autoscalers.md and a picture beside it for
each trace.

The traces are not in the repository; --traces names a folder with ServeGen's client rates, Azure's LLM inference
trace and Azure's Functions sample (docs/autoscalers.md says where they are from). Each trace is played three times:
with each policy's own starts, once with a model file for each function and once with four files for all, and with all
starts by exec.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from common import ROOT, report
from support.server import GLOWPLUG

PAGE = ROOT / "docs/autoscalers.md"
KEPT = ("calls", "cold", "refused", "lost", "waited_for_starts_s", "memory_gb_seconds")
FIXED = ("keep-10s", "fixed-1m", "fixed-5m", "fixed-10m", "lru")  # all by exec, where they are compared
BEGIN, END = "<!-- begin: bench/autoscalers.py -->", "<!-- end -->"


class Trace(NamedTuple):
    name: str  # of its picture
    title: str
    file: str
    options: tuple[str, ...] = ()


TRACES = (
    Trace("servegen_small", "ServeGen m-small: 43 clients as functions, eight hours, 1 call in 5,000",
          "servegen_language_m-small_client_rates.csv.gz", ("--length", "8h", "--keep", "0.0002")),
    Trace("servegen_large", "ServeGen m-large: 162 clients as functions, a day, 1 call in 1,000",
          "servegen_language_m-large_client_rates.csv.gz", ("--length", "24h", "--keep", "0.001")),
    Trace("servegen_reason", "ServeGen deepseek-r1: 73 clients as functions, a day, 1 call in 100",
          "servegen_reason_deepseek-r1_client_rates.csv.gz", ("--keep", "0.01")),
    Trace("azure_code", "Azure LLM inference 2023, code: one function, an hour, bursts", "azure_llm_2023_code.csv.gz"),
    Trace("mooncake", "Mooncake, conversations: one function, an hour, 1 call in 50, long prompts",
          "mooncake_fast25_conversation.jsonl.gz", ("--keep", "0.02")),
    Trace("azure_functions", "Azure Functions 2021, a sample: 31 functions, 21 minutes",
          "azure_functions_2021_sample200.csv.gz"),
)  # fmt: skip


def plan(trace: Trace, options: argparse.Namespace, model: Path, *more: str) -> list[dict]:
    command = [
        str(GLOWPLUG), "plan", "--trace", str(options.traces / trace.file), "--model", str(model),
        "--seed", str(options.seed), "--json", *trace.options, *more,
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode != 0:
        raise SystemExit(told.stderr)
    policies = json.loads(told.stdout)["policies"]
    for one in policies:
        figures = one["figures"]
        figures["refused"] = sum(figures["refused"].values())
        figures["lost"] = figures["broken"] + figures["timed_out"] + figures["left"]
    return policies


def at(memory: float, curve: list[tuple[float, float]]) -> float:
    """Of a curve of (memory-seconds, cold-start seconds), what it has at so much memory; beyond its ends, what it has
    there."""
    curve = sorted(curve)
    for (less, slow), (more, fast) in itertools.pairwise(curve):
        if less <= memory <= more:
            return slow + (fast - slow) * (memory - less) / (more - less)
    return curve[0][1] if memory < curve[0][0] else curve[-1][1]


def judged(plans: dict[str, list[dict]]) -> str:
    """With starts held equal: predictive beside fixed keep-alives and beside who knows all calls to come, each between
    the two that hold just less and just more memory."""
    rows = [
        "| trace | predictive: cold-start seconds, for GB·s | a fixed keep-alive of that memory | ratio "
        "| who knows the calls | of the gap closed |",
        "|---|---|---|---|---|---|",
    ]
    for name, policies in plans.items():
        points = {
            one["policy"]: (one["figures"]["memory_gb_seconds"], one["figures"]["waited_for_starts_s"])
            for one in policies
        }
        memory, ours = points["predictive"]
        fixed = at(memory, [points[one] for one in FIXED])
        best = at(memory, [points[one] for one in points if one.startswith("oracle")])
        closed = f"{(fixed - ours) / (fixed - best):.0%}" if fixed > best else "-"
        rows.append(
            f"| {name} | {ours:,.1f}, {memory:,.0f} | {fixed:,.1f} | {ours / fixed:.2f} × | {best:,.1f} | {closed} |"
        )
    return "\n".join(rows)


def seconds(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def table(policies: list[dict]) -> str:
    rows = [
        "| policy | cold starts | cold-start seconds | refused | lost | wait p50 | p95 | p99 | memory-seconds (GB·s) "
        "| money |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in policies:
        figures = one["figures"]
        waits = " | ".join(seconds(figures["wait"][at]) for at in ("p50_s", "p95_s", "p99_s"))
        rows.append(
            f"| {one['policy']} | {figures['cold']:,} | {figures['waited_for_starts_s']:,.1f} "
            f"| {figures['refused']:,} | {figures['lost']:,} | {waits} "
            f"| {figures['memory_gb_seconds']:,.0f} | {figures['micros']['total'] / 1e6:.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, required=True, help="folder of the published traces")
    parser.add_argument("--model", type=Path, default=ROOT / "bench/autoscalers.yaml")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[trace.name for trace in TRACES])
    parser.add_argument("--no-write", action="store_true", help="print the tables, change no file")
    options = parser.parse_args()
    parts, results = [], {}
    for trace in TRACES:
        if options.only not in (None, trace.name):
            continue
        picture = PAGE.parent / f"autoscalers_{trace.name}.svg"
        own = plan(trace, options, options.model, *(() if options.no_write else ("--plot", str(picture))))
        alike = plan(trace, options, options.model, "--starts", "executed")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as few:
            few.write(options.model.read_text().replace("files: own", "files: shared"))
            few.flush()
            shared = plan(trace, options, Path(few.name))
        calls = own[0]["figures"]["calls"]
        parts.append(
            f"### {trace.title}\n\n{calls:,} calls. Each with its own starts ([picture]({picture.name})):\n\n"
            f"{table(own)}\n\nThe same, four model files for all functions:\n\n{table(shared)}\n\n"
            f"A file for each function, all by exec:\n\n{table(alike)}\n"
        )
        results[trace.name] = {"own": own, "shared": shared, "executed": alike}
    equal = judged(
        {one.title.split(":")[0]: results[one.name]["executed"] for one in TRACES if one.name in results}
    )
    text = f"### With starts held equal\n\n{equal}\n\n" + "\n".join(parts)
    if options.no_write or options.only:
        print(text)
    else:
        page = PAGE.read_text()
        head, rest = page.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}")
    report("autoscalers", f"{len(results)} traces, seed {options.seed}", {"seed": options.seed, "policies": {
        name: {kind: {one["policy"]: {key: one["figures"][key] for key in KEPT} for one in plans}
               for kind, plans in kinds.items()} for name, kinds in results.items()}})  # fmt: skip


if __name__ == "__main__":
    main()
