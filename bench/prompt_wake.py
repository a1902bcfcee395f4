#!/usr/bin/env python3
"""Waking with remembered prompts: ten conversations with a distinct prefix of 1,000 tokens each (a system prompt).

Each is asked once, the function is stopped, and it is asked something else from zero: the time to the first token,
beside that of a warm replica that holds the prefix (the next question of the same conversation) and of a warm one that
does not (a prefix that nobody has seen, of the same length). How much of the prefix came from state is cached_tokens
of the usage, over the tokens of the prefix (counted by /v1/messages/count_tokens). Peer: llama-server, warm with and
warm without the prefix, and executed for the call.

--prime measures a primed function instead: one with the system prompt in the manifest's `prime`; four calls at once
from zero, each with a question of its own: the share of the prefix that each had from state, and the slowest first
token; --rounds × --conversations times.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from common import Answer, Row, answered, arguments, at_once, deploy_bench, llama_server, model_file, report
from common import running_llama_server, spread, table
from contestants import stop
from support.server import Server

SLOTS = 4
HELD, WITHOUT, CACHED = 1.3, 0.1, 0.95
QUESTIONS = ("What is this about?", "Which of these come twice?", "Name the last of them.", "How many are there?")
WORDS = "fox crow stone river cloud tower garden winter bread letter violin harbour lantern meadow thunder".split()
TOKENS_OF_A_WORD = 1.95  # of prefix(), with the vocabulary of SmolLM2
chance = random.Random(4569)


def prefix(words: int) -> str:
    """A text of so many words and numbers that no other text begins like."""
    return " ".join(f"{chance.choice(WORDS)} {chance.randint(0, 99)}" for _ in range(words // 2))


def body(system: str, question: str) -> dict:
    """For one token, so that the time of the whole answer is the one to the first token."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return {"model": "bench", "max_tokens": 1, "temperature": 0, "messages": messages}


def prefix_tokens(server: Server, system: str) -> int:
    def count(text: str) -> int:
        asked = {"model": "bench", "system": text, "messages": [{"role": "user", "content": "?"}]}
        reply = server.post("/v1/messages/count_tokens", asked)
        if reply.status_code != 200:
            raise SystemExit(f"count_tokens: {reply.status_code} {reply.text[:300]}")
        return reply.json()["input_tokens"]

    return count(system) - count("fox") + 1


