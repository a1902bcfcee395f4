"""What /metrics counts of calls and processes, and a watch that looks at its sums while a block runs."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from typing import Any

import httpx

from .server import Server

SAMPLE = re.compile(r"^(glowplug_\w+)(?:\{(.*)\})? (\S+)$", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Counts:
    """One look. `calls` are those that have ended, by (outcome, reason); processes are by (kind, device)."""

    def __init__(self, text: str) -> None:
        self.arrived = self.open = -1
        self.calls: Counter[tuple[str, str]] = Counter()
        self.unanswered: Counter[tuple[str, str, str]] = Counter()
        self.requests: Counter[str] = Counter()
        self.jobs: Counter[str] = Counter()
        self.started: Counter[tuple[str, str]] = Counter()
        self.running: Counter[tuple[str, str]] = Counter()
        self.ended: Counter[tuple[str, str, str]] = Counter()
        for name, labels, value in SAMPLE.findall(text):
            self._take(name.removeprefix("glowplug_"), dict(LABEL.findall(labels)), value)

    def _take(self, name: str, at: dict[str, str], value: str) -> None:
        if name == "calls_arrived_total":
            self.arrived = int(value)
        elif name == "calls_open":
            self.open = int(value)
        elif name == "calls_ended_total":
            self.calls[at["outcome"], at["reason"]] = int(value)
        elif name == "calls_unanswered_total":
            self.unanswered[at["function"], at["outcome"], at["reason"]] = int(value)
        elif name.startswith("jobs_"):
            self.jobs[name.removeprefix("jobs_").removesuffix("_total")] += int(value)
        elif name == "requests_refused_total":
            self.requests[at["reason"]] = int(value)
        elif name == "processes_started_total":
            self.started[at["kind"], at["device"]] = int(value)
        elif name == "processes_running":
            self.running[at["kind"], at["device"]] = int(value)
        elif name == "processes_ended_total":
            self.ended[at["kind"], at["device"], at["reason"]] = int(value)

    def check(self) -> None:
        """The sums that hold at every moment."""
        assert self.arrived >= 0 and self.open >= 0, "the metrics have no such counts"
        assert self.arrived == self.open + sum(self.calls.values()), vars(self)
        came = self.jobs["accepted"] + self.jobs["found"] + self.jobs["retried"]
        assert came == self.jobs["queued"] + self.jobs["running"] + self.jobs["ended"], self.jobs
        for kind, started in self.started.items():
            ended = sum(count for (*of, _), count in self.ended.items() if tuple(of) == kind)
            assert started == ended + self.running[kind], (kind, vars(self))

    def ends(self, kind: str) -> dict[str, int]:
        """Of processes of a kind, by reason; those that have been."""
        return {reason: count for (of, _, reason), count in self.ended.items() if of == kind and count}


def look(server: Server, client: httpx.Client | None = None) -> Counts:
    counts = Counts((client or server.http).get("/metrics").text)
    counts.check()
    return counts


class SumWatch:
    """Looks and checks four times a second while the block runs; at its end a sum that did not hold is raised, and so
    is a block in which there was less than one look for each second."""

    EVERY = 0.25

    def __init__(self, server: Server) -> None:
        self.looks = self.open_most = 0
        self._client = httpx.Client(base_url=server.url, timeout=10)
        self._server, self._stop = server, threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SumWatch:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: Any) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        self._client.close()
        if kind is not None:  # the block's own is told
            return
        if self._error is not None:
            raise self._error
        seconds = time.monotonic() - self._began
        assert self.looks >= int(seconds), f"{self.looks} looks in {seconds:.1f} s"

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.EVERY):
                self.open_most = max(self.open_most, look(self._server, self._client).open)
                self.looks += 1
        except BaseException as error:
            self._error = error
