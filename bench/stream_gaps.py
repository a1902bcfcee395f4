#!/usr/bin/env python3
"""Four running streams while a prompt of 4,000 tokens is read beside them: the gaps between their tokens, and what the
mixing costs; glowplug, and stock llama-server with its default batch and the same threads, slots and context.

A gap counts when it overlaps the reading, from the call of the long prompt to its one token; their p99 is taken over
all rounds. Throughput: in that time T the machine reads P tokens of prompt and decodes D for the streams. The same work
done apart takes P / (rate of that prompt with no stream running) + D / (rate of the four streams with no prompt being
read), both measured on the same server in the same round. The share is that time over T: 1 means that nothing is lost
by doing both at once, more that they share steps to their profit. A B A B …
"""

from __future__ import annotations

import time
from typing import NamedTuple

from common import Row, answered, arguments, deploy_bench, llama_server, model_file, report, running_llama_server
from common import spread, table
from streams import STREAMS, long_prompt, read_beside, running_streams
from support.server import Server

GAP_MS, SHARE = 250, 0.9
SLOTS = STREAMS + 1


class Round(NamedTuple):
    gaps_ms: list[float]
    share: float
    mixed_prompt_rate: float
    alone_prompt_rate: float
    alone_decode_rate: float


def decode_rate(url: str, tokens: int, seconds: float) -> float:
    """Tokens per second of the streams alone."""
    streams = running_streams(url, "bench", tokens)
    began = time.perf_counter()
    time.sleep(seconds)
    ended = time.perf_counter()
    for stream in streams:
        stream.stop()
    return sum(began <= moment < ended for stream in streams for moment in stream.times) / (ended - began)


def one_round(url: str, turn: int, prompt: int, tokens: int, seconds: float) -> Round:
    alone = answered(url, long_prompt("bench", prompt, f"a{turn}"))
    alone_prompt = alone.usage["prompt_tokens"] / alone.seconds
    alone_decode = decode_rate(url, tokens, seconds)
    mixed = read_beside(url, "bench", long_prompt("bench", prompt, f"b{turn}"), tokens)
    apart = mixed.prompt_tokens / alone_prompt + mixed.decoded / alone_decode
    return Round(mixed.gaps_ms, apart / mixed.seconds, mixed.prompt_rate, alone_prompt, alone_decode)


def summary(rounds: list[Round]) -> dict:
    found = {"gaps_ms": spread([gap for one in rounds for gap in one.gaps_ms])}
    for field in Round._fields[1:]:
        found[field] = spread([getattr(one, field) for one in rounds])
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompt", type=int, default=4000, help="tokens of the long prompt, about")
    parser.add_argument("--seconds", type=float, default=5, help="of decoding alone")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.prompt, options.seconds = 1, 200, 0.5
    model, (program, build) = model_file(options.model), llama_server()
    context = options.prompt + options.prompt // 8 + 256  # the long prompt, counted roughly, and its chat template
    tokens = context - 128  # of a stream: more than the reading takes
    same = {"context": context, "slots": SLOTS, "threads": options.threads}
    rounds: dict[str, list[Round]] = {"glowplug": [], "llama_server": []}
    with Server() as server, running_llama_server(program, model, **same) as peer:
        deploy_bench(server, model, limits={"max_tokens": context}, scale={"min": 0, "max": 1}, **same)
        server.chat("bench", max_tokens=2)
        for turn in range(options.rounds):
            for kind, url in (("glowplug", server.url), ("llama_server", peer)):
                rounds[kind].append(one_round(url, turn, options.prompt, tokens, options.seconds))
    results = {kind: summary(all_) for kind, all_ in rounds.items()}
    a, b = results["glowplug"], results["llama_server"]

    def row(what: str, asked: str, field: str, at: str, unit: str, digits: int = 0) -> Row:
        ours, theirs = a[field][at], b[field][at]
        return Row(what, asked, f"{ours:.{digits}f}{unit}", f"{theirs:.{digits}f}{unit}", f"{ours / theirs:.3f} ×")

    lines = [
        row("gaps between tokens, p50", "", "gaps_ms", "median", " ms"),
        row("gaps between tokens, p99", f"≤ {GAP_MS} ms", "gaps_ms", "p99", " ms"),
        row("longest gap", "", "gaps_ms", "max", " ms"),
        row("throughput of both at once, of the same work apart", f"≥ {SHARE} ×", "share", "median", " ×", 2),
        row("prompt read beside the streams, tokens/s", "", "mixed_prompt_rate", "median", ""),
        row("prompt read alone, tokens/s", "", "alone_prompt_rate", "median", ""),
        row("four streams alone, tokens/s", "", "alone_decode_rate", "median", ""),
    ]
    report(
        "stream_gaps",
        f"{STREAMS} streams beside a prompt of about {options.prompt} tokens, {options.rounds} rounds; peer: {build}\n"
        + table(lines),
        {"unit": "ms", "peer": build, "model": model.name, "prompt": options.prompt, **same, **results},
    )


if __name__ == "__main__":
    main()
