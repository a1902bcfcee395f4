#!/usr/bin/env python3
"""Eight functions on models of three sizes with memory for three, driven by bursts for ten minutes.

Every call is expected to be answered, or refused honestly (429, 503 with Retry-After). What the server holds is read
from its metrics and from the kernel every two seconds, beside its budget. The bursts come from a seed and are written
to --trace as a file that `glowplug simulate --trace` reads; --world names the file that says what this machine's models
take, and then the simulator's count of cold starts stands beside the measured one.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from common import Row, arguments, catalogue_file, mb, model_file, post, report, spread, table, tcp
from support import processes
from shapes import shape_file
from support.server import GLOWPLUG, Server, llama

MB = 1_000_000


class Call(NamedTuple):
    at: float
    function: str
    prompt_tokens: int
    output_tokens: int


class Outcome(NamedTuple):
    status: int
    cold: bool
    tier: str
    first_token_s: float | None
    error: str = ""


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


def words(count: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(("one", "two", "three", "four", "red", "blue")) for _ in range(count))


def ask(url: str, call: Call, number: int, start: float) -> Outcome:
    time.sleep(max(0.0, start + call.at - time.monotonic()))
    began = time.monotonic()
    body = {
        "model": call.function,
        "prompt": f"{number} {words(call.prompt_tokens, number)}",
        "max_tokens": call.output_tokens,
        "temperature": 0,
        "stream": True,
    }
    try:
        connection = tcp(url)
        reply = post(connection, "/v1/completions", body)
        first = None
        text = b""
        for line in reply:
            if first is None and line.startswith(b"data:"):
                first = time.monotonic() - began
            text += line
        connection.close()
    except OSError as error:
        return Outcome(0, False, "", None, repr(error))
    whole = reply.status != 200 or b"[DONE]" in text
    return Outcome(
        reply.status if whole else -1,
        reply.getheader("x-glowplug-cold-start") == "true",
        reply.getheader("x-glowplug-start-tier") or "",
        first,
        "" if reply.status == 200 and whole else text[-300:].decode(errors="replace"),
    )


class Watch:
    """What is reserved and held, every two seconds."""

    def __init__(self, server: Server) -> None:
        self.reserved: list[int] = []
        self.held: list[float] = []
        self._server, self._stop = server, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(2):
            text = self._server.get("/metrics").text
            kinds = re.findall(r'glowplug_process_memory_reserved_bytes\{kind="\w+"\} (\d+)', text)
            self.reserved.append(sum(map(int, kinds)))
            children = processes.descendants(self._server.pid)
            self.held.append(sum(processes.memory_bytes(pid, "Pss") for pid in children))


def simulated(trace: Path, world: str) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        line = [str(GLOWPLUG), "simulate", "--trace", str(trace), "--model", world, "--json", out.name]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return json.loads(Path(out.name).read_text())


def main() -> None:
    parser = arguments(__doc__, rounds=1, one_model=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=35, help="mean silence of a function, in seconds")
    parser.add_argument("--memory", default="1000MB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", default="")
    parser.add_argument("--world", default="", help="what the simulator is told of this machine's models")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 30
    files = {"smollm2": model_file(options.model), "gemma3": catalogue_file("gemma3-270m"), "tiny": shape_file("tiny")}
    contexts = {"smollm2": (1024, 1536, 2048), "gemma3": (1024, 1536, 2048), "tiny": (1024, 2048)}
    shapes = [(kind, context) for kind in files for context in contexts[kind]]  # each a template of its own
    names = [f"{kind}-{context}" for kind, context in shapes]
    calls = bursts(names, options.seconds, options.every, options.seed)
    folder = tempfile.TemporaryDirectory(prefix="glowplug-bench-")
    trace = Path(options.trace or f"{folder.name}/trace.csv")
    rows = "".join(f"{c.at:.3f},{c.function},{c.prompt_tokens},{c.output_tokens}\n" for c in calls)
    trace.write_text("time_s,function,prompt_tokens,output_tokens\n" + rows)
    with Server("--memory", options.memory) as server:
        for name, (kind, context) in zip(names, shapes):
            server.deploy(llama(name, files[kind], context=context, slots=2, keep_alive="10s", scale={"max": 1}))
        start = time.monotonic() + 1
        with Watch(server) as watch, ThreadPoolExecutor(64) as pool:
            futures = [pool.submit(ask, server.url, call, i, start) for i, call in enumerate(calls)]
            outcomes = [future.result() for future in futures]
        decisions = server.get("/metrics").text
        budget = int(re.search(r"glowplug_memory_budget_bytes (\d+)", decisions)[1]) if "glowplug_memory_budget_bytes" in decisions else 0
        said = [server.function(name) for name in names]
    bad = [(c, o) for c, o in zip(calls, outcomes) if o.status not in (200, 429, 503)]
    refused = [o for o in outcomes if o.status in (429, 503)]
    cold = [o for o in outcomes if o.cold]
    first = [o.first_token_s for o in outcomes if o.first_token_s is not None]
    print(len(calls), "calls", len(cold), "cold", len(refused), "refused", len(bad), "bad", bad[:3])
    print({t: sum(o.tier == t for o in cold) for t in {o.tier for o in cold}})
    print("reserved max", max(watch.reserved), "held max", max(watch.held), "budget", budget)
    print(spread(first))


if __name__ == "__main__":
    main()
