#!/usr/bin/env python3
"""What waking from zero adds to the first token, by what was kept: nothing, a template, a template and a spare.

Per contestant and round: one call from zero and one warm call, each with a prompt of the same length that no cache
has seen; the cold overhead is the difference of the two times to first token. Contestants: glowplug started by exec,
forked from its template, handed a spare; llama-server executed for the call; llama-server asleep
(--sleep-idle-seconds, the process stays and loads the model again). Ours run --rounds times, the peers, which take
about a second each, --peer-rounds times, all interleaved. Bytes held while at zero are measured (private
memory, and the mapped model file once) and printed beside each. --plot FILE draws the table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import time
from pathlib import Path
from typing import Callable, Iterator

from common import (
    first_content_seconds,
    llama_server,
    model_file,
    report,
    running_llama_server,
    spread,
    tcp,
    until,
)
from support import processes
from support.server import Server, llama

CONTEXT, SLOTS = 2048, 4
SLEEP_SECONDS = 1
chance = random.Random(4569)


def body() -> dict:
    """A prompt that no cache has seen, from its first token on: a raw completion, because a chat template's own words
    at the head of every prompt would be cached in the warm replica and not in the fresh one."""
    word = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    return {
        "model": "bench",
        "max_tokens": 2,
        "temperature": 0,
        "prompt": f"{word} was the first word of a talk about the weather in the mountains, where clouds rise "
        "along the slopes in the afternoon and bring rain to the valleys below.",
    }


class Glowplug:
    """A function at zero, on a server of its own."""

    def __init__(
        self, name: str, server: Server, model: Path, what_is_ready: Callable[[dict], bool]
    ) -> None:
        self.name, self.server, self.is_ready = name, server, what_is_ready
        self.url, self.file_bytes = server.url, model.stat().st_size

    def go_to_zero(self) -> None:
        self.server.post("/v1/functions/bench/stop")
        until(lambda: self.is_ready(self.server.function("bench")), 30, f"{self.name} is at zero")

    def cold(self) -> float:
        return first_content_seconds(self.url, body())

    def held(self) -> int:
        """What templates and spares hold, and the file that they map once."""
        pids = processes.children(self.server.pid)
        own = sum(processes.memory_bytes(pid, "Pss_Anon") for pid in pids)
        return own + (self.file_bytes if pids else 0)


class Executed:
    """llama-server, executed for the call."""

    name = "llama-server, executed"

    def __init__(self, start: Callable[[], contextlib.AbstractContextManager[str]]) -> None:
        self.start, self.running = start, contextlib.ExitStack()

    def go_to_zero(self) -> None:
        self.running.close()

    def cold(self) -> float:
        started = time.perf_counter()
        self.url = self.running.enter_context(self.start())
        return first_content_seconds(self.url, body(), started=started)

    def held(self) -> int:
        return 0


class Asleep:
    """llama-server that stays and has unloaded its model."""

    name = "llama-server, asleep"

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid

    def go_to_zero(self) -> None:
        until(lambda: self.sleeps(), 30, "llama-server sleeps")

    def sleeps(self) -> bool:
        connection = tcp(self.url)
        connection.request("GET", "/props")
        return b'"is_sleeping":true' in connection.getresponse().read().replace(b" ", b"")

    def cold(self) -> float:
        return first_content_seconds(self.url, body())

    def held(self) -> int:
        return processes.memory_bytes(self.pid, "Pss")


@contextlib.contextmanager
def contestants(model: Path, threads: int) -> Iterator[list]:
    program, _ = llama_server()
    same = {"context": CONTEXT, "slots": SLOTS, "threads": threads}
    function = {"context": CONTEXT, "slots": SLOTS, "keep_alive": -1}
    with contextlib.ExitStack() as stack:
        ours = []
        for name, options, more, ready in (
            ("glowplug, by exec", ["--spares", "0"], {"template": "off"}, None),
            ("glowplug, from its template", ["--spares", "0"], {}, "template"),
            ("glowplug, from a spare", ["--spares", "1"], {}, "spare"),
        ):
            server = stack.enter_context(Server(*options))
            server.deploy(llama("bench", model, resources={"threads": threads}, **function, **more))
            server.chat("bench", max_tokens=1)
            at_zero = (
                lambda row, tier=ready or "disk": row["state"] == "cold" and row["tier"] == tier
            )
            ours.append(Glowplug(name, server, model, at_zero))
        before = set(processes.children(os.getpid()))
        asleep = stack.enter_context(
            running_llama_server(
                program, model, more=["--sleep-idle-seconds", str(SLEEP_SECONDS)], **same
            )
        )
        (pid,) = set(processes.children(os.getpid())) - before
        executed = Executed(lambda: running_llama_server(program, model, **same))
        stack.callback(executed.go_to_zero)
        yield [*ours, executed, Asleep(asleep, pid)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--peer-rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    model = model_file(options.model)
    model.read_bytes()  # into the page cache
    results: dict[str, dict] = {}
    with contestants(model, options.threads) as all_:
        times = {one.name: {"cold": [], "warm": [], "held": []} for one in all_}
        slow = {"glowplug, by exec", "llama-server, executed", "llama-server, asleep"}
        every = max(1, options.rounds // max(1, options.peer_rounds))
        for one in all_:
            one.go_to_zero()
        for turn in range(options.rounds + 1):
            for one in all_:
                if one.name in slow and turn % every:
                    continue
                held = one.held() if turn % every == 0 else None
                cold, warm = one.cold(), first_content_seconds(one.url, body())
                one.go_to_zero()  # and nobody computes beside the next
                if turn == 0:  # warms the machine
                    continue
                times[one.name]["cold"].append(cold * 1000)
                times[one.name]["warm"].append(warm * 1000)
                if held is not None:
                    times[one.name]["held"].append(held)
    for name, kept in times.items():
        warm = statistics.median(kept["warm"])
        overhead = sorted(cold - warm for cold in kept["cold"])
        results[name] = {
            "cold_ms": spread(kept["cold"]),
            "warm_ms": spread(kept["warm"]),
            "overhead_ms": spread(overhead)
            | {"p99": overhead[min(len(overhead) - 1, round(0.99 * (len(overhead) - 1)))]},
            "held_bytes": statistics.median(kept["held"]),
        }
    base = results["glowplug, from its template"]["overhead_ms"]["median"]
    lines = [
        f"{name}: +{row['overhead_ms']['median']:.1f} ms (p99 {row['overhead_ms']['p99']:.0f}, n "
        f"{row['overhead_ms']['n']}), first token {row['cold_ms']['median']:.0f} against "
        f"{row['warm_ms']['median']:.0f} warm, {row['held_bytes'] / 1e6:.0f} MB held at zero, "
        f"{row['overhead_ms']['median'] / base:.1f} × the template's"
        for name, row in results.items()
    ]
    report(
        "cold_overhead",
        "\n  ".join(["what waking adds to the first token", *lines]),
        {"unit": "ms", "model": model.name, "threads": options.threads, "results": results},
    )
    if options.plot:
        draw(results, options.plot, f"model file of {model.stat().st_size / 1e6:.0f} MB")


def draw(results: dict[str, dict], file: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(results)
    values = [results[name]["overhead_ms"]["median"] for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 2.8), layout="constrained")
    colours = ["#c2410c" if name.startswith("glowplug") else "#94a3b8" for name in names]
    bars = axes.barh(names, [max(value, 0.1) for value in values], color=colours)
    labels = [
        f" {value:.1f} ms, {results[name]['held_bytes'] / 1e6:.0f} MB held"
        for name, value in zip(names, values, strict=True)
    ]
    axes.bar_label(bars, labels, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(0.1, max(values) * 30)
    axes.invert_yaxis()
    axes.set_xlabel("added to the first token by waking from zero, ms (log scale, medians)")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
