"""What every measurement here prints and how contestants are asked: machine, date, command, medians and spread."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.fixtures import find_model  # noqa: E402
from support.server import Server, llama  # noqa: E402


def machine() -> str:
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    return (
        f"{len(os.sched_getaffinity(0))} × {cpu}, {memory / 1e6:.0f} GB, Linux {platform.release()}"
    )


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]

    return {
        "n": len(ordered),
        "median": statistics.median(ordered),
        "p10": at(0.1),
        "p90": at(0.9),
        "min": ordered[0],
        "max": ordered[-1],
    }


def report(name: str, line: str, results: dict[str, Any]) -> None:
    """One line for people on stderr, one JSON object for scripts on stdout."""
    print(
        f"{name}: {line}\n  {machine()}; {datetime.date.today()}; load {os.getloadavg()[0]:.1f}; "
        f"{shlex.join(['python3', *sys.argv])}",
        file=sys.stderr,
    )
    print(
        json.dumps(
            {
                "bench": name,
                "machine": machine(),
                "date": str(datetime.date.today()),
                "load_1m": os.getloadavg()[0],
                "command": shlex.join(["python3", *sys.argv]),
                **results,
            }
        )
    )


def model_file(named: str | None = None) -> Path:
    path = Path(named) if named else find_model()
    if not path or not path.exists():
        raise SystemExit(
            "no model file; pass --model FILE.gguf, set GLOWPLUG_TEST_MODEL, or run: glowplug deploy smollm2"
        )
    return path


def llama_server() -> tuple[Path, str]:
    """(program, which build): the stock one when it has been built, else the engine's own (OpenMP off)."""
    if named := os.environ.get("GLOWPLUG_LLAMA_SERVER"):
        return Path(named), "GLOWPLUG_LLAMA_SERVER"
    cache = (
        Path(
            os.environ.get("GLOWPLUG_CACHE_DIR")
            or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glowplug"
        )
        / "engine"
    )
    for variant, label in (("stock", "stock (OpenMP on)"), ("engine", "engine build (OpenMP off)")):
        for program in sorted(cache.glob(f"{variant}-*/bin/llama-server")):
            return program, label
    raise SystemExit("no llama-server; build one with: cmake/engine.sh stock")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, for asking a replica directly."""

    def __init__(self, path: str, timeout: float = 60) -> None:
        super().__init__("replica", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def tcp(url: str, timeout: float = 120) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=timeout)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def post(connection: http.client.HTTPConnection, path: str, body: dict) -> http.client.HTTPResponse:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection.getresponse()


def first_content_seconds(url: str, body: dict, *, started: float | None = None) -> float:
    """Time to first token: from `started` (default: now) to the first non-empty content of the stream. A body with
    `prompt` is a completion, one with `messages` a chat."""
    started = time.perf_counter() if started is None else started
    connection = tcp(url)
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    reply = post(connection, path, body | {"stream": True})
    if reply.status != 200:
        raise SystemExit(f"{url}: {reply.status} {reply.read()[:400]!r}")
    took = None
    for line in reply:
        if line.startswith(b"data: {") and took is None:
            choices = json.loads(line[6:]).get("choices") or []
            if choices and (choices[0].get("text") or choices[0].get("delta", {}).get("content")):
                took = time.perf_counter() - started
    connection.close()
    if took is None:
        raise SystemExit(f"{url}: the stream held no content")
    return took


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def reachable(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def deploy_bench(
    server: Server, model: Path, *, context: int, slots: int, threads: int, **more: Any
) -> None:
    """The function `bench`, kept loaded once it is: what running_llama_server() stands beside."""
    resources = {"threads": threads}
    server.deploy(
        llama("bench", model, context=context, slots=slots, keep_alive=-1, resources=resources, **more)
    )


@contextlib.contextmanager
def running_llama_server(
    program: Path,
    model: Path,
    *,
    context: int,
    slots: int,
    threads: int,
    wait: bool = True,
    more: Sequence[str] = (),
) -> Iterator[str]:
    """A llama-server on a free port, with the same slots, context per slot and threads as the function beside it."""
    port = free_port()
    process = subprocess.Popen(
        [
            str(program),
            "-m",
            str(model),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "-c",
            str(context * slots),
            "-np",
            str(slots),
            "-t",
            str(threads),
            "--no-webui",
            *more,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if wait:
            until(lambda: reachable(port), 60, f"{program} is ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.001)
