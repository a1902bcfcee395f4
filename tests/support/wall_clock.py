"""A wall clock of its own for one server, set at will while it runs; its monotonic clocks stay as they are.

A small library is preloaded into the server (wall_clock.c), so that the machine's own clock is left alone, no package
is needed, and a step is there at the next reading. Replicas have an environment of their own and see the true one.
"""

from __future__ import annotations

import mmap
from email.utils import parsedate_to_datetime
from pathlib import Path

from .preload import built, preloaded
from .server import Server

DAY = 86_400.0


class WallClock:
    def __init__(self, folder: Path) -> None:
        self._library = built("wall_clock", folder)
        self._file = folder / "wall_clock_offset"
        self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            self._offset = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")

    @property
    def env(self) -> dict[str, str]:
        return preloaded(self._library, WALL_CLOCK_OFFSET=self._file)

    def step(self, seconds: float) -> None:
        """Sets it on, or back when negative."""
        self._offset[0] += round(seconds * 1e9)

    def reset(self) -> None:
        self._offset[0] = 0


def wall_seconds(server: Server) -> float:
    """What the server says that the time is, in whole seconds."""
    return parsedate_to_datetime(server.get("/healthz").headers["date"]).timestamp()
