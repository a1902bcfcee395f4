#!/usr/bin/env python3
"""A hundred calls at once on a function at zero: one start, all answered, and how long until the last answer, beside a
warm stock llama-server with the same slots and the same prompts.

Starts are counted from the server's decisions: a replica executed, forked or handed over for somebody who waits. By
default the function is at zero as it comes, with a template and a spare; --from disk lets it start by exec (`template:
off`), --from template without a spare. Every round has prompts of its own, so that no cache helps. A B A B …
"""

from __future__ import annotations

import time

from common import Row, answered, arguments, at_once, deploy_bench, llama_server, model_file, report
from common import running_llama_server, spread, table
from contestants import OURS, stop
from support.server import Server

CONTEXT, SLOTS = 2048, 4
RATIO = 1.1


def burst(url: str, calls: int, tokens: int, turn: int) -> tuple[float, list[int]]:
    """(seconds to the last answer, tokens of each); a call that is refused ends the benchmark."""

    def body(number: int) -> dict:
        question = f"{turn}-{number}: what would a fox of that number say to a crow? Answer at length."
        return {
            "model": "bench",
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": question}],
        }

    began = time.perf_counter()
    answers = at_once([lambda number=number: answered(url, body(number)) for number in range(calls)])
    return time.perf_counter() - began, [answer.usage["completion_tokens"] for answer in answers]


def starts_since(server: Server, moment_ms: float) -> int:
    kinds = ("start", "hand-over")
    return sum(row["decision"] in kinds and row["at_ms"] >= moment_ms for row in server.decisions("bench"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--from", dest="tier", choices=list(OURS), default="spare")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.calls, options.tokens = 1, 12, 2
    model, (program, build) = model_file(options.model), llama_server()
    _, args, more = OURS[options.tier]
    same = {"context": CONTEXT, "slots": SLOTS, "threads": options.threads}
    ours, theirs, starts, answered_all = [], [], [], True
    with Server(*args) as server, running_llama_server(program, model, **same) as peer:
        deploy_bench(server, model, scale={"min": 0, "max": 1}, **same, **more)
        for url in (server.url, peer):
            burst(url, SLOTS, options.tokens, -1)  # warms both
        for turn in range(options.rounds):
            stop(server, "bench", options.tier)
            moment = time.time() * 1000
            took, counts = burst(server.url, options.calls, options.tokens, turn)
            ours.append(took)
            starts.append(starts_since(server, moment))
            answered_all &= counts == [options.tokens] * options.calls
            stop(server, "bench", options.tier)  # leaves the cores to the peer
            theirs.append(burst(peer, options.calls, options.tokens, turn)[0])
    a, b = spread(ours), spread(theirs)
    ratio = a["median"] / b["median"]
    lines = [
        Row("starts for one burst", "1", f"{min(starts)} to {max(starts)}"),
        Row("answered in full", f"{options.calls}", f"{options.calls}" if answered_all else "fewer"),
        Row(
            f"last answer after, cold from {options.tier}; the peer warm",
            f"≤ {RATIO} ×",
            f"{a['median']:.2f} s (p90 {a['p90']:.2f})",
            f"{b['median']:.2f} s (p90 {b['p90']:.2f})",
            f"{ratio:.3f} ×",
        ),
    ]
    report(
        "burst",
        f"{options.calls} calls at once, {SLOTS} slots, {options.tokens} tokens each; peer: {build}\n{table(lines)}",
        {
            "unit": "s",
            "peer": build,
            "model": model.name,
            "calls": options.calls,
            "from": options.tier,
            "starts": starts,
            "answered_in_full": answered_all,
            "glowplug": a,
            "llama_server": b,
            "ratio": ratio,
            **same,
        },
    )


if __name__ == "__main__":
    main()
