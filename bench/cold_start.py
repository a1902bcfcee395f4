#!/usr/bin/env python3
"""Time to first token of a stopped function, beside the same of a llama-server that is executed for the call, as it
comes and with `--no-warmup`.

glowplug starts by exec here, as if it kept no templates (cold_overhead.py has those): POST …/stop, wait until it is
cold, then one streamed call. Peers: exec, poll /health every millisecond, then the same call; the time counts from
exec. A B C A B C …, the model file in the page cache for all. Warm calls of each are measured in between, so that the
cold overhead can be read off.
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
PEERS = {"peer": (), "peer_no_warmup": ("--no-warmup",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    model, (program, build) = model_file(options.model), llama_server()
    model.read_bytes()  # into the page cache
    times: dict[str, list[float]] = {
        f"{who}_{how}": [] for who in ("glowplug", *PEERS) for how in ("cold", "warm")
    }

    def body(round_: int, kind: str) -> dict:  # a prompt that no cache has seen
        return {
            "model": "bench",
            "max_tokens": 4,
            "temperature": 0,
            "messages": [{"role": "user", "content": f"{kind} {round_}: say hello to the world."}],
        }

    same = {"context": CONTEXT, "slots": SLOTS, "threads": options.threads}
    with Server() as server:
        deploy_bench(server, model, **same, template="off")
        server.chat("bench", max_tokens=1)

        def ask(who: str, url: str, turn: int, started: float | None = None) -> None:
            took = [
                first_content_seconds(url, body(turn, "cold"), started=started),
                first_content_seconds(url, body(turn, "warm")),
            ]
            if turn:  # the first turn warms the machine
                times[f"{who}_cold"].append(took[0] * 1000)
                times[f"{who}_warm"].append(took[1] * 1000)

        def stop() -> None:  # leaves the cores to the peer
            server.post("/v1/functions/bench/stop")
            server.wait_state("bench", "cold", 20)

        for turn in range(options.rounds + 1):
            stop()
            ask("glowplug", server.url, turn)
            stop()
            for who, more in PEERS.items():
                started = time.perf_counter()
                with running_llama_server(program, model, **same, more=more) as peer:
                    ask(who, peer, turn, started)
    results = {kind: spread(values) for kind, values in times.items()}
    ours = results["glowplug_cold"]["median"]
    ratios = {who: ours / results[f"{who}_cold"]["median"] for who in PEERS}
    report(
        "cold_start",
        f"first token from zero: glowplug {ours:.0f} ms (warm {results['glowplug_warm']['median']:.0f}), "
        + ", ".join(
            f"llama-server {' '.join(PEERS[who]) or 'as it comes'} {results[f'{who}_cold']['median']:.0f} ms "
            f"(warm {results[f'{who}_warm']['median']:.0f}): {ratio:.2f} ×"
            for who, ratio in ratios.items()
        )
        + f"; peer: {build}",
        {
            "unit": "ms",
            "peer": build,
            "model": model.name,
            "threads": options.threads,
            "ratio": ratios["peer"],
            "ratio_no_warmup": ratios["peer_no_warmup"],
            **results,
        },
    )


if __name__ == "__main__":
    main()
