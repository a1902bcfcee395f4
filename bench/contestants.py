"""Who can be at zero, and how each gets there: glowplug started by exec, from its template, from a spare; llama-server
executed for the call, and asleep. Shared by the measurements of waking."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Iterator

from common import Peer, get_json, llama_server, pss, running_llama_server, spread, until
from support import processes
from support.server import Server, llama

CONTEXT, SLOTS = 2048, 4
SLEEP_SECONDS = 1
LOAD_SECONDS = 180  # a model file of many gigabytes, from a slow disk
SLOW = ("glowplug, by exec", "llama-server, executed", "llama-server, asleep")
OURS = {  # by the tier that a start is from: name, options of the server, more of the manifest
    "disk": ("glowplug, by exec", ["--spares", "0"], {"template": "off"}),
    "template": ("glowplug, from its template", ["--spares", "0"], {}),
    "spare": ("glowplug, from a spare", ["--spares", "1"], {}),
}
ALL = (*OURS, "executed", "asleep")
END = (
    " of a talk about the weather in the mountains, where clouds rise along the slopes in the afternoon and bring rain "
    "to the valleys below."
)
Ask = Callable[..., float]  # ask(url, started=None) → seconds to the first token, from `started` or the call
chance = random.Random(4569)


def unseen(max_tokens: int, end: str = END) -> dict:
    """A prompt that no cache has seen, from its first token on: a raw completion, because a chat template's own words
    at the head of every prompt would be cached in the warm replica and not in the fresh one."""
    word = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    return {
        "model": "bench",
        "max_tokens": max_tokens,
        "temperature": 0,
        "prompt": f"{word} was the first word{end}",
    }


def function(context: int, slots: int, threads: int | str = "auto") -> dict:
    """The manifest's part that all of ours share; a large model may load for longer than a caller usually waits.
    Threads that follow the neighbours are for those that stand beside others."""
    return {
        "context": context,
        "slots": slots,
        "keep_alive": -1,
        "resources": {"threads": threads},
        "limits": {"queue_timeout": f"{LOAD_SECONDS}s"},
    }


def stop(server: Server, name: str, tier: str) -> None:
    """Stops a function and waits until it is at zero with what is kept for its next start: disk, template or spare."""
    server.post(f"/v1/functions/{name}/stop")

    def there() -> bool:
        row = server.function(name)
        # By exec it starts from memory, once the file is in the page cache.
        tiers = (tier, "memory") if tier == "disk" else (tier,)
        return row["state"] == "cold" and row["tier"] in tiers

    until(there, LOAD_SECONDS, f"{name} is at zero ({tier})")


class Glowplug:
    """A function at zero, on a server of its own."""

    def __init__(self, name: str, server: Server, model: Path, tier: str) -> None:
        self.name, self.server, self.tier = name, server, tier
        self.url, self.file_bytes = server.url, model.stat().st_size

    def go_to_zero(self) -> None:
        stop(self.server, "bench", self.tier)

    def cold(self, ask: Ask) -> float:
        return ask(self.url)

    def held(self) -> int:
        """What templates and spares hold, and the file that they map once."""
        pids = processes.children(self.server.pid)
        return pss(pids, "Pss_Anon") + (self.file_bytes if pids else 0)


class Executed:
    """llama-server, executed for the call."""

    name = "llama-server, executed"

    def __init__(self, start: Callable[[], contextlib.AbstractContextManager[str]]) -> None:
        self.start, self.running = start, contextlib.ExitStack()

    def go_to_zero(self) -> None:
        self.running.close()

    def cold(self, ask: Ask) -> float:
        started = time.perf_counter()
        self.url = self.running.enter_context(self.start())
        return ask(self.url, started=started)

    def held(self) -> int:
        return 0


class Asleep:
    """llama-server that stays and has unloaded its model."""

    name = "llama-server, asleep"

    def __init__(self, peer: Peer) -> None:
        self.url, self.pid = peer, peer.pid

    def go_to_zero(self) -> None:
        until(lambda: get_json(self.url, "/props")["is_sleeping"], 30, "llama-server sleeps")

    def cold(self, ask: Ask) -> float:
        return ask(self.url)

    def held(self) -> int:
        return pss([self.pid])


@contextlib.contextmanager
def glowplug(tier: str, model: Path, threads: int, context: int = CONTEXT, slots: int = SLOTS) -> Iterator[Glowplug]:
    """A server whose function `bench` has answered once and starts from that tier."""
    name, options, more = OURS[tier]
    room = 4 * model.stat().st_size + 10**9  # its template holds the weights and may hold them repacked
    with Server(*options, "--template-memory", str(room)) as server:
        server.deploy(llama("bench", model, **function(context, slots, threads), **more))
        server.post("/v1/completions", unseen(1), timeout=LOAD_SECONDS)
        yield Glowplug(name, server, model, tier)


@contextlib.contextmanager
def contestants(
    model: Path, threads: int, context: int = CONTEXT, slots: int = SLOTS, only: tuple[str, ...] = ALL
) -> Iterator[list[Any]]:
    """All five or some of ALL, at whatever their first call left them; measure() sends them to zero."""
    program, _ = llama_server()
    same = {"context": context, "slots": slots, "threads": threads}
    with contextlib.ExitStack() as stack:
        chosen: list[Any] = [stack.enter_context(glowplug(tier, model, **same)) for tier in OURS if tier in only]
        if "executed" in only:
            executed = Executed(lambda: running_llama_server(program, model, **same))
            stack.callback(executed.go_to_zero)
            chosen.append(executed)
        if "asleep" in only:
            sleepy = ["--sleep-idle-seconds", str(SLEEP_SECONDS)]
            chosen.append(Asleep(stack.enter_context(running_llama_server(program, model, more=sleepy, **same))))
        yield chosen


def measure(all_: list[Any], ask: Ask, rounds: int, peer_rounds: int) -> dict[str, dict[str, list[float]]]:
    """Per contestant the milliseconds of calls from zero and of warm ones, and the bytes held at zero; all interleaved,
    those of SLOW only `peer_rounds` times."""
    times = {one.name: {"cold": [], "warm": [], "held": []} for one in all_}
    every = max(1, rounds // max(1, peer_rounds))
    for one in all_:
        one.go_to_zero()
    for turn in range(rounds + 1):
        for one in all_:
            if one.name in SLOW and turn % every:
                continue
            held = one.held() if turn % every == 0 else None
            cold, warm = one.cold(ask), ask(one.url)
            one.go_to_zero()  # and nobody computes beside the next
            if turn == 0:  # warms the machine
                continue
            times[one.name]["cold"].append(cold * 1000)
            times[one.name]["warm"].append(warm * 1000)
            if held is not None:
                times[one.name]["held"].append(held)
    return times


def overheads(times: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """What waking adds: each call from zero over the median of the warm ones."""
    results = {}
    for name, kept in times.items():
        warm = statistics.median(kept["warm"])
        results[name] = {
            "cold_ms": spread(kept["cold"]),
            "warm_ms": spread(kept["warm"]),
            "overhead_ms": spread([cold - warm for cold in kept["cold"]]),
            "held_bytes": statistics.median(kept["held"]),
        }
    return results
