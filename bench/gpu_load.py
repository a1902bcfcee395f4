#!/usr/bin/env python3
"""Waking on a GPU: first token from zero, and how fast weights come onto the device beside what its link carries.

The link's limit is a copy from pinned memory, as CUDA's own functions do it. Per model file, which is in the page
cache: glowplug by exec, glowplug from a worker that stands by, llama-server executed for the call with its file
mapped, and read; A B A B …, one token of a prompt that no cache has seen. The rate of the weights is what the worker
says of itself in the function's log.

For a build with CUDA (./dev build cuda); GLOWPLUG_LLAMA_SERVER names a llama-server with CUDA.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import statistics
import time
from pathlib import Path
from typing import Any

from cold_shapes import into_page_cache
from common import Row, answered, arguments, deploy_bench, llama_server, report, running_llama_server, spread, table
from contestants import stop, unseen
from shapes import SHAPES, shape_file
from support.server import Server

CONTEXT, SLOTS = 2048, 4
LINK_BYTES, LINK_COPIES = 1 << 30, 7
HOST_TO_DEVICE = 1  # cudaMemcpyHostToDevice
STANDBY_SECONDS = 3  # until the next worker has its context
OURS = {"glowplug, by exec": 0, "glowplug, standing by": 1}
PEERS = {"llama-server, mapped": ["-lm", "mmap"], "llama-server, read": ["-lm", "none"]}
RATE = re.compile(r"of weights put on the GPU at ([0-9.]+) GB/s")


def link_limit() -> float:
    """Bytes per second from pinned memory to the first GPU."""
    for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12"):
        with contextlib.suppress(OSError):
            cuda = ctypes.CDLL(name)
            break
    else:
        raise SystemExit("no CUDA runtime library (libcudart.so): this measurement needs a GPU")
    host, device = ctypes.c_void_p(), ctypes.c_void_p()
    size = ctypes.c_size_t(LINK_BYTES)
    if cuda.cudaMallocHost(ctypes.byref(host), size) or cuda.cudaMalloc(ctypes.byref(device), size):
        raise SystemExit("CUDA gives no memory: is there a GPU?")
    ctypes.memset(host, 1, LINK_BYTES)
    rates = []
    for _ in range(LINK_COPIES):
        started = time.perf_counter()
        if cuda.cudaMemcpy(device, host, size, HOST_TO_DEVICE):
            raise SystemExit("a copy to the GPU failed")
        rates.append(LINK_BYTES / (time.perf_counter() - started))
    cuda.cudaFree(device)
    cuda.cudaFreeHost(host)
    return statistics.median(rates)


def said_rate(server: Server) -> float:
    """Of the last load, as the worker said it; bytes per second."""
    found = RATE.findall(server.get("/v1/functions/bench/logs").text)
    if not found:
        raise SystemExit("the function's log says no rate: is this a build with CUDA, and the model on the GPU?")
    return float(found[-1]) * 1e9


def one_model(file: Path, options: Any) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in (*OURS, *PEERS, "warm")}
    loads: dict[str, list[float]] = {name: [] for name in OURS}
    rates: dict[str, list[float]] = {name: [] for name in OURS}
    program, build = llama_server()
    into_page_cache(file)
    with contextlib.ExitStack() as running:
        servers = {
            name: running.enter_context(Server("--standby", str(count))) for name, count in OURS.items()
        }
        for server in servers.values():
            deploy_bench(server, file, context=CONTEXT, slots=SLOTS, threads=options.threads, template="off")
        for turn in range(options.rounds + 1):
            for name, server in servers.items():
                answer = answered(server.url, unseen(1))
                if turn:
                    times[name].append(answer.seconds * 1000)
                    loads[name].append(answer.phase_ms("load") or 0)
                    rates[name].append(said_rate(server))
                    times["warm"].append(answered(server.url, unseen(1)).seconds * 1000)
                stop(server, "bench", "disk")
            for name, more in PEERS.items():
                started = time.perf_counter()
                with running_llama_server(
                    program, file, context=CONTEXT, slots=SLOTS, threads=options.threads, more=more
                ) as peer:
                    seconds = answered(peer, unseen(1), started=started).seconds
                if turn:
                    times[name].append(seconds * 1000)
            time.sleep(STANDBY_SECONDS)
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "peer": build,
        "first_token_ms": {name: spread(values) for name, values in times.items()},
        "load_ms": {name: spread(values) for name, values in loads.items()},
        "weights_per_second": {name: spread(values) for name, values in rates.items()},
    }


def main() -> None:
    parser = arguments(__doc__, rounds=20, one_model=False)
    parser.add_argument("--models", nargs="+", default=["1B", "8B"], help="shapes, or GGUF files")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.models = 2, ["1B"]
    limit = link_limit()
    found, rows = {}, [Row("pinned memory to the GPU", "", f"{limit / 1e9:.1f} GB/s")]
    for name in options.models:
        found[name] = one = one_model(shape_file(name) if name in SHAPES else Path(name), options)
        median = {key: value["median"] for key, value in one["first_token_ms"].items()}
        peer = min(median[key] for key in PEERS)
        for key in OURS:
            rate = one["weights_per_second"][key]["median"]
            rows += [
                Row(f"{name}: {key}", "", f"{median[key]:.0f} ms", f"{peer:.0f} ms", f"{median[key] / peer:.2f} ×"),
                Row("  its weights", "", f"{rate / 1e9:.1f} GB/s", f"{limit / 1e9:.1f} GB/s", f"{rate / limit:.2f} ×"),
            ]
        rows += [Row(f"{name}: {key}", "", f"{median[key]:.0f} ms") for key in (*PEERS, "warm")]
    report("gpu_load", f"waking on a GPU\n{table(rows)}", {"link": limit, "models": found})


if __name__ == "__main__":
    main()
