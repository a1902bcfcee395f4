"""What a server holds of the machine, counted, so that a test can say that a fault has left nothing behind, and how
much memory it has and has reserved, so that one can say that it does not grow.

What is counted is seen in /proc, the run folder and the cgroup tree; what is reserved the server is asked for, on
connections that are closed before anything is counted. Looking wakes nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, TypeVar

import httpx

from . import processes
from .counts import SAMPLE
from .server import Server, wait_until

PAUSE_SECONDS = 0.05
STEADY_LOOKS = 3  # equal ones in a row
# Bytes of the server's own, of 3 to 5 MiB. The allocator keeps what was used once: an arena and a cache for each
# thread, buffers of the first fetch and the first start. The suites grow by 0.03 to 1.4 MiB; what grows from start to
# start is held to less by test_server_memory.py.
GROWS_BY = 4 << 20
MEASURED_WITHIN_SECONDS = 20.0  # what is ready, one after the other; it is reserved another number of bytes then
RESERVED = "glowplug_process_memory_reserved_bytes"
CGROUPS = Path("/sys/fs/cgroup")


def _sockets(pid: int) -> dict[str, str]:
    """The kind of each socket's inode; those of a pair have no path and are in unix too."""
    kinds: dict[str, str] = {}
    for table, inode in (("tcp", 9), ("tcp6", 9), ("unix", 6)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                kinds[line.split()[inode]] = f"{table.rstrip('6')} socket"
    return kinds


def _descriptors(server: Server) -> Iterator[str]:
    """One line for each, without what differs between two of a kind: numbers of processes and inodes, random names.

    The copies of prompts that lie on the disk may lie in memory too. A model file that no function names any more stays
    open until the cache needs room, and the segment of the usage log that calls are appended to from the first one on.
    """
    sockets = _sockets(server.pid)
    copies = len(list(server.data_dir.glob("prompts/states/*.state")))
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # closed meanwhile
        kind, _, rest = target.partition(":")
        if re.match(r"/memfd:(prompt-)?state", target) and copies > 0:
            copies -= 1
        elif kind == "socket":
            yield sockets.get(rest.strip("[]"), "socket")
        elif not re.search(r"/models/blobs/sha256-[0-9a-f]+\.gguf|/usage/\d+\.log$", target):
            yield "file " + re.sub(r"[0-9a-f]{16}|\d+", "N", target)


def _processes(server: Server) -> Iterator[str]:
    living = set(processes.descendants(server.pid))
    for pid in living:
        yield f"process {processes.name_of(pid)}"
    for pid in set(processes.children(server.pid)) - living:
        if processes.name_of(pid) is not None:  # reaped meanwhile
            yield "zombie"


def _cgroups(pid: int) -> list[tuple[str, Path]]:
    """Controllers and folder of the cgroups that a server's own may be made in."""
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = CGROUPS / controllers.removeprefix("name=") / path.lstrip("/")
        found += [(controllers, base) for base in {folder, folder.parent}]
    return found


def _leaves(server: Server) -> Iterator[str]:
    """The cgroup folders of its replicas, of each controller."""
    for controllers, base in _cgroups(server.pid):
        for leaf in base.glob(f"glowplug-{server.pid}*/*"):
            if leaf.is_dir():
                yield f"cgroup {controllers}"


def _files(server: Server) -> Iterator[str]:
    """What lies in the run folder, and what is half written anywhere."""
    for base in filter(None, (server.run_dir,)):
        for path in base.rglob("*"):
            yield "run folder " + re.sub(r"\d+", "N", str(path.relative_to(base)))
    for path in server.data_dir.rglob("*.tmp"):
        yield f"temporary file in {path.parent.relative_to(server.data_dir)}"
    for path in server.cache_dir.rglob("partial/*"):
        yield "partial model file"


def holdings(server: Server) -> Counter[str]:
    """What the server holds now, by kind."""
    found: Counter[str] = Counter()
    for look in (_descriptors, _processes, _leaves, _files):
        found.update(look(server))
    return found


def reserved_for_nobody(devices: list[dict], metrics: str) -> int:
    """Bytes of this machine's memory that none of the processes has that are shown. There are some where a template
    stands below the one that is shown, and while a tune runs; else there are none, whatever each was measured to need.
    """
    reserved = sum(row["reserved_bytes"] for row in devices if row["type"] == "CPU")
    return reserved - sum(int(value) for name, _, value in SAMPLE.findall(metrics) if name == RESERVED)


def _reserved_for_nobody(server: Server) -> int:
    devices = httpx.get(server.admin_url + "/v1/admin/devices", timeout=10).json()["data"]
    return reserved_for_nobody(devices, httpx.get(server.url + "/metrics", timeout=10).text)


Seen = TypeVar("Seen")


def _steady(look: Callable[[], Seen]) -> Seen:
    """What is seen once some looks in a row have found the same: what has just ended is gone by then."""
    looks = [look()]
    for _ in range(200):
        time.sleep(PAUSE_SECONDS)
        looks = [*looks[1 - STEADY_LOOKS :], look()]
        if len(looks) == STEADY_LOOKS and all(one == looks[0] for one in looks):
            return looks[0]
    raise AssertionError(f"what the server holds does not come to rest: {looks}")


def kill_and_restart(server: Server, then: Callable[[], object] = lambda: None, seconds: float = 5) -> None:
    """kill -9 of the server alone, then a start in the same folder: asserts that nothing of the killed one is left."""
    killed, cgroups = server.pid, _cgroups(server.pid)
    ours = [killed, *processes.descendants(killed)]
    server.kill()
    then()
    wait_until(lambda: not any(map(processes.alive, ours)), seconds, "its processes end with it")
    server.start()

    def left() -> list[object]:
        known = {server.pid, *processes.descendants(server.pid)}
        folders = [path for _, base in cgroups for path in base.glob(f"glowplug-{killed}*")]
        return folders + [pid for pid in processes.mentioning(str(server.folder)) if pid not in known]

    wait_until(lambda: not left(), seconds, "the new one clears away the rest")


@contextlib.contextmanager
def nothing_left(server: Server, seconds: float = 5, grows_by: int = GROWS_BY) -> Iterator[None]:
    """Asserts that the server comes to hold after the block what it held before, no more and no less, within `seconds`.

    Descriptors, child processes (zombies too), folders and sockets of replicas, cgroups, half-written files, what is
    reserved beside what its processes have, and but for `grows_by` bytes its own memory. The block ends as it began,
    with the same functions' replicas and templates; the server may be another one.
    """
    reserved = _steady(lambda: _reserved_for_nobody(server))
    server.drop_connections()
    before, memory = _steady(lambda: holdings(server)), memory_bytes(server.pid)
    yield
    server.drop_connections()
    deadline = time.monotonic() + seconds
    while (now := holdings(server)) != before:
        if time.monotonic() > deadline:
            raise AssertionError(
                f"after {seconds} s there is more: {dict(now - before)}, and less: {dict(before - now)}"
            )
        time.sleep(PAUSE_SECONDS)
    wait_until(lambda: memory_bytes(server.pid) <= memory + grows_by, seconds, f"no more than {grows_by} bytes more")
    limit = max(seconds, MEASURED_WITHIN_SECONDS)
    wait_until(lambda: _reserved_for_nobody(server) <= reserved, limit, f"{reserved} bytes are reserved for nobody")


def memory_bytes(pid: int) -> int:
    """Its own: no pages of files."""
    return processes.memory_bytes(pid, "RssAnon")


def stays_within(pid: int, round: Callable[[], object], *, warm_up: int, rounds: int, grows_by: int) -> None:
    """Asserts that after `warm_up` rounds a process' memory grows by at most `grows_by` bytes over so many more."""
    for _ in range(warm_up):
        round()
    seen = [memory_bytes(pid)]
    for _ in range(rounds):
        round()
        seen.append(memory_bytes(pid))
    grown = seen[-1] - seen[0]
    assert grown <= grows_by, f"{grown} bytes more after {rounds} rounds; after each: {seen}"
