#!/usr/bin/env python3
"""Ten functions on ten different models, each with a resident template, called once each after a long idleness.

The model files are copies of one that differ in their name, so that nothing is shared between them. After --idle
seconds in which nobody calls, each function is called once from zero and once warm, and that --rounds times; the cold
overhead is the first call over the second, each with a prompt that no cache has seen. Peer: llama-server's router with
the same ten files, all ten loaded and asleep (--sleep-idle-seconds), called the same way in the same rounds. Bytes
held: the proportional memory of all processes of each side right before the calls, mapped model files included.

As many functions more, on files of their own, keep a warm replica and are left idle for as long: what their first call
takes longer than the next is what idleness costs on this machine where nothing is woken.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Row, arguments, first_content_seconds, llama_server, mb, model_file, named_copies, pss
from common import report, spread, table
from contestants import CONTEXT, SLEEP_SECONDS, SLOTS, function, stop, unseen
from rivals_at_hand import router
from support import processes
from support.server import Server, llama


def pair(url: str, name: str) -> tuple[float, float]:
    """Milliseconds to the first token, from zero and right after."""
    cold, warm = (first_content_seconds(url, unseen(2) | {"model": name}) for _ in range(2))
    return cold * 1000, warm * 1000


def summary(pairs: list[tuple[float, float]], held: list[float]) -> dict[str, Any]:
    return {
        "cold_ms": spread([cold for cold, _ in pairs]),
        "warm_ms": spread([warm for _, warm in pairs]),
        "overhead_ms": spread([cold - warm for cold, warm in pairs]),
        "held_bytes": spread(held),
    }


def measure(
    options: Any, models: dict[str, Path], kept: dict[str, Path], same: dict[str, int]
) -> dict[str, dict[str, Any]]:
    ours: list[tuple[float, float]] = []
    warm: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    held: dict[str, list[float]] = {"glowplug": [], "kept": [], "router": []}
    with contextlib.ExitStack() as stack:
        server, keeper = (
            stack.enter_context(Server(f"--spares={options.spares}", "--template-memory", "8GiB")) for _ in range(2)
        )
        for name, file in kept.items():
            keeper.deploy(llama(name, file, **function(same["context"], same["slots"], same["threads"])))
            pair(keeper.url, name)
        for name, file in models.items():
            server.deploy(llama(name, file, **function(same["context"], same["slots"], same["threads"])))
        peer = stack.enter_context(router(models, at_once=len(models), sleep_seconds=SLEEP_SECONDS, **same))
        at_zero = "spare" if options.spares else "template"
        for name in models:
            pair(server.url, name)
            stop(server, name, at_zero)
            pair(peer.url, name)
        for _ in range(options.rounds):
            peer.go_to_zero()
            time.sleep(options.idle)
            held["glowplug"].append(pss([server.pid, *processes.descendants(server.pid)]))
            held["kept"].append(pss([keeper.pid, *processes.descendants(keeper.pid)]))
            held["router"].append(peer.held())
            tiers = {row["function"]: row["tier"] for row in server.functions()}
            if set(tiers.values()) != {at_zero}:
                raise SystemExit(f"not every function kept its {at_zero}: {tiers}")
            for name, other in zip(models, kept, strict=True):
                warm.append(pair(keeper.url, other))
                ours.append(pair(server.url, name))
                stop(server, name, at_zero)  # and nobody computes beside the peer
                theirs.append(pair(peer.url, name))
                peer.go_to_zero()
    return {
        "glowplug": summary(ours, held["glowplug"]),
        "kept": summary(warm, held["kept"]),
        "router": summary(theirs, held["router"]),
    }


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--functions", type=int, default=10)
    parser.add_argument("--idle", type=float, default=600, help="seconds in which nobody calls")
    parser.add_argument("--spares", type=int, default=0, help="of each template")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.functions, options.idle = 1, 2, 2
    model, (_, build) = model_file(options.model), llama_server()
    same = {"context": CONTEXT, "slots": SLOTS, "threads": options.threads}
    with tempfile.TemporaryDirectory(prefix="glowplug-bench-") as folder:
        copies = named_copies(model, 2 * options.functions, Path(folder))
        named = [(f"model-{i}", file) for i, file in enumerate(copies)]
        results = measure(options, dict(named[::2]), dict(named[1::2]), same)
    a, b = results["glowplug"], results["router"]
    files = options.functions * model.stat().st_size
    rows = []
    for what, field in (("from zero", "cold_ms"), ("warm", "warm_ms"), ("added by waking", "overhead_ms")):
        x, y = a[field], b[field]
        first, second = (f"{s['median']:.1f} ms (p90 {s['p90']:.1f}, p99 {s['p99']:.1f})" for s in (x, y))
        rows.append(Row(f"first token, {what}", "", first, second, f"{x['median'] / y['median']:.3f} ×"))
    idled = results["kept"]["overhead_ms"]
    rows.append(Row("added where a replica was kept", "", f"{idled['median']:.1f} ms (p90 {idled['p90']:.1f})"))
    held = (a["held_bytes"]["median"], b["held_bytes"]["median"])
    rows.append(Row("held while idle", "", mb(held[0]), mb(held[1]), f"{held[0] / held[1]:.2f} ×"))
    settings = {"model": model.name, "idle_s": options.idle, "file_bytes": files, **same}
    report(
        "idle_templates",
        f"{options.functions} functions on as many files of {mb(files / options.functions)}, called after "
        f"{options.idle:.0f} s of idleness, {a['cold_ms']['n']} calls; peer: the router asleep, {build}\n{table(rows)}",
        {"unit": "ms", "peer": build, **settings, **results},
    )


if __name__ == "__main__":
    main()
