"""What every measurement here prints and how contestants are asked: machine, date, command, medians and spread."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import json
import os
import platform
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import processes  # noqa: E402
from support.fixtures import find_model  # noqa: E402
from support.server import Server, cache_dir, llama  # noqa: E402


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
        "p99": at(0.99),
        "min": ordered[0],
        "max": ordered[-1],
    }


class Row(NamedTuple):
    """One line of a table: what was measured, the goal, ours, the peer's, and what the two say together."""

    what: str
    asked: str
    measured: str
    peer: str = ""
    ratio: str = ""


def table(rows: Sequence[Row]) -> str:
    """The rows under their headings, in columns."""
    lines = [Row("what", "asked", "measured", "peer", "ratio"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(Row._fields))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


def arguments(about: str, *, rounds: int = 20, one_model: bool = True) -> argparse.ArgumentParser:
    """The options that every script with rounds has. One that is told to end takes its servers with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if one_model:
        parser.add_argument("--model", help="a GGUF file; default: smollm2 of the cache")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="few and small: shows that it runs, measures nothing")
    return parser


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


def catalogue_file(name: str) -> Path:
    """The file of a model of the catalogue; a server of our own fetches it once into the cache."""
    if found := find_model(name):
        return found
    with Server(cache=cache_dir()) as server:
        done = server.cli("deploy", name, "--wait", seconds=1800)
    if not (found := find_model(name)):
        raise SystemExit(f"{name} cannot be had: {done.stderr.strip() or done.stdout.strip()}")
    return found


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
    cache = cache_dir() / "engine"
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


class Peer(str):
    """The address of a running program that we are measured beside, and its process."""

    def __new__(cls, url: str, pid: int) -> Peer:
        self = super().__new__(cls, url)
        self.pid = pid
        return self


def tcp(url: str, timeout: float = 120) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=timeout)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def get_json(url: str, path: str) -> Any:
    connection = tcp(url)
    connection.request("GET", path)
    data = connection.getresponse().read()
    connection.close()
    return json.loads(data)


def post(connection: http.client.HTTPConnection, path: str, body: dict) -> http.client.HTTPResponse:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection.getresponse()


def path_of(body: dict) -> str:
    return "/v1/completions" if "prompt" in body else "/v1/chat/completions"


def first_content_seconds(url: str, body: dict, *, started: float | None = None) -> float:
    """Time to first token: from `started` (default: now) to the first non-empty content of the stream. A body with
    `prompt` is a completion, one with `messages` a chat."""
    started = time.perf_counter() if started is None else started
    connection = tcp(url)
    reply = post(connection, path_of(body), body | {"stream": True})
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


class Answer(NamedTuple):
    """A call that is not streamed: how long it took, its JSON, its headers (names in small letters)."""

    seconds: float
    body: dict
    headers: dict[str, str]

    @property
    def usage(self) -> dict:
        return self.body["usage"]

    @property
    def cached(self) -> int:
        return (self.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)

    def phase_ms(self, name: str) -> float | None:
        """Of Server-Timing: queue, fetch, load, fork, …"""
        for part in self.headers.get("server-timing", "").split(", "):
            phase, _, duration = part.partition(";dur=")
            if phase == name:
                return float(duration)
        return None


def answered(url: str, body: dict, *, started: float | None = None, timeout: float = 600) -> Answer:
    """One call, to the end of its answer; with `max_tokens` 1 the time is the one to the first token, whether or not
    that token is any text."""
    started = time.perf_counter() if started is None else started
    connection = tcp(url, timeout)
    reply = post(connection, path_of(body), body)
    data = reply.read()
    took = time.perf_counter() - started
    connection.close()
    if reply.status != 200:
        raise SystemExit(f"{url}: {reply.status} {data[:400]!r}")
    return Answer(took, json.loads(data), {name.lower(): value for name, value in reply.getheaders()})


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """All of them begun together, each on a thread of its own; their results in order."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def pss(pids: Sequence[int], kind: str = "Pss") -> int:
    """Proportional memory of processes together, or another line of smaps_rollup; those that just ended hold none."""
    total = 0
    for pid in filter(processes.alive, pids):
        with contextlib.suppress(OSError):
            total += processes.memory_bytes(pid, kind)
    return total


def named_copies(model: Path, count: int, folder: Path) -> list[Path]:
    """Copies of a model file that differ in their name alone (general.name), so that no two have one digest."""
    from gguf import GGUFReader  # slow to load, and not every benchmark has it

    field = GGUFReader(model).fields["general.name"]
    offset = field.offset + sum(part.nbytes for part in field.parts[: field.data[0]])
    copies = []
    for number in range(count):
        copies.append(folder / f"copy-{number}.gguf")
        shutil.copyfile(model, copies[-1])
        with open(copies[-1], "r+b") as file:
            file.seek(offset)
            file.write(bytes([ord("A") + number]))
    return copies


def mb(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


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
) -> Iterator[Peer]:
    """A llama-server on a free port, with the same slots, context per slot and threads as the function beside it."""
    port = free_port()
    command = [str(program), "-m", str(model), "-c", str(context * slots), "-np", str(slots), "-t", str(threads)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-webui", *more]
    with running_program(command, port, wait=wait) as pid:
        yield Peer(f"http://127.0.0.1:{port}", pid)


class MemoryGroup:
    """A cgroup with a limit on memory, pages of files included; for commands that are to run inside."""

    def __init__(self, limit: int) -> None:
        root, file = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        if not root.is_dir():
            root, file = Path("/sys/fs/cgroup"), "memory.max"
        self.folder = root / f"glowplug-bench-{os.getpid()}-{time.monotonic_ns()}"
        self.folder.mkdir()
        (self.folder / file).write_text(str(limit))

    def inside(self, command: Sequence[str]) -> list[str]:
        enter = 'echo $$ > "$0" && exec "$@"'
        return ["/bin/sh", "-c", enter, str(self.folder / "cgroup.procs"), *command]

    def kills(self) -> int:
        """How often the kernel killed inside for want of memory."""
        for name in ("memory.oom_control", "memory.events"):
            if (self.folder / name).exists():
                rows = dict(line.split() for line in (self.folder / name).read_text().splitlines())
                return int(rows["oom_kill"])
        return 0

    def close(self) -> None:
        """Once nothing runs inside."""
        def gone() -> bool:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            return not self.folder.exists()

        until(gone, 20, f"{self.folder} is empty")


@contextlib.contextmanager
def running_program(
    command: Sequence[str],
    port: int,
    *,
    wait: bool = True,
    polite: bool = False,
    env: dict[str, str] | None = None,
) -> Iterator[int]:
    """A server of somebody else's, found ready by its port; yields its process id. One that has processes of its own is
    asked to end (`polite`), and what it leaves behind is killed."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | (env or {})
    )
    family = []
    try:
        if wait:
            until(lambda: reachable(port), 180, f"{command[0]} is ready")
        yield process.pid
    finally:
        if polite:
            family = processes.descendants(process.pid)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
        process.kill()
        process.wait()
        for pid in filter(processes.alive, family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.001)
