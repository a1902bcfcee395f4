#!/usr/bin/env python3
"""What a further replica holds of its own after 100 varied requests, and what 200 functions on one model file hold.

Further replica: several are kept warm and get chats of different lengths, many at once, so that all work. Of each
replica: private and proportional memory; its own part is the private one less the KV of what it answered, counted low
as slots × the median prompt and answer × bytes of a token (a slot has touched the cells of its longest). Peer:
llama-server, one process a replica, with the same slots, context and threads and the same requests; the second of two
counts, so that the mapped file is shared as well.

--functions: that many functions on the same file, called once each; proportional memory of the server, its templates
and the replicas that are left, and how many those are; then twenty of them, spread over all, are stopped and called
again: the first token, and the phase fork of it. No peer: 200 processes of it do not fit. --rounds servers each.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
from pathlib import Path
from typing import Any

from common import Answer, Row, answered, arguments, at_once, deploy_bench, llama_server, mb, model_file, pss, report
from common import running_llama_server, spread, table, until
from contestants import LOAD_SECONDS, stop, unseen
from support import processes
from support.server import Server, llama

OWN_MB = 16
CONTEXT, SLOTS = 2048, 4
AT_ONCE = 16
WOKEN = 20
SEED = 4569
THINGS = ("fox", "crow", "stone", "river")


def varied(count: int, url: str) -> list[Answer]:
    """Chats of 10 to 400 tokens with answers of 1 to 24, the same ones for everybody."""
    chance = random.Random(SEED)
    bodies = []
    for number in range(count):
        words = " ".join(f"{chance.choice(THINGS)} {i}" for i in range(chance.randint(2, 120)))
        text = f"{number}: tell me about {words}."
        body = {"model": "bench", "max_tokens": chance.randint(1, 24), "temperature": 0.7, "seed": number}
        bodies.append(body | {"messages": [{"role": "user", "content": text}]})
    answers: list[Answer] = []
    for start in range(0, count, AT_ONCE):
        answers += at_once([lambda body=body: answered(url, body) for body in bodies[start : start + AT_ONCE]])
    return answers


def kv_bytes_of_a_token(model: Path) -> int:
    from gguf import GGUFReader

    fields = GGUFReader(model).fields
    architecture = fields["general.architecture"].contents()

    def fact(key: str, otherwise: Any = None) -> int:
        field = fields.get(f"{architecture}.{key}")
        return int(field.contents() if field else otherwise)

    heads = fact("attention.head_count")
    head = fact("attention.key_length", fact("embedding_length") // heads)
    return fact("block_count") * 2 * fact("attention.head_count_kv", heads) * head * 2  # keys and values of two bytes


def own_bytes(pid: int) -> dict[str, int]:
    return {"private": pss([pid], "Private_Dirty"), "pss": pss([pid])}


def warm_replicas(server: Server, count: int) -> list[int]:
    server.post("/v1/functions/bench/warm", {"count": count, "for": "1h"})

    def ready() -> bool:
        rows = server.function("bench")["replica_list"]
        return len(rows) == count and all(row["state"] == "ready" for row in rows)

    until(ready, LOAD_SECONDS, f"{count} replicas are ready")
    return server.replica_pids()


def further(model: Path, options: argparse.Namespace, same: dict[str, int]) -> dict[str, Any]:
    program, build = llama_server()
    token = kv_bytes_of_a_token(model)
    found: dict[str, list[float]] = {"private": [], "pss": [], "own": [], "kv": [], "peer_private": [], "peer_pss": []}
    for _ in range(options.rounds):
        with Server("--spares", "0") as server:
            deploy_bench(server, model, **same)
            pids = warm_replicas(server, options.replicas)
            answers = varied(options.requests, server.url)
            kv = SLOTS * statistics.median(answer.usage["total_tokens"] for answer in answers) * token
            for pid in pids:
                held = own_bytes(pid)
                found["private"].append(held["private"]), found["pss"].append(held["pss"])
                found["kv"].append(kv), found["own"].append(held["private"] - kv)
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(running_llama_server(program, model, **same)) for _ in range(2)]
            for peer in peers:
                varied(options.requests // options.replicas, peer)  # as many as one of our replicas has answered
            held = own_bytes(peers[1].pid)
            found["peer_private"].append(held["private"]), found["peer_pss"].append(held["pss"])
    return {"peer": build, "kv_bytes_of_a_token": token} | {key: spread(values) for key, values in found.items()}


def many(model: Path, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    kinds = ("server", "templates", "replicas", "all", "replicas_left", "woken_ms", "fork_ms")
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        with Server("--spares", "0") as server:
            for number in range(options.functions):
                manifest = {"context": options.context, "slots": options.slots, "keep_alive": -1}
                server.deploy(llama(f"f{number}", model, resources={"threads": threads}, **manifest))
            for number in range(options.functions):
                answered(server.url, unseen(1) | {"model": f"f{number}"})
            pids = {"server": [server.pid], "templates": server.template_pids(), "replicas": server.replica_pids()}
            for kind, of_kind in pids.items():
                found[kind].append(pss(of_kind))
            found["all"].append(pss([server.pid, *processes.descendants(server.pid)]))
            found["replicas_left"].append(len(pids["replicas"]))
            for number in range(0, options.functions, max(1, options.functions // WOKEN)):
                stop(server, f"f{number}", "template")
                answer = answered(server.url, unseen(1) | {"model": f"f{number}"})
                found["woken_ms"].append(answer.seconds * 1000), found["fork_ms"].append(answer.phase_ms("fork"))
    return {key: spread(values) for key, values in found.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--functions", type=int, default=200)
    parser.add_argument("--context", type=int, default=CONTEXT, help="of the many functions")
    parser.add_argument("--slots", type=int, default=SLOTS, help="of the many functions")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.requests, options.replicas, options.functions = 1, 4, 2, 5
    model = model_file(options.model)
    same = {"context": CONTEXT, "slots": SLOTS, "threads": options.threads}
    one, all_ = further(model, options, same), many(model, options, options.threads)

    def said(row: dict[str, float]) -> str:
        return f"{mb(row['median'])} (p90 {mb(row['p90'])})"

    def in_ms(row: dict[str, float]) -> str:
        return f"{row['median']:.1f} ms (p90 {row['p90']:.1f})"

    def compared(what: str, ours: dict[str, float], theirs: dict[str, float]) -> Row:
        return Row(what, "", said(ours), said(theirs), f"{ours['median'] / theirs['median']:.3f} ×")

    parts = ", ".join(f"{kind} {mb(all_[kind]['median'])}" for kind in ("server", "templates", "replicas"))
    rows = [
        Row("a replica: private, less its KV", f"≤ {OWN_MB} MB", said(one["own"])),
        Row("its KV, counted low", "", mb(one["kv"]["median"])),
        compared("a replica: private", one["private"], one["peer_private"]),
        compared("a replica: proportional", one["pss"], one["peer_pss"]),
        Row(f"{options.functions} functions: proportional, together", "", f"{mb(all_['all']['median'])}: {parts}"),
        Row("replicas left of them", "", f"{all_['replicas_left']['median']:.0f}"),
        Row("one of them from zero: fork", "", in_ms(all_["fork_ms"])),
        Row("the same: first token", "", in_ms(all_["woken_ms"])),
    ]
    report(
        "further_replica",
        f"after {options.requests} requests over {options.replicas} replicas; peer: {one['peer']}\n{table(rows)}",
        {"unit": "bytes", "model": model.name, "requests": options.requests, **same, "further": one, "functions": all_},
    )


if __name__ == "__main__":
    main()
