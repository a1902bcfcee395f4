#!/usr/bin/env python3
"""Eight functions on models of three sizes with memory for three, driven by bursts for ten minutes; and what the
simulator foretold of it.

Every call is to be answered, or refused honestly (429, 503 with Retry-After). What the server reserves and what its
processes hold is read every two seconds and stands beside the budget. First each model is measured alone: how long it
loads and forks, reads and answers, and what it holds. That, the models' files and the calls as they came are all that
`glowplug simulate` is told; its count of cold starts and its times then stand beside the measured ones.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from common import Row, arguments, catalogue_file, mb, model_file, post, pss, report, spread, table, tcp
from shapes import shape_file
from support import processes
from support.load import Highest
from support.server import GLOWPLUG, Server, llama, wait_until

CONTEXTS = {"smollm2": (1024, 1536, 2048), "gemma3": (1024, 1536, 2048), "tiny": (1024, 2048)}
SLOTS = 2
LOADED_FROM = ("remote", "disk", "memory")  # tiers from which a start reads the weights
THRASH_S = 10.0  # a model that is loaded again within this long was given up for nothing
WORDS = ("one", "two", "three", "four", "red", "blue")


class Call(NamedTuple):
    at: float  # s from the beginning
    function: str
    words: int
    output_tokens: int


class Outcome(NamedTuple):
    status: int  # 0 = no answer, -1 = one that broke off
    tier: str = ""  # empty = it found a replica
    retry_after: str | None = None
    first_token_s: float | None = None
    all_s: float = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str = ""
    phases: dict[str, float] = {}  # ms, of its start

    def token_ms(self) -> float:
        return (self.all_s - (self.first_token_s or 0)) / max(1, self.output_tokens - 1) * 1000


def bursts(functions: list[str], seconds: float, every: float, seed: int) -> list[Call]:
    """Each function is silent for a while, exponentially long, and then called three to six times within a second."""
    draw, calls = random.Random(seed), []
    for name in functions:
        at = draw.expovariate(1 / every)
        while at < seconds:
            for _ in range(draw.randint(3, 6)):
                calls.append(Call(at + draw.uniform(0, 1), name, draw.randint(20, 60), draw.randint(4, 24)))
            at += 1 + draw.expovariate(1 / every)
    return sorted(call for call in calls if call.at < seconds)


def ask(url: str, call: Call, number: int) -> Outcome:
    draw = random.Random(number)
    body = {
        "model": call.function,
        "prompt": f"{number} " + " ".join(draw.choices(WORDS, k=call.words)),
        "max_tokens": call.output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.monotonic()
    connection = tcp(url)
    try:
        reply = post(connection, "/v1/completions", body)
        first, lines, usage = None, [], {}
        for line in reply:
            lines.append(line)
            if not line.startswith(b"data: {"):
                continue
            first = first or time.monotonic() - began
            usage = json.loads(line[6:]).get("usage") or usage
    except OSError as error:
        return Outcome(0, error=repr(error))
    finally:
        connection.close()
    whole = reply.status != 200 or b"data: [DONE]\n" in lines
    said = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.getheader("server-timing") or ""))
    return Outcome(
        status=reply.status if whole else -1,
        tier=reply.getheader("x-glowplug-start-tier") or "",
        retry_after=reply.getheader("retry-after"),
        first_token_s=first if reply.status == 200 else None,
        all_s=time.monotonic() - began,
        prompt_tokens=usage.get("prompt_tokens", 0),
        output_tokens=usage.get("completion_tokens", 0),
        error="" if reply.status == 200 and whole else b"".join(lines)[-300:].decode(errors="replace"),
        phases={name: float(took) for name, took in said.items()},
    )


def bytes_of(text: str) -> int | None:
    """Of a size as the server reads it; nothing where it is none."""
    units = ["", "B"], ["kB", "KB"], ["MB"], ["GB"], ["TB"]
    factors = {name: 1000**power for power, names in enumerate(units) for name in names}
    factors |= {f"{letter}iB": 1024 ** (power + 1) for power, letter in enumerate("KMGT")}
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([a-zA-Z]*)", text)
    if found is None or found[2] not in factors or float(found[1]) == 0:
        return None
    return int(float(found[1]) * factors[found[2]])


def reserved_bytes(server: Server) -> int:
    text = server.get("/metrics").text
    return sum(map(int, re.findall(r'glowplug_process_memory_reserved_bytes\{kind="\w+"\} (\d+)', text)))


def measured(files: dict[str, Path], threads: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Of each model what the world file says of it, and what a start costs."""
    models, loads, forks = [], [], []
    with Server("--memory", "4000MB", "--spares", "0") as server:
        for kind, file in files.items():
            name = f"{kind}-alone"
            server.deploy(llama(name, file, slots=SLOTS, keep_alive="1s"))
            ask(server.url, Call(0, name, 40, 8), 0)  # its file is verified, and in the page cache from now on
            warm = [ask(server.url, Call(0, name, 40, 25), 100 + i) for i in range(6)]
            with ThreadPoolExecutor(2) as pool:
                pairs = list(pool.map(lambda i: ask(server.url, Call(0, name, 5, 25), 200 + i), range(4)))
            row = server.function(name)
            pids = [server.pid_of(row["template"]["id"]), server.pid_of(row["replica_list"][0]["id"])]
            both = sum(processes.memory_bytes(pid, "Pss") for pid in pids)
            wait_until(lambda: not server.function(name)["replica_list"], 30, "it is at zero")
            alone = processes.memory_bytes(pids[0], "Pss")
            for context in (1792, 1280):  # each a template of its own, so that it loads again
                server.deploy(llama(f"{kind}-{context}", file, context=context, slots=SLOTS, keep_alive="1s"))
                cold = ask(server.url, Call(0, f"{kind}-{context}", 40, 8), context)
                loads.append((file.stat().st_size, cold.phases["load"]))
                forks.append(cold.phases["fork"])
            decode = statistics.median(one.token_ms() for one in warm)
            more = min(max(statistics.median(one.token_ms() for one in pairs) - decode, 0), decode)
            prefill = statistics.median(one.prompt_tokens / one.first_token_s for one in warm)
            models.append({
                "name": kind,
                "gguf": str(file),
                "template": max(1, int(alone - file.stat().st_size)),
                "forked": max(1, int(both - alone)),
                "threads": threads,
                "prefill_tokens_per_s": round(prefill, 1),
                "step": f"{decode - more:.3f}ms",
                "step_stream": f"{more:.3f}ms",
                "step_mixed": f"{decode + 20 / prefill * 1000:.3f}ms",
            })  # fmt: skip
    slope, exec_ms = statistics.linear_regression(*zip(*loads))
    return models, {"exec": f"{max(1, exec_ms):.1f}ms", "load_s_per_gb": max(0, round(slope * 1e6, 3)),
                    "fork": f"{statistics.median(forks):.1f}ms"}  # fmt: skip


