"""The Server-Timing header of an answer: phases, which have a duration, and `read`, which has a description."""

from __future__ import annotations

import re
from typing import Iterator

import httpx

METRIC = re.compile(r'([\w-]+)(?:;dur=([\d.]+))?(?:;desc="([^"]*)")?')


def _metrics(reply: httpx.Response) -> Iterator[tuple[str, str | None, str | None]]:
    for part in reply.headers["server-timing"].split(", "):
        metric = METRIC.fullmatch(part)
        assert metric, f"{part!r} is no metric"
        yield metric[1], metric[2], metric[3]


def phases(reply: httpx.Response) -> dict[str, float]:
    """Milliseconds."""
    return {name: float(took) for name, took, _ in _metrics(reply) if took is not None}


def bytes_read(reply: httpx.Response) -> str | None:
    """As in "98.4 MB": from the disk, for the start that the call waited for."""
    return next((read for name, _, read in _metrics(reply) if name == "read"), None)
