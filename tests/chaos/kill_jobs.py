#!/usr/bin/env python3
"""kill -9 at random moments of a server that holds jobs, of its replicas, and of both, while clients hand them over.

Clients submit, repeat, reuse keys, read and cancel (support/job_callers.py) and note what they are told. A kill comes
at a moment drawn from the seed, now and then while the server is still starting; a killed server is started again in
its folder. Then everything heals, each job is read, the server is killed once more and each is read again. What was
told is checked (support/job_history.py): every 202 comes to exactly one end, an end once told never changes, one key is
one job, each is listed once and has one receipt, with the tokens of its result; the ledger has no more requests than
there are jobs. No process is left of any server that was killed.

    GLOWPLUG_BIN=build/release/bin python3 tests/chaos/kill_jobs.py --kills 1000

Prints what it did, and exits with 1 and the violations when there are any. The same seed draws the same moments; what
runs then differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import processes  # noqa: E402
from support.job_callers import Callers, Work, billed_requests, listed, open_jobs  # noqa: E402
from support.job_callers import read_all, usage_rows  # noqa: E402
from support.job_history import History  # noqa: E402
from support.server import Server, fake, wait_until  # noqa: E402

CALLERS = 6
MEAN_PAUSE_SECONDS = 0.15  # between two kills, beside what a start takes
WHILE_STARTING = 0.15  # of the kills of a server: again before it serves
POISON_ONE_IN_KILLS = 10  # such jobs; a kill has some 20 jobs
HEAL_SECONDS = 300.0
ENDS_WITHIN_SECONDS = 5.0  # a killed server's processes


@dataclass
class Outcome:
    kills: Counter[str] = field(default_factory=Counter)
    starts: list[float] = field(default_factory=list)  # seconds from exec until it serves
    healed: float = 0.0  # seconds from the last kill until the last end was told
    violations: list[str] = field(default_factory=list)
    history: History = field(default_factory=History)

    def words(self) -> str:
        ended = ", ".join(f"{count} {how}" for how, count in sorted(self.history.ended().items()))
        refused = ", ".join(f"{count} × {what}" for what, count in sorted(self.history.refused.items())) or "none"
        by_victim = ", ".join(f"{count} of {victim}" for victim, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({by_victim}); {len(self.history.calls)} jobs accepted ({ended}), "
            f"{self.history.unanswered} requests without a reply, refused: {refused}; a start takes "
            f"{statistics.median(self.starts):.2f} s, at most {max(self.starts):.2f} s; all over {self.healed:.1f} s "
            f"after the last kill; {len(self.violations)} violations"
        )


def deploy_all(server: Server, kills: int) -> list[Work]:
    """What is fast, what takes long enough to be killed in the midst of it, and what kills its replica itself: seldom,
    for a function whose replicas keep dying is held in quarantine and its jobs wait for that."""
    for manifest in (
        fake("fast", load_time="10ms", tokens_per_second=2000, scale={"max": 2}),
        fake("slow", load_time="50ms", tokens_per_second=20, slots=2, scale={"max": 2}),
        fake("bare", load_time="10ms", template="off", keep_alive="100ms"),
        fake("brittle", load_time="10ms", fault="crash_on_prompt:poison", scale={"max": 1}),
    ):
        server.deploy(manifest)
    often = [Work("fast", 16)] * 12 + [Work("slow", 10)] * 3 + [Work("bare")] * 3 + [Work("brittle")]
    if kills < 5 * POISON_ONE_IN_KILLS:  # its function's quarantine would outlast so few kills by minutes
        return often
    return often * (kills // POISON_ONE_IN_KILLS) + [Work("brittle", words="poison")]


class Killer:
    def __init__(self, server: Server, outcome: Outcome, seed: int) -> None:
        self._server, self._outcome, self._random = server, outcome, random.Random(seed)

    def strike(self) -> None:
        """One kill of the server, of one of its processes, or of both at once; afterwards the server serves."""
        time.sleep(self._random.expovariate(1 / MEAN_PAUSE_SECONDS))
        victim = self._random.choices(("server", "replica", "both"), (5, 3, 2))[0]
        if victim != "server":
            self._kill_replica()
        if victim == "replica":
            self._outcome.kills["a replica"] += 1
            return
        self._outcome.kills["the server" if victim == "server" else "both"] += 1
        self._kill_server()
        while self._random.random() < WHILE_STARTING:
            self._server.launch()
            time.sleep(self._random.uniform(0, 0.15))
            self._outcome.kills["a server that starts"] += 1
            self._kill_server()
        self.start()

    def start(self) -> None:
        began = time.monotonic()
        self._server.start()
        self._outcome.starts.append(time.monotonic() - began)

    def _kill_replica(self) -> None:
        """Any of its processes: a replica, a template, a spare."""
        if pids := processes.descendants(self._server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(pids), signal.SIGKILL)

    def _kill_server(self) -> None:
        ours = processes.descendants(self._server.pid)
        self._server.kill()
        wait_until(lambda: not any(map(processes.alive, ours)), ENDS_WITHIN_SECONDS, "its processes end with it")


def heal(server: Server, outcome: Outcome) -> None:
    """Reads each job until it is over, and what else tells of it."""
    began = time.monotonic()
    read_all(server.url, outcome.history, HEAL_SECONDS)
    outcome.healed = time.monotonic() - began


def check(server: Server, outcome: Outcome) -> None:
    history = outcome.history
    outcome.violations = history.violations()
    wait_until(lambda: open_jobs(server.url) == 0, HEAL_SECONDS, "those are over whose caller heard nothing")
    jobs = listed(server.url)
    outcome.violations += history.missing_in(jobs)
    outcome.violations += history.billed_wrong(usage_rows(server.url, history))
    if (billed := billed_requests(server.url)) != len(jobs):  # of the callers that heard nothing, too
        outcome.violations.append(f"{len(jobs)} jobs are listed and {billed} requests billed")
    known = {server.pid, *processes.descendants(server.pid)}
    left = [pid for pid in processes.mentioning(str(server.folder)) if pid not in known]
    outcome.violations += [f"process {pid} ({processes.name_of(pid)}) is left" for pid in left]


def campaign(
    folder: Path, *, kills: int, seed: int, callers: int = CALLERS, seconds: float = 3600, tell: bool = False
) -> Outcome:
    """`kills` of them, or as many as come within `seconds`."""
    outcome, until = Outcome(), time.monotonic() + seconds
    with Server("--log-level", "warn", "--allow-process-engines", folder=folder) as server:
        work = deploy_all(server, kills)
        server.listen = server.url.removeprefix("http://")  # its callers know one address
        killer = Killer(server, outcome, seed)
        with Callers(server.url, outcome.history, work, count=callers, seed=seed):
            while (before := outcome.kills.total()) < kills and time.monotonic() < until:
                killer.strike()
                if tell and before // 50 != (done := outcome.kills.total()) // 50:
                    print(f"{done} kills, {len(outcome.history.calls)} accepted", file=sys.stderr)
        heal(server, outcome)
        server.kill()
        killer.start()
        read_all(server.url, outcome.history, HEAL_SECONDS)
        check(server, outcome)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--callers", type=int, default=CALLERS)
    parser.add_argument("--minutes", type=float, default=60, help="no kill after these")
    parser.add_argument("--keep", type=Path, help="a folder for the server's files, kept; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glowplug-chaos-") as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        seconds = options.minutes * 60
        outcome = campaign(
            folder, kills=options.kills, seed=options.seed, callers=options.callers, seconds=seconds, tell=True
        )
        print(f"seed {options.seed}, {time.monotonic() - began:.0f} s: {outcome.words()}")
        for one in outcome.violations[:50]:
            print(f"  {one}")
    sys.exit(1 if outcome.violations else 0)


if __name__ == "__main__":
    main()
