"""A wall clock of its own for one server, set at will while it runs; its monotonic clocks stay as they are.

A small library is preloaded into the server (wall_clock.c), so that the machine's own clock is left alone, no package
is needed, and a step is there at the next reading. Replicas have an environment of their own and see the true one.
"""

from __future__ import annotations

import mmap
import os
import subprocess
from email.utils import parsedate_to_datetime
from pathlib import Path

from .server import Server

SOURCE = Path(__file__).with_name("wall_clock.c")
DAY = 86_400.0


class WallClock:
    def __init__(self, folder: Path) -> None:
        self._library = folder / "wall_clock.so"
        subprocess.run(
            [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE, "-ldl"], check=True
        )
        self._file = folder / "wall_clock_offset"
        self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            self._offset = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")

    @property
    def env(self) -> dict[str, str]:
        """For Server(env=…)."""
        sanitizer = os.environ.get("ASAN_OPTIONS", "")  # it wants to be the first library otherwise
        return {
            "LD_PRELOAD": str(self._library),
            "WALL_CLOCK_OFFSET": str(self._file),
            "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0",
        }

    def step(self, seconds: float) -> None:
        """Sets it on, or back when negative."""
        self._offset[0] += round(seconds * 1e9)

    def reset(self) -> None:
        self._offset[0] = 0


def wall_seconds(server: Server) -> float:
    """What the server says that the time is, in whole seconds."""
    return parsedate_to_datetime(server.get("/healthz").headers["date"]).timestamp()
