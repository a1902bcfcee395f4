#!/usr/bin/env python3
"""Decoded tokens per second at 1 and 4 streams, of short chats and behind long prompts: SmolLM2 through glowplug, and
llama-server with the same threads, slots and context. Both run all the time; only one is asked at a time, in the order
A B A B …
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time

from common import (
    deploy_bench,
    llama_server,
    model_file,
    post,
    report,
    running_llama_server,
    spread,
    tcp,
)
from support.server import Server

SLOTS = 4
SETTINGS = {"chat": (2048, 0), "document": (4096, 1000)}  # context of a slot, tokens of its prompt beside the question


def tokens_per_second(url: str, name: str, streams: int, prompt: int, tokens: int) -> float:
    """Tokens after each stream's first, over the time from the first first token to the last last one."""
    firsts, lasts, counts, lock = [], [], [], threading.Lock()

    def one(number: int) -> None:
        connection = tcp(url)
        reply = post(
            connection,
            "/v1/chat/completions",
            {
                "model": name,
                "stream": True,
                "max_tokens": tokens,
                "temperature": 0,
                "ignore_eos": True,
                "messages": [
                    {
                        "role": "user",
                        "content": f"Story {number}: tell me a very long story about a fox."
                        + "".join(f" item {i}" for i in range(prompt // 5)),
                    }
                ],
                "stream_options": {"include_usage": True},
            },
        )
        if reply.status != 200:
            raise SystemExit(f"{url}: {reply.status} {reply.read()[:300]!r}")
        first = last = count = 0
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                count = chunk["usage"]["completion_tokens"]
            if chunk.get("choices") and chunk["choices"][0].get("delta", {}).get("content"):
                last = time.perf_counter()
                first = first or last
        with lock:
            firsts.append(first), lasts.append(last), counts.append(count)
        connection.close()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) != streams:
        raise SystemExit(f"{url}: only {len(counts)} of {streams} streams ended well")
    return (sum(counts) - streams) / (max(lasts) - min(firsts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    model, (program, build) = model_file(options.model), llama_server()
    results = {}
    for setting in options.settings:
        context, prompt = SETTINGS[setting]
        with (
            Server() as server,
            running_llama_server(
                program, model, context=context, slots=SLOTS, threads=options.threads
            ) as peer,
        ):
            deploy_bench(
                server, model, context=context, slots=SLOTS, threads=options.threads, scale={"min": 0, "max": 1}
            )
            server.chat("bench", max_tokens=2)
            for streams in options.streams:
                ours, theirs = [], []
                for turn in range(options.rounds + 1):
                    a = tokens_per_second(server.url, "bench", streams, prompt, options.tokens)
                    b = tokens_per_second(peer, "bench", streams, prompt, options.tokens)
                    if turn:  # the first turn warms both, and leaves the prompts in the slots
                        ours.append(a), theirs.append(b)
                results[f"{setting}_{streams}"] = {
                    "glowplug": spread(ours),
                    "llama_server": spread(theirs),
                    "ratio": spread(ours)["median"] / spread(theirs)["median"],
                }
    line = "; ".join(
        f"{key.replace('_', ' × ')}: glowplug {r['glowplug']['median']:.1f}, llama-server "
        f"{r['llama_server']['median']:.1f} tokens/s ({r['ratio']:.3f} ×)"
        for key, r in results.items()
    )
    report(
        "decode_speed",
        f"{line}; peer: {build}, {options.threads} threads",
        {
            "unit": "tokens/s",
            "peer": build,
            "model": model.name,
            "threads": options.threads,
            **results,
        },
    )


if __name__ == "__main__":
    main()