def foretold(trace: Path, world: Path) -> dict[str, Any]:
    line = [str(GLOWPLUG), "simulate", "--trace", str(trace), "--model", str(world), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def loads(calls: list[Call], outcomes: list[Outcome]) -> dict[str, list[float]]:
    """When each function was loaded anew; calls that waited for the same load came within two seconds."""
    when: dict[str, list[float]] = {}
    for call, one in zip(calls, outcomes):
        if one.tier in LOADED_FROM:
            when.setdefault(call.function, []).append(call.at)
    return {
        name: [at for at, before in zip(all_of, [-10.0, *all_of]) if at - before > 2] for name, all_of in when.items()
    }


def live(
    options: Any, names: list[str], files: dict[str, Path], calls: list[Call]
) -> tuple[list[Outcome], float, float]:
    """What became of the calls, and how many bytes were reserved and held at most."""
    with Server("--memory", options.memory) as server:
        for name in names:
            kind, context = name.split("-")
            server.deploy(
                llama(name, files[kind], context=int(context), slots=SLOTS, keep_alive=options.keep_alive)
            )
        start = time.monotonic() + 1

        def on_time(number: int, call: Call) -> Outcome:
            time.sleep(max(0.0, start + call.at - time.monotonic()))
            return ask(server.url, call, number)

        with (
            Highest(lambda: reserved_bytes(server), every=2) as reserved,
            Highest(lambda: pss(processes.descendants(server.pid)), every=2) as held,
            ThreadPoolExecutor(128) as pool,
        ):
            return list(pool.map(on_time, range(len(calls)), calls)), reserved.seen, held.seen


def main() -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=30, help="mean silence of a function, in seconds")
    parser.add_argument("--memory", default="1000MB", help="of the server: for three of the models")
    parser.add_argument("--keep-alive", default="20s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, help="a folder that gets the trace, the world file, and what became of each call"
    )
    options = parser.parse_args()
    budget = bytes_of(options.memory)
    if budget is None:
        parser.error(f"--memory: '{options.memory}' is no size; write 1000MB or 1GiB")
    if options.quick:
        options.seconds = 30
    files = {
        "smollm2": model_file(options.model),
        "gemma3": catalogue_file("gemma3-270m"),
        "tiny": shape_file("tiny"),
    }
    names = [f"{kind}-{context}" for kind, all_of in CONTEXTS.items() for context in all_of]
    calls = bursts(names, options.seconds, options.every, options.seed)
    models, starts = measured(files, options.threads)
    outcomes, reserved, held = live(options, names, files, calls)

    answered = [one for one in outcomes if one.status == 200]
    refused = [one for one in outcomes if one.status in (429, 503) and one.retry_after]
    wrong = [(call, one) for call, one in zip(calls, outcomes) if one not in answered and one not in refused]
    cold = [one for one in outcomes if one.tier]

    with tempfile.TemporaryDirectory(prefix="glowplug-bench-") as folder:
        place = options.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        rows = [
            f"{call.at:.3f},{call.function},{max(1, one.prompt_tokens)},{max(1, one.output_tokens)}"
            for call, one in zip(calls, outcomes)
        ]
        (place / "trace.csv").write_text("\n".join(["time_s,function,prompt_tokens,output_tokens", *rows]) + "\n")
        came = [
            {"at": call.at, "function": call.function} | one._asdict() for call, one in zip(calls, outcomes)
        ]
        (place / "calls.json").write_text(json.dumps(came))
        world = {
            "machine": {"memory": options.memory, "cores": options.threads, "page_cache": "8GB"},
            "models": models,
            "files": "shared",
            "starts": starts,
            "function": {"slots": SLOTS, "keep_alive": options.keep_alive},
            "functions": {  # that were called
                name: {"model": name.split("-")[0], "context": int(name.split("-")[1])}
                for name in sorted({call.function for call in calls})
            },
        }
        (place / "world.yaml").write_text(json.dumps(world, indent=1))
        simulated = foretold(place / "trace.csv", place / "world.yaml")

    first = spread([one.first_token_s for one in answered if one.first_token_s])
    loaded = loads(calls, outcomes)
    again = sum(b - a < THRASH_S for all_of in loaded.values() for a, b in zip(all_of, all_of[1:]))
    tiers = {tier: sum(one.tier == tier for one in cold) for tier in simulated["cold_from"]}
    ratio = simulated["cold"] / max(1, len(cold))
    in_first = simulated["first_token"]
    lines = [
        Row("answered / refused honestly / wrong", "0 wrong", f"{len(answered)} / {len(refused)} / {len(wrong)}"),
        Row("reserved at most", f"≤ {mb(budget)}", mb(reserved)),
        Row("held at most", f"≤ {mb(budget)}", mb(held)),
        Row("cold starts; the simulator's", "0.85–1.15", str(len(cold)), str(simulated["cold"]), f"{ratio:.2f}"),
        *(
            Row(f"  from {tier}", "", str(count), str(simulated["cold_from"][tier]))
            for tier, count in tiers.items()
            if count or simulated["cold_from"][tier]
        ),
        Row(f"loads; again within {THRASH_S:.0f} s", "0 again", f"{sum(map(len, loaded.values()))}; {again}"),
        Row("first token p50; the simulator's", "", f"{first['median']:.3f} s", f"{in_first['p50_s']:.3f} s",
            f"{in_first['p50_s'] / first['median']:.2f}"),
        Row("first token p99; the simulator's", "", f"{first['p99']:.3f} s", f"{in_first['p99_s']:.3f} s",
            f"{in_first['p99_s'] / first['p99']:.2f}"),
    ]  # fmt: skip
    report(
        "fleet_of_eight",
        f"8 functions, {options.memory}, {len(calls)} calls in {options.seconds:.0f} s\n{table(lines)}",
        {
            "calls": len(calls),
            "answered": len(answered),
            "refused": len(refused),
            "wrong": [(*call, one.status, one.error) for call, one in wrong],
            "cold": len(cold),
            "cold_from": tiers,
            "loads": {name: len(all_of) for name, all_of in loaded.items()},
            "loaded_again_soon": again,
            "first_token_s": first,
            "reserved_bytes_most": reserved,
            "held_bytes_most": held,
            "budget_bytes": budget,
            "models": models,
            "starts": starts,
            "simulated": simulated,
        },
    )


if __name__ == "__main__":
    main()
