#!/usr/bin/env python3
"""How fast a model that is not in the page cache is read for a start, beside `dd iflag=direct` on the same file.

A B A B …: the file is thrown out of the page cache (fsync, posix_fadvise DONTNEED, checked with mincore), then either
dd reads it past the cache, or a glowplug-worker is started on it and followed until it has read it all: its share of
the file in the page cache is asked every 2 ms. A file that is no model is read by the worker all the same before the
engine refuses it, so that a large one need not be downloaded: --make-gb writes one of random bytes.
A virtual disk may keep its own cache beneath this machine: dd's spread and --settle say something about that.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from common import report, spread
from support.server import BIN

PAGE = mmap.PAGESIZE
WHOLE = 0.99  # of the file: a kernel may take back pages that nobody maps
libc = ctypes.CDLL(None, use_errno=True)


class Range(ctypes.Structure):
    _fields_ = [("at", ctypes.c_uint64), ("bytes", ctypes.c_uint64)]


class Cachestat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cached", "dirty", "back", "out", "lately")]


def resident(fd: int, total: int) -> float:
    """The share of the file in the page cache: cachestat, and where the kernel lacks it mincore."""
    found = Cachestat()
    if libc.syscall(451, fd, ctypes.byref(Range(0, 0)), ctypes.byref(found), 0) == 0:
        return min(1.0, found.cached * PAGE / total)
    return resident_by_mincore(fd, total)


def resident_by_mincore(fd: int, total: int) -> float:
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    base = libc.mmap(None, total, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    pages = ctypes.create_string_buffer((total + PAGE - 1) // PAGE)
    failed = libc.mincore(base, total, pages)
    libc.munmap(base, total)
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(byte & 1 for byte in pages.raw) * PAGE / total


def throw_out(path: Path, total: int) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        deadline = time.monotonic() + 10
        while resident_by_mincore(file.fileno(), total) > 0.001:
            if time.monotonic() > deadline:
                raise SystemExit(f"{path} stays in the page cache; is it on a disk?")
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def dd(path: Path) -> float:
    began = time.perf_counter()
    subprocess.run(
        ["dd", f"if={path}", "of=/dev/null", "bs=1M", "iflag=direct", "status=none"], check=True
    )
    return time.perf_counter() - began


def start(path: Path, total: int, folder: Path) -> tuple[float, float]:
    """(from exec to all read, from the first byte read to the last)"""
    version = subprocess.run([BIN / "glowplug-worker", "--version"], capture_output=True, text=True)
    protocol = version.stdout.split("protocol ")[1].split()[0]
    ours, theirs = socket.socketpair()
    lifeline, kept = os.pipe()
    with path.open("rb") as file, ours, theirs:
        began = time.perf_counter()
        first = None
        worker = subprocess.Popen(
            [
                str(BIN / "glowplug-worker"),
                *("--protocol", protocol, "--engine", "llama", "--task", "generate"),
                *("--model", str(path), "--socket", str(folder / "r.sock")),
                *("--context", "512", "--slots", "1", "--threads", "1", "--cores", "1"),
                *("--control-fd", str(theirs.fileno()), "--lifeline-fd", str(lifeline)),
            ],
            pass_fds=[theirs.fileno(), lifeline],
            stderr=subprocess.DEVNULL,
        )
        try:
            while (share := resident(file.fileno(), total)) < WHOLE:
                if first is None and share > 0.001:
                    first = time.perf_counter()
                ended_itself = worker.poll() is not None  # the engine refuses what is no model
                if ended_itself and resident(file.fileno(), total) < WHOLE:
                    raise SystemExit(f"the worker ended after reading {share:.0%}")
                if time.perf_counter() - began > 600:
                    raise SystemExit("the worker did not read the file within 600 s")
                time.sleep(0.002)
            ended = time.perf_counter()
        finally:
            worker.kill()
            worker.wait()
            os.close(lifeline)
            os.close(kept)
    return ended - began, ended - (first or began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, help="any file on the disk to measure")
    parser.add_argument("--make-gb", type=float, default=1.5, help="without --file: of random bytes")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to measure")
    parser.add_argument("--settle", type=float, default=0.0, help="seconds before each read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cold-read-", dir=options.folder) as made:
        path = options.file
        if path is None:
            path = Path(made) / "random.gguf"
            with path.open("wb") as file:
                for _ in range(round(options.make_gb * 1000)):
                    file.write(os.urandom(1_000_000))
        measure(path, options, Path(made))


def measure(path: Path, options: argparse.Namespace, folder: Path) -> None:
    total = path.stat().st_size
    took: dict[str, list[float]] = {"dd": [], "start": [], "reading": []}
    for turn in range(options.rounds + 1):
        throw_out(path, total)
        time.sleep(options.settle)
        one = dd(path)
        throw_out(path, total)
        time.sleep(options.settle)
        whole, reading = start(path, total, folder)
        if turn:  # the first turn warms the machine
            for name, seconds in zip(took, (one, whole, reading), strict=True):
                took[name].append(total / seconds / 1e6)
    speeds = {name: spread(values) for name, values in took.items()}
    ratios = [ours / theirs for ours, theirs in zip(took["start"], took["dd"], strict=True)]
    ratio = speeds["start"]["median"] / speeds["dd"]["median"]
    report(
        "cold_read",
        f"{total / 1e9:.2f} GB not in the page cache: a start reads {speeds['start']['median']:.0f} MB/s from exec "
        f"({speeds['reading']['median']:.0f} from its first byte), dd iflag=direct {speeds['dd']['median']:.0f} MB/s; "
        f"ratio of medians {ratio:.2f}, p10 of the pairs {spread(ratios)['p10']:.2f}",
        {"bytes": total, "mb_per_s": speeds, "ratio": ratio, "pairs": spread(ratios)},
    )


if __name__ == "__main__":
    main()