class Kept:
    """Milliseconds of calls by kind, and the share of the prefix that came from state."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        self.shares: dict[str, list[float]] = {}

    def add(self, kind: str, answer: Answer, tokens: int) -> None:
        self.ms.setdefault(kind, []).append(answer.seconds * 1000)
        self.shares.setdefault(kind, []).append(min(1.0, answer.cached / tokens))

    def summary(self) -> dict[str, Any]:
        return {kind: spread(values) | {"cached": spread(self.shares[kind])} for kind, values in self.ms.items()}


def conversations(options: argparse.Namespace, words: int) -> dict[str, Any]:
    model, (program, _) = model_file(options.model), llama_server()
    same = same_for_all(options)
    kept, lengths = Kept(), []
    with Server("--spares", "1") as server, running_llama_server(program, model, **same) as peer:
        deploy_bench(server, model, **same)
        for _ in range(options.rounds):
            texts = [prefix(words) for _ in range(options.conversations)]
            for text in texts:
                answered(server.url, body(text, QUESTIONS[0]))
            tokens = [prefix_tokens(server, text) for text in texts]
            lengths += tokens
            for text, count in zip(texts, tokens, strict=True):
                stop(server, "bench", "spare")
                kept.add("woken", answered(server.url, body(text, QUESTIONS[1])), count)
                kept.add("held", answered(server.url, body(text, QUESTIONS[2])), count)
                kept.add("without", answered(server.url, body(prefix(words), QUESTIONS[3])), count)
                stop(server, "bench", "spare")  # leaves the cores to the peer
                answered(peer, body(text, QUESTIONS[0]))
                kept.add("peer_held", answered(peer, body(text, QUESTIONS[1])), count)
                kept.add("peer_without", answered(peer, body(prefix(words), QUESTIONS[3])), count)
                started = time.perf_counter()
                with running_llama_server(program, model, **same) as fresh:
                    kept.add("peer_executed", answered(fresh, body(text, QUESTIONS[1]), started=started), count)
    return {"prefix_tokens": spread(lengths), **kept.summary()}


def primed(options: argparse.Namespace, words: int) -> dict[str, Any]:
    model, (program, _) = model_file(options.model), llama_server()
    same, text = same_for_all(options), prefix(words)
    kept = Kept()

    def four(url: str) -> list[Answer]:
        calls = [lambda question=question: answered(url, body(text, question)) for question in QUESTIONS]
        return at_once(calls)

    with Server("--spares", "1") as server, running_llama_server(program, model, **same) as peer:
        deploy_bench(server, model, prime=[text], **same)
        four(server.url)
        count = prefix_tokens(server, text)
        four(peer)  # from here on its slots hold the prefix
        for _ in range(options.rounds * options.conversations):
            stop(server, "bench", "spare")
            for answer in four(server.url):
                kept.add("primed", answer, count)
            stop(server, "bench", "spare")
            for answer in four(peer):
                kept.add("peer_held", answer, count)
    return {"prefix_tokens": spread([count]), **kept.summary()}


def same_for_all(options: argparse.Namespace) -> dict[str, int]:
    """A slot holds the prefix and the question, however its words are cut into tokens."""
    return {"context": 2 * options.prefix + 256, "slots": SLOTS, "threads": options.threads}


def said(row: dict[str, Any]) -> str:
    return f"{row['median']:.0f} ms (p90 {row['p90']:.0f})"


def share(row: dict[str, Any]) -> str:
    return f"{row['cached']['median']:.1%} (least {row['cached']['min']:.1%})"


def conversation_rows(r: dict[str, Any]) -> list[Row]:
    woken, held, without = r["woken"], r["held"], r["without"]
    executed = said(r["peer_executed"])
    return [
        Row("prefix from state, after waking", f"≥ {CACHED:.0%}", share(woken), share(r["peer_executed"])),
        Row("first token from zero; peer executed", "", said(woken), executed, ratio(woken, r["peer_executed"])),
        Row("warm, holding the prefix", "", said(held), said(r["peer_held"]), ratio(held, r["peer_held"])),
        Row("warm, without it", "", said(without), said(r["peer_without"]), ratio(without, r["peer_without"])),
        Row("from zero, of a warm one that holds it", f"≤ {HELD} ×", ratio(woken, held)),
        Row("from zero, of a warm one without it", f"≤ {WITHOUT} ×", ratio(woken, without)),
        Row("from zero, of a warm peer without it", "", "", "", ratio(woken, r["peer_without"])),
    ]


def primed_rows(r: dict[str, Any]) -> list[Row]:
    ours, theirs = r["primed"], r["peer_held"]
    least, slowest = ours["cached"]["min"], f"{ours['max']:.0f} ms"
    return [
        Row("prefix from state, four calls from zero, the least", f"≥ {CACHED:.0%}", f"{least:.1%}", share(theirs)),
        Row("first token of the four, from zero; peer warm", "", said(ours), said(theirs), ratio(ours, theirs)),
        Row("the slowest of them", "", slowest, f"{theirs['max']:.0f} ms"),
    ]


def ratio(a: dict[str, Any], b: dict[str, Any]) -> str:
    return f"{a['median'] / b['median']:.3f} ×"


def main() -> None:
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--prime", action="store_true", help="measure a primed function")
    parser.add_argument("--conversations", type=int, default=10, help="in each round")
    parser.add_argument("--prefix", type=int, default=1000, help="tokens of a prefix, about")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.conversations, options.prefix = 1, 1, 60
    _, build = llama_server()
    words = round(options.prefix / TOKENS_OF_A_WORD)
    results = primed(options, words) if options.prime else conversations(options, words)
    name = "prompt_wake_primed" if options.prime else "prompt_wake"
    rows = primed_rows(results) if options.prime else conversation_rows(results)
    tokens = results["prefix_tokens"]["median"]
    report(
        name,
        f"prefixes of {tokens:.0f} tokens, {options.threads} threads; peer: {build}\n{table(rows)}",
        {"unit": "ms", "peer": build, "model": model_file(options.model).name, **same_for_all(options), **results},
    )


if __name__ == "__main__":
    main()
