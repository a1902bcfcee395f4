#!/usr/bin/env python3
"""Waking by size of model: SmolLM2, Gemma 3 270M, and random weights of 1, 4 and 8 billion parameters (shapes.py).

Per model: what waking adds to a one-token answer, by exec, from a template and from a spare, beside llama-server
executed for the call and asleep (contestants.py: the same rounds, interleaved, medians; one after the other where they
do not fit in memory together); the phases fork (fork to ready, of starts from the template) and load (exec to ready) as
the server's Server-Timing says them; and the bytes that each tier holds: the file on disk, its pages in the page cache,
and the proportional memory of template, spare and replica. Without --models all five; the files of the shapes take 8 GB
in the cache folder, gemma3-270m is fetched once.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from common import Answer, Row, answered, arguments, catalogue_file, mb, model_file, pss, report, spread, table, until
from contestants import ALL, LOAD_SECONDS, contestants, glowplug, measure, overheads, unseen
from shapes import shape_file
from support import processes

GOALS_MS = {"1B": 30, "4B": 80, "8B": 160}  # fork to ready
MODELS = ("smollm2", "gemma3-270m", *GOALS_MS)
CONTEXT, SLOTS = 2048, 4
COPIES = 10  # of the weights, repacked ones among them, when all contestants run and nothing is short


def file_of(name: str, kind: str) -> Path:
    if name in GOALS_MS:
        return shape_file(name, kind)
    return model_file() if name == "smollm2" else catalogue_file(name)


def page_cache_bytes(file: Path) -> int:
    return int(subprocess.check_output(["fincore", "--bytes", "--noheadings", "--output", "RES", str(file)]))


def into_page_cache(file: Path) -> None:
    with open(file, "rb", buffering=0) as data:
        while data.read(1 << 24):
            pass


def held(file: Path, threads: int) -> dict[str, int]:
    """Each tier alone with those before it, after one call: a page that two processes share counts half for each."""
    with glowplug("spare", file, threads, CONTEXT, SLOTS) as ours:
        server = ours.server
        ours.go_to_zero()
        spares = server.spare_pids()
        found = {
            "disk": file.stat().st_size,
            "page_cache": page_cache_bytes(file),
            "template": pss(server.template_pids()),
            "spare": pss(spares),
            "spare_private": pss(spares, "Private_Dirty"),
            "template_and_spare_anonymous": pss(processes.children(server.pid), "Pss_Anon"),
        }
        answered(server.url, unseen(1, end=""))
        until(lambda: server.function("bench")["template"].get("spares"), LOAD_SECONDS, "the next spare is there")
        found["replica"] = pss(server.replica_pids())
        found["all"] = pss([server.pid, *processes.descendants(server.pid)])
    return found


def one_model(name: str, file: Path, options: Any) -> dict[str, Any]:
    phases: dict[str, list[Answer]] = {}

    def ask(url: str, started: float | None = None) -> float:
        answer = answered(url, unseen(1, end=""), started=started)  # a model of 8 billion reads slowly
        phases.setdefault(url, []).append(answer)
        return answer.seconds

    into_page_cache(file)
    together = COPIES * file.stat().st_size < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    times: dict[str, Any] = {}
    urls: dict[str, str] = {}
    for group in [ALL] if together else [(one,) for one in ALL]:
        with contestants(file, options.threads, CONTEXT, SLOTS, group) as some:
            times |= measure(some, ask, options.rounds, options.rounds)
            urls |= {one.name: one.url for one in some}
    results = overheads(times)

    def starts(who: str, phase: str) -> dict[str, float]:
        """Of the calls from zero; warm ones have no such phase. The first round warms the machine."""
        seen = [answer.phase_ms(phase) for answer in phases[urls[who]]]
        return spread([value for value in seen if value][1:])

    return {
        "contestants": results,
        "fork_ms": starts("glowplug, from its template", "fork"),
        "exec_ms": starts("glowplug, by exec", "load"),
        "held": held(file, options.threads),
    }


def rows(name: str, found: dict[str, Any]) -> list[Row]:
    ours, bytes_ = found["contestants"], found["held"]
    executed = ours["llama-server, executed"]["overhead_ms"]["median"]
    asleep = ours["llama-server, asleep"]["overhead_ms"]["median"]
    goal = f"≤ {GOALS_MS[name]} ms" if name in GOALS_MS else ""
    fork, started = found["fork_ms"], found["exec_ms"]
    ratio = f"{fork['median'] / GOALS_MS[name]:.2f} × asked" if goal else ""
    listed = [
        Row(f"{name}: fork to ready", goal, f"{fork['median']:.1f} ms (p90 {fork['p90']:.1f})", "", ratio),
        Row(f"{name}: exec to ready", "", f"{started['median']:.0f} ms (p90 {started['p90']:.0f})"),
    ]
    for who in ("glowplug, by exec", "glowplug, from its template", "glowplug, from a spare"):
        added, warm = ours[who]["overhead_ms"], ours[who]["warm_ms"]["median"]
        listed.append(
            Row(
                f"{name}: {who.removeprefix('glowplug, ')}, added to {warm:.0f} ms warm",
                "",
                f"{added['median']:+.1f} ms (p90 {added['p90']:+.1f})",
                f"executed {executed:+.0f} ms, asleep {asleep:+.0f} ms",
                f"{added['median'] / executed:.3f} ×",
            )
        )
    tiers = ("disk", "page_cache", "template", "spare", "replica")
    line = ", ".join(f"{tier.replace('_', ' ')} {bytes_[tier] / 1e6:.0f}" for tier in tiers)
    slept = ours["llama-server, asleep"]["held_bytes"]
    listed.append(Row(f"{name}: MB held", "", f"{line}, together {bytes_['all'] / 1e6:.0f}", f"asleep {mb(slept)}"))
    return listed


def main() -> None:
    parser = arguments(__doc__, one_model=False)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--type", default="Q4_0", choices=["Q4_0", "Q8_0"], help="of the shapes' weights")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.models = 1, options.models[:1]
    results, lines = {}, []
    for name in options.models:
        began = time.monotonic()
        results[name] = one_model(name, file_of(name, options.type), options)
        results[name]["seconds"] = time.monotonic() - began
        lines += rows(name, results[name])
    report(
        "cold_shapes",
        f"waking by size of model, shapes as {options.type}, {options.threads} threads\n{table(lines)}",
        {"unit": "ms", "type": options.type, "threads": options.threads, "models": results},
    )


if __name__ == "__main__":
    main()
