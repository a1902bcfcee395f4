#!/usr/bin/env python3
"""Time to first token of a stopped function, beside the same of a llama-server that is executed for the call.

glowplug starts by exec here, as if it kept no templates (cold_overhead.py has those): POST …/stop, wait until it is
cold, then one streamed call. Peer: exec, poll /health every millisecond, then the same call; the time counts from exec.
A B A B …, the model file in the page cache for both. Warm calls of both are measured in between, so that the cold
overhead can be read off.
"""

from __future__ import annotations

import argparse
import os
import time

from common import (
    deploy_bench,
    first_content_seconds,
    llama_server,
    model_file,
    report,
    running_llama_server,
    spread,
)
from support.server import Server

CONTEXT, SLOTS = 2048, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    model, (program, build) = model_file(options.model), llama_server()
    model.read_bytes()  # into the page cache
    kinds: dict[str, list[float]] = {
        "glowplug_cold": [],
        "glowplug_warm": [],
        "peer_cold": [],
        "peer_warm": [],
    }

    def body(round_: int, kind: str) -> dict:  # a prompt that no cache has seen
        return {
            "model": "bench",
            "max_tokens": 4,
            "temperature": 0,
            "messages": [{"role": "user", "content": f"{kind} {round_}: say hello to the world."}],
        }

    with Server() as server:
        deploy_bench(
            server, model, context=CONTEXT, slots=SLOTS, threads=options.threads, template="off"
        )
        server.chat("bench", max_tokens=1)
        for turn in range(options.rounds + 1):
            server.post("/v1/functions/bench/stop")
            server.wait_state("bench", "cold", 20)
            took = [
                first_content_seconds(server.url, body(turn, "cold")),
                first_content_seconds(server.url, body(turn, "warm")),
            ]
            server.post("/v1/functions/bench/stop")  # leaves the cores to the peer
            server.wait_state("bench", "cold", 20)
            started = time.perf_counter()
            with running_llama_server(
                program, model, context=CONTEXT, slots=SLOTS, threads=options.threads
            ) as peer:
                took += [
                    first_content_seconds(peer, body(turn, "cold"), started=started),
                    first_content_seconds(peer, body(turn, "warm")),
                ]
            if turn:  # the first turn warms the machine
                for values, seconds in zip(kinds.values(), took, strict=True):
                    values.append(seconds * 1000)
    results = {kind: spread(values) for kind, values in kinds.items()}
    ours, theirs = results["glowplug_cold"]["median"], results["peer_cold"]["median"]
    report(
        "cold_start",
        f"first token from zero: glowplug {ours:.0f} ms (warm {results['glowplug_warm']['median']:.0f}), llama-server "
        f"{theirs:.0f} ms (warm {results['peer_warm']['median']:.0f}); {ours / theirs:.2f} ×; peer: {build}",
        {
            "unit": "ms",
            "peer": build,
            "model": model.name,
            "threads": options.threads,
            "ratio": ours / theirs,
            **results,
        },
    )


if __name__ == "__main__":
    main()
