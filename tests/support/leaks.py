"""What a server holds of the machine, counted, so that a test can say that a fault has left nothing behind.

Reads /proc, the run folder and the cgroup tree only: looking opens no connection and wakes nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Iterator

from . import processes
from .server import Server

PAUSE_SECONDS = 0.05
STEADY_LOOKS = 3  # equal ones in a row
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

    The copies of prompts that lie on the disk may lie in memory too.
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
        else:
            yield "file " + re.sub(r"[0-9a-f]{16}|\d+", "N", target)


def _processes(server: Server) -> Iterator[str]:
    living = set(processes.descendants(server.pid))
    for pid in living:
        yield f"process {processes.name_of(pid)}"
    for pid in set(processes.children(server.pid)) - living:
        if processes.name_of(pid) is not None:  # reaped meanwhile
            yield "zombie"


def _leaves(server: Server) -> Iterator[str]:
    """The cgroup folders of its replicas, of each controller."""
    for line in Path(f"/proc/{server.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = CGROUPS / controllers.removeprefix("name=") / path.lstrip("/")
        for base in {folder, folder.parent}:
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


def _steady(server: Server) -> Counter[str]:
    """What it holds once some looks in a row have found the same: what has just ended is gone by then."""
    looks = [holdings(server)]
    for _ in range(200):
        time.sleep(PAUSE_SECONDS)
        looks = [*looks[1 - STEADY_LOOKS :], holdings(server)]
        if len(looks) == STEADY_LOOKS and all(look == looks[0] for look in looks):
            return looks[0]
    raise AssertionError(f"what the server holds does not come to rest: {looks}")


@contextlib.contextmanager
def nothing_left(server: Server, seconds: float = 5) -> Iterator[None]:
    """Asserts that the server comes to hold after the block what it held before, no more and no less, within `seconds`.

    Descriptors, child processes (zombies too), folders and sockets of replicas, cgroups and half-written files. The
    block ends as it began: with the same functions' replicas and templates, and the same server.
    """
    server.drop_connections()
    before = _steady(server)
    yield
    server.drop_connections()
    deadline = time.monotonic() + seconds
    while (now := holdings(server)) != before:
        if time.monotonic() > deadline:
            raise AssertionError(
                f"after {seconds} s there is more: {dict(now - before)}, and less: {dict(before - now)}"
            )
        time.sleep(PAUSE_SECONDS)
