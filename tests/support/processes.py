"""What the kernel says about processes: children, memory, leftovers, ends. Never signals anything."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

LOOK_SECONDS = 0.01


def parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """True for a process that still runs; a zombie no longer does."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def seconds_until_end(pid: int, most: float) -> tuple[float, float]:
    """How long it lives from now on, and how much later than asked for the looks at it came, all together: what a busy
    machine adds to a time that is taken here."""
    began = looked = time.monotonic()
    late = 0.0
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0.0, 0.0
    try:
        ended = select.poll()
        ended.register(end, select.POLLIN)
        while not ended.poll(LOOK_SECONDS * 1000):
            now = time.monotonic()
            late += max(0.0, now - looked - LOOK_SECONDS)
            looked = now
            assert now - began <= most, f"process {pid} has not ended within {most} s"
        return time.monotonic() - began, late
    finally:
        os.close(end)


def name_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def descendants(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := parent_of(int(entry))) is not None:
            parents.setdefault(parent, []).append(int(entry))
    found, open_ = [], [root]
    while open_:
        children = parents.get(open_.pop(), [])
        found += children
        open_ += children
    return [pid for pid in found if alive(pid)]


def children(root: int) -> list[int]:
    """Of one process, zombies among them."""
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and parent_of(int(entry)) == root
    ]


def mentioning(text: str) -> list[int]:
    """Processes whose command line or environment names `text` (a server's private folder), this one excepted."""
    needle, found = text.encode(), []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        for part in ("cmdline", "environ"):
            try:
                if needle in Path(f"/proc/{entry}/{part}").read_bytes() and alive(int(entry)):
                    found.append(int(entry))
                    break
            except OSError:
                pass
    return found


def memory_bytes(pid: int, kind: str = "VmRSS") -> int:
    """VmRSS or VmHWM of /proc/PID/status; Pss, its parts, Private_Dirty … of smaps_rollup."""
    name = "smaps_rollup" if kind.startswith(("Pss", "Private_")) else "status"
    for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/{name} has no {kind}")
