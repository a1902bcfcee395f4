#!/usr/bin/env python3
"""Gaps between the tokens of running streams while a long prompt is read beside them: glowplug, and llama-server with
the same threads, slots and context. A gap is at least one engine step, so its length bounds how late a cancellation or
another caller's turn can be.

Only gaps that overlap the reading of the long prompt count. A B A B …; one model, both asked alone.
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

STREAMS = 4


def message(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


class Stream:
    """One endless answer: the moment of each of its tokens."""

    def __init__(self, url: str, name: str, number: int, tokens: int) -> None:
        self.times: list[float] = []
        self.connection = tcp(url)
        body = {"model": name, "stream": True, "max_tokens": tokens, "temperature": 0.8, "ignore_eos": True}
        body["messages"] = message(f"Story {number}: tell me a very long story about a fox.")
        self.reply = post(self.connection, "/v1/chat/completions", body)
        if self.reply.status != 200:
            raise SystemExit(f"{url}: {self.reply.status} {self.reply.read()[:300]!r}")
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self) -> None:
        try:
            for line in self.reply:
                if line.startswith(b"data: {"):
                    self.times.append(time.perf_counter())
        except (OSError, ValueError):  # closed by stop()
            pass

    def stop(self) -> None:
        self.connection.sock.shutdown(2)
        self.thread.join()
        self.connection.close()


def gaps_ms(url: str, name: str, prompt_tokens: int, turn: int) -> tuple[list[float], float]:
    """(gaps of the running streams while the prompt is read, tokens of the prompt read per second)."""
    streams = [Stream(url, name, i, 3 * prompt_tokens) for i in range(STREAMS)]
    while any(len(stream.times) < 8 for stream in streams):
        time.sleep(0.005)
    connection = tcp(url)
    words = " ".join(f"w{turn} item {i}" for i in range(prompt_tokens // 6))
    began = time.perf_counter()
    reply = post(
        connection,
        "/v1/chat/completions",
        {"model": name, "max_tokens": 1, "temperature": 0, "messages": message(words)},
    )
    text = reply.read()
    ended = time.perf_counter()
    if reply.status != 200:
        raise SystemExit(f"{url}: {reply.status} {text[:300]!r}")
    answer = json.loads(text)
    connection.close()
    for stream in streams:
        stream.stop()
    gaps = [
        (after - before) * 1000
        for stream in streams
        for before, after in zip(stream.times, stream.times[1:])
        if began <= after and before <= ended
    ]
    return gaps, answer["usage"]["prompt_tokens"] / (ended - began)


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
                seen, rate = gaps_ms(url, "bench", options.prompt, turn)
                gaps[kind] += seen
                rates[kind].append(rate)
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
