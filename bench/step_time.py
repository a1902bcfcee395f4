#!/usr/bin/env python3
"""Gaps between the tokens of running streams while a long prompt is read beside them: glowplug, and llama-server with
the same threads, slots and context. A gap is at least one engine step, so its length bounds how late a cancellation or
another caller's turn can be.

Only gaps that overlap the reading of the long prompt count. A B A B …; one model, both asked alone.
"""

from __future__ import annotations

import argparse
import os

from common import deploy_bench, llama_server, model_file, report, running_llama_server, spread
from streams import STREAMS, long_prompt, read_beside
from support.server import Server

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=1900, help="tokens of the long prompt, about")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    model, (program, build) = model_file(options.model), llama_server()
    context, slots = options.prompt * 4 + 512, STREAMS + 1
    gaps: dict[str, list[float]] = {"glowplug": [], "llama_server": []}
    rates: dict[str, list[float]] = {"glowplug": [], "llama_server": []}
    with (
        Server() as server,
        running_llama_server(
            program, model, context=context, slots=slots, threads=options.threads
        ) as peer,
    ):
        deploy_bench(
            server, model, context=context, slots=slots, threads=options.threads, limits={"max_tokens": context}
        )
        server.chat("bench", max_tokens=2)
        for turn in range(options.rounds):
            for kind, url in (("glowplug", server.url), ("llama_server", peer)):
                prompt = long_prompt("bench", options.prompt, f"w{turn}")
                seen = read_beside(url, "bench", prompt, 3 * options.prompt)
                gaps[kind] += seen.gaps_ms
                rates[kind].append(seen.prompt_rate)
    results = {}
    for kind, values in gaps.items():
        results[kind] = spread(values)
        results[kind]["prompt_tokens_per_second"] = spread(rates[kind])["median"]
    line = "; ".join(
        f"{kind}: p50 {r['median']:.0f}, p99 {r['p99']:.0f}, longest {r['max']:.0f} ms, prompt read at "
        f"{r['prompt_tokens_per_second']:.0f} tokens/s"
        for kind, r in results.items()
    )
    report(
        "step_time",
        f"gaps of {STREAMS} streams beside a prompt of about {options.prompt} tokens: {line}; peer: {build}",
        {"unit": "ms", "peer": build, "model": model.name, "threads": options.threads, **results},
    )


if __name__ == "__main__":
    main()
