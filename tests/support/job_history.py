"""What clients were told of the jobs that they have handed over, and the promises that this must keep.

The checks read nothing but what a client saw: replies, in the order in which they were sent for and came. Each names
the jobs at fault, in words that say which promise is broken.

Thread: notes from any, checks once no client is left.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Iterator

OPEN = ("queued", "in_progress")
ENDS = ("completed", "failed", "cancelled", "expired")


@dataclass
class Told:
    """One reply that showed a job: its JSON, when it was asked for and when it came."""

    view: dict[str, Any]
    asked: float
    heard: float

    @property
    def over(self) -> bool:
        return self.view["status"] in ENDS


@dataclass
class Call:
    """A call that was accepted. `marker` is in its prompt and in no other."""

    id: str
    marker: str
    function: str
    key: str | None = None
    request_id: str = ""  # of the reply that was first; that of a key sent again is another
    told: list[Told] = field(default_factory=list)

    def ends(self) -> list[dict[str, Any]]:
        return [one.view for one in self.told if one.over]

    @property
    def billed_as(self) -> str:
        """The request that its row of usage is of, as the job tells it."""
        return next((one.view["request_id"] for one in self.told if "request_id" in one.view), self.request_id)


class History:
    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.by_key: defaultdict[str, set[str]] = defaultdict(set)
        self.refused: Counter[str] = Counter()  # honest ones, by status and code
        self.unanswered = 0  # requests that were heard, or a part of them, and whose reply has not come
        self.faults: list[str] = []  # replies that no promise allows
        self._lock = threading.Lock()

    # Notes ------------------------------------------------------------------------------------------------------

    def accepted(self, job: str, marker: str, function: str, key: str | None, request_id: str) -> None:
        with self._lock:
            if key is not None:
                self.by_key[key].add(job)
            known = self.calls.get(job)
            if known is None:
                self.calls[job] = Call(job, marker, function, key, request_id)
            elif known.marker != marker or known.key != key or key is None:
                self.faults.append(f"{job} was given to {known.marker} and to {marker}")

    def told(self, job: str, view: dict[str, Any], asked: float) -> None:
        heard = time.monotonic()
        with self._lock:
            call = self.calls.get(job)
            if view.get("id") != job or view.get("status") not in OPEN + ENDS:
                self.faults.append(f"asked for {job}, told {json.dumps(view)[:300]}")
            elif call is not None:
                call.told.append(Told(view, asked, heard))

    def fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)

    def refusal(self, status: int, code: str) -> None:
        with self._lock:
            self.refused[f"{status} {code}"] += 1

    def no_reply(self, was_heard: bool) -> None:
        with self._lock:
            self.unanswered += was_heard

    def ids(self) -> list[str]:
        with self._lock:
            return list(self.calls)

    def ended(self) -> Counter[str]:
        """How many calls ended how, as far as was told."""
        return Counter(ends[-1]["status"] for call in self.calls.values() if (ends := call.ends()))

    # Checks -----------------------------------------------------------------------------------------------------

    def violations(self) -> list[str]:
        return [*self.faults, *self.lost(), *self.changed(), *self.mixed_up(), *self.keys_of_several()]

    def lost(self) -> Iterator[str]:
        """Each call that was accepted comes to an end."""
        for call in self.calls.values():
            if not call.ends():
                last = call.told[-1].view["status"] if call.told else "never shown"
                yield f"{call.id} was accepted and has not come to an end: {last}"

    def changed(self) -> Iterator[str]:
        """What is over stays so, with the result that was told first, to the letter."""
        for call in self.calls.values():
            ends = call.ends()
            if len(texts := {json.dumps(view, sort_keys=True) for view in ends}) > 1:
                yield f"{call.id} has ended in {len(texts)} ways: {' | '.join(sorted(texts))[:900]}"
            over_since = min((one.heard for one in call.told if one.over), default=None)
            if over_since is None:
                continue
            for one in call.told:
                if not one.over and one.asked > over_since:
                    yield f"{call.id} was over and is {one.view['status']} again"
                    break

    def mixed_up(self) -> Iterator[str]:
        """A result is that of the call, and only what has a result is completed."""
        for call in self.calls.values():
            for view in call.ends()[:1]:
                text = json.dumps(view.get("result"))
                if (view["status"] == "completed") and call.marker not in text:
                    yield f"{call.id} is completed with what it did not ask for ({call.marker}): {text[:300]}"

    def keys_of_several(self) -> Iterator[str]:
        """One key is one job, whatever was killed between two sendings of it."""
        for key, jobs in self.by_key.items():
            if len(jobs) > 1:
                yield f"the key {key} has become several jobs: {sorted(jobs)}"

    def missing_in(self, listed: list[str]) -> Iterator[str]:
        """Each is in the list of jobs once."""
        times = Counter(listed)
        for job in self.calls:
            if times[job] != 1:
                yield f"{job} is {times[job]} times in the list of jobs"

    def billed_wrong(self, rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
        """Each end has one receipt, which is of it and has the tokens that its result tells. `rows` by job."""
        for call in self.calls.values():
            found = rows.get(call.id, [])
            if len(found) != 1:
                yield f"{call.id} ({call.billed_as}) has {len(found)} rows of usage"
                continue
            if wrong := receipt_faults(found[0], call):
                yield f"{call.id} is billed {json.dumps(found[0])[:300]}: {', '.join(wrong)}"


def receipt_faults(row: dict[str, Any], call: Call) -> list[str]:
    """What a receipt says otherwise than the job that it is of."""
    end = call.ends()[0] if call.ends() else {}
    expected = {"request": call.billed_as, "job": call.id, "function": call.function}
    expected |= {"terminal": end.get("status")}
    faults = [f"its {name} is not {value}" for name, value in expected.items() if row.get(name) != value]
    if (usage := usage_of(end)) is not None:
        billed = row.get("tokens", {})
        told = {"prompt": usage.get("prompt_tokens"), "completion": usage["completion_tokens"]}
        for kind, count in told.items():
            if billed.get(kind) != count:
                faults.append(f"its result tells {count} {kind} tokens")
    if end.get("attempt") and row.get("attempts") != end["attempt"]:
        faults.append(f"it took {end['attempt']} attempts")
    return faults


def usage_of(view: dict[str, Any]) -> dict[str, Any] | None:
    """The usage that an ended job's result tells, wherever in it that stands."""
    open_: list[Any] = [view.get("result")]
    while open_:
        one = open_.pop()
        if isinstance(one, dict):
            if isinstance(one.get("usage"), dict) and "completion_tokens" in one["usage"]:
                return one["usage"]
            open_ += one.values()
        elif isinstance(one, list):
            open_ += one
        elif isinstance(one, str) and '"usage"' in one:
            try:
                open_.append(json.loads(one))
            except ValueError:
                pass
    return None
