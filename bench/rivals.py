#!/usr/bin/env python3
"""Beside the servers that also bring models from zero: llama-server's router with sleep-on-idle, and llama-swap.

Time to first token: per contestant and round one call from zero and one warm call, prompts that no cache has seen;
glowplug from a spare (as it comes) and from its template, the router asleep, llama-swap with nothing running.

--alternate: two models that take turns, call by call, under a memory limit where one fits: one call at a time, and 8 at
once. Each contestant, with all its processes and the pages of files that they read, is in a cgroup of that limit:
1.75 × what a llama-server of that model holds (--limit-mb names another). The router keeps to --models-max 1,
llama-swap to one at a time, as it comes, glowplug to what the limit leaves for replicas (--memory). A B A B … in both.
llama-swap is built into the cache folder once, or left out with one line (rivals_at_hand.py).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from common import MemoryGroup, Row, answered, arguments, at_once, first_content_seconds, llama_server, mb, model_file
from common import named_copies, pss, report, running_llama_server, spread, table
from contestants import CONTEXT, SLEEP_SECONDS, SLOTS, function, glowplug, measure, overheads, unseen
from rivals_at_hand import llama_swap, router, swap
from support.server import Server, llama

AT_ONCE = 8
TIMES_FASTER = 3


def ask(url: str, started: float | None = None) -> float:
    return first_content_seconds(url, unseen(2), started=started)


def from_zero(model: Path, rounds: int, same: dict[str, int]) -> tuple[list[Row], dict[str, Any]]:
    binary = llama_swap()
    with contextlib.ExitStack() as stack:
        all_: list[Any] = [stack.enter_context(glowplug(tier, model, **same)) for tier in ("spare", "template")]
        asleep = router({"bench": model}, at_once=1, sleep_seconds=SLEEP_SECONDS, **same)
        all_.append(stack.enter_context(asleep))
        all_ += [stack.enter_context(swap(binary, {"bench": model}, **same))] if binary else []
        for one in all_:
            ask(one.url)
        results = overheads(measure(all_, ask, rounds, rounds))
    ours = results[all_[0].name]["cold_ms"]["median"]
    rows = []
    for name, row in results.items():
        cold, warm, added = row["cold_ms"], row["warm_ms"]["median"], row["overhead_ms"]["median"]
        first = f"{cold['median']:.0f} ms (p90 {cold['p90']:.0f}), warm {warm:.0f}, added {added:+.1f}"
        says = Row(f"first token from zero: {name}", "", first, "", f"{cold['median'] / ours:.2f} ×")
        if not name.startswith("glowplug"):
            says = says._replace(measured="", peer=first)
        rows += [says, Row(f"held at zero: {name}", "", mb(row["held_bytes"]))]
    return rows, results


HEADROOM = 32_000_000  # of the limit: glowplug's server, and what the kernel counts beside the processes


class Grouped(Server):
    """A server all of whose processes are in a cgroup with a limit."""

    def __init__(self, group: MemoryGroup, *args: str) -> None:
        super().__init__(*args)
        self.group = group

    @property
    def command(self) -> list[str]:
        return self.group.inside(super().command)


class Rate(NamedTuple):
    answered_per_second: float
    p99_ms: float
    refused: int


def calls_per_second(url: str, calls: int, callers: int) -> Rate:
    """Calls of two models in turn, drawn by so many callers from one row of them. A server that refuses some, or breaks
    them by its own swapping, is slower by as many."""
    numbers, lock = itertools.count(), threading.Lock()
    refused: list[str] = []
    took: list[float] = []

    def caller() -> None:
        while True:
            with lock:
                number = next(numbers)
            if number >= calls:
                return
            try:
                took.append(answered(url, unseen(4) | {"model": "ab"[number % 2]}).seconds * 1000)
            except (SystemExit, OSError) as failure:
                refused.append(str(failure))

    began = time.perf_counter()
    at_once([caller] * callers)
    p99 = spread(took)["p99"] if took else float("inf")
    return Rate((calls - len(refused)) / (time.perf_counter() - began), p99, len(refused))


def one_fits(model: Path, same: dict[str, int]) -> int:
    """Bytes where one llama-server of this model fits, and no second."""
    program, _ = llama_server()
    with running_llama_server(program, model, **same) as peer:
        answered(peer, unseen(4))
        return int(1.75 * pss([peer.pid]))


def alternate(model: Path, options: argparse.Namespace, same: dict[str, int]) -> tuple[list[Row], dict[str, Any]]:
    limit, binary = options.limit_mb * 10**6 or one_fits(model, same), llama_swap()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glowplug-bench-")))
        models = dict(zip("ab", named_copies(model, 2, folder), strict=True))

        def group() -> MemoryGroup:
            made = MemoryGroup(limit)
            stack.callback(made.close)
            groups.append(made)
            return made

        groups: list[MemoryGroup] = []
        server = stack.enter_context(Grouped(group(), "--memory", f"{(limit - HEADROOM) // 10**6}MB"))
        for name, file in models.items():
            server.deploy(llama(name, file, **function(same["context"], same["slots"])))
        urls = {"glowplug": server.url}
        peer = stack.enter_context(router(models, at_once=1, sleep_seconds=None, group=group(), **same))
        urls[peer.name] = peer.url
        if binary:
            urls["llama-swap"] = stack.enter_context(swap(binary, models, group=group(), **same)).url
        rates: dict[str, dict[str, list[float]]] = {
            name: {kind: [] for kind in ("one", "one_p99_ms", "many", "many_p99_ms", "refused")} for name in urls
        }
        for turn in range(options.rounds + 1):
            for name, url in urls.items():
                one = calls_per_second(url, options.calls, 1)
                many = calls_per_second(url, options.calls * 4, AT_ONCE)
                if turn:  # the first turn warms the machine
                    kept = rates[name]
                    kept["one"].append(one.answered_per_second)
                    kept["one_p99_ms"].append(one.p99_ms)
                    kept["many"].append(many.answered_per_second)
                    kept["many_p99_ms"].append(many.p99_ms)
                    kept["refused"].append((one.refused + many.refused) / (5 * options.calls))
        decisions = [row["decision"] for name in models for row in server.decisions(name)]
        kills = [one.kills() for one in groups]
    results = {name: {kind: spread(values) for kind, values in kinds.items()} for name, kinds in rates.items()}
    rows = alternating_rows(results)
    loads, forks = decisions.count("load"), decisions.count("start")
    rows.append(Row("glowplug's loads and starts, of the last decisions", "", f"{loads} and {forks}"))
    rows.append(Row("killed by the kernel for want of memory", "", str(kills[0]), str(sum(kills[1:]))))
    return rows, {"limit_bytes": limit, "calls_per_second": results, "loads": loads, "starts": forks, "kills": kills}


def alternating_rows(results: dict[str, dict[str, dict[str, float]]]) -> list[Row]:
    rows = []
    for kind, what in (("one", "one call at a time"), ("many", f"{AT_ONCE} at once")):
        for unit, goal, key in (("calls/s", f"≥ {TIMES_FASTER} ×", kind), ("p99, ms", "≤ ⅓ ×", f"{kind}_p99_ms")):
            ours = results["glowplug"][key]["median"]
            for name in list(results)[1:]:
                theirs = results[name][key]["median"]
                row = Row(f"two models in turn, {what}, {unit}; {name}", goal, f"{ours:.2f}")
                rows.append(row._replace(peer=f"{theirs:.2f}", ratio=f"{ours / theirs:.2f} ×"))
    refused = ", ".join(f"{name} {row['refused']['median']:.0%}" for name, row in results.items())
    return [*rows, Row("calls not answered", "", refused)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--alternate", action="store_true", help="two models in turn, instead of the first token")
    parser.add_argument("--calls", type=int, default=8, help="one at a time; four times as many at once")
    parser.add_argument("--limit-mb", type=int, default=0)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.calls = 1, 2
    model, (_, build) = model_file(options.model), llama_server()
    same = {"context": CONTEXT, "slots": SLOTS, "threads": options.threads}
    rows, results = alternate(model, options, same) if options.alternate else from_zero(model, options.rounds, same)
    name = "rivals_alternating" if options.alternate else "rivals"
    limit = f"; limit {mb(results['limit_bytes'])}" if options.alternate else ""
    report(
        name,
        f"beside those that bring models from zero{limit}; their llama-server: {build}\n{table(rows)}",
        {"peer": build, "model": model.name, **same, "results": results},
    )


if __name__ == "__main__":
    main()
