"""Callers that hand over jobs, read, repeat and cancel them, while whatever serves them is killed under them.

Each notes what it is told in a History. Where a reply does not come the outcome is open: a call without a key is then
given up, one with a key is sent again until there is a reply, as a client would.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from typing import Any, NamedTuple

from .job_history import ENDS, OPEN, History

HONEST = {  # refusals that say "not now" or "not so"; anything else is a fault
    ("submit", 409): ("idempotency_in_progress",),
    ("submit", 429): ("rate_limit_exceeded",),
    ("submit", 503): None,
    ("read", 503): None,
    ("cancel", 503): None,
}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        with contextlib.suppress(KeyError, TypeError):
            return self.body["error"]["code"]
        return ""


class Line:
    """One keep-alive connection to an address where now and then nobody is."""

    def __init__(self, address: str, seconds: float = 20) -> None:
        self._address, self._seconds = address.removeprefix("http://"), seconds
        self._connection: http.client.HTTPConnection | None = None
        self.was_heard = False  # whether somebody was there to hear the last request, or a part of it

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply | None:
        """None: no reply has come, and the request may or may not have been heard."""
        fields = {"content-type": "application/json"} | (headers or {})
        self.was_heard = False
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._address, timeout=self._seconds)
                self._connection.connect()
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.was_heard = True
            self._connection.request(method, path, None if body is None else json.dumps(body), fields)
            reply = self._connection.getresponse()
            text = reply.read()
            if len(text) < int(reply.getheader("content-length") or 0):
                raise http.client.IncompleteRead(text)
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        headers_ = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, headers_, json.loads(text) if text else None)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Work(NamedTuple):
    """What is asked of a function: how many tokens at most, and words that are in its prompts."""

    function: str
    tokens_max: int = 8
    words: str = ""


def refused(history: History, what: str, reply: Reply, job: str = "") -> None:
    """Notes a refusal, or the fault that it is."""
    codes = HONEST.get((what, reply.status), ())
    if codes is not None and reply.code not in codes:
        history.fault(f"{what} {job}: {reply.status} {str(reply.body)[:300]}")
        return
    if reply.status in (429, 503) and not 1 <= int(reply.headers.get("retry-after", 0)) <= 60:
        history.fault(f"{what} {job}: {reply.status} with Retry-After {reply.headers.get('retry-after')}")
    history.refusal(reply.status, reply.code)


def hand_over(
    line: Line, history: History, marker: str, function: str, body: dict, key: str | None = None
) -> Reply | None:
    """One call that is to become a job; what is told of it is noted."""
    headers = {"x-invocation-type": "Event"} | ({"idempotency-key": key} if key else {})
    asked = time.monotonic()
    reply = line.ask("POST", f"/v1/functions/{function}/invoke", body, headers)
    if reply is None:
        history.no_reply(line.was_heard)
    elif reply.status == 202:
        job = reply.body["id"]
        if reply.headers.get("location") != f"/v1/jobs/{job}":
            history.fault(f"{job} has the Location {reply.headers.get('location')}")
        history.accepted(job, marker, function, key, reply.headers.get("x-request-id", ""))
        if "idempotent-replayed" in reply.headers:
            history.told(job, reply.body, asked)
    else:
        refused(history, "submit", reply)
    return reply


class Caller(threading.Thread):
    PAUSE_SECONDS = 0.03  # at most, between two requests

    def __init__(self, address: str, history: History, work: list[Work], seed: str) -> None:
        super().__init__(daemon=True, name=f"caller-{seed}")
        self._line, self._history, self._work = Line(address), history, work
        self._random, self._seed = random.Random(seed), seed
        self._calls: list[tuple[str, str, dict]] = []  # id, function, what was sent
        self._keyed: list[tuple[str, str, str, dict]] = []  # key, marker, function, what was sent
        self._count = 0
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()

    def run(self) -> None:
        steps = [self._hand_over, self._hand_over_keyed, self._repeat, self._reuse, self._read, self._cancel]
        try:
            while not self._over.is_set():
                self._random.choices(steps, (8, 4, 2, 1, 8, 2))[0]()
                self._over.wait(self._random.uniform(0, self.PAUSE_SECONDS))
        except Exception as error:  # noqa: BLE001 - a caller that fails must not look like one that is done
            self._history.fault(f"caller {self._seed}: {type(error).__name__}: {error}")
        self._line.close()

    # Steps ------------------------------------------------------------------------------------------------------

    def _new_call(self) -> tuple[str, str, dict]:
        work = self._random.choice(self._work)
        self._count += 1
        marker = f"call-{self._seed}-{self._count}."
        words = " ".join(filter(None, (marker, work.words)))
        body = {"prompt": words, "max_tokens": self._random.randint(1, work.tokens_max)}
        return marker, work.function, {"body": body}

    def _send(self, marker: str, function: str, body: dict, key: str | None) -> Reply | None:
        reply = hand_over(self._line, self._history, marker, function, body, key)
        if reply is not None and reply.status == 202:
            self._calls.append((reply.body["id"], function, body))
        return reply

    def _hand_over(self) -> None:
        self._send(*self._new_call(), None)

    def _hand_over_keyed(self) -> None:
        marker, function, body = self._new_call()
        key = f"key-{marker}"
        while (reply := self._send(marker, function, body, key)) is None or reply.status == 409:
            if self._over.wait(0.02):
                return
        if reply.status == 202:
            self._keyed.append((key, marker, function, body))

    def _repeat(self) -> None:
        if not self._keyed:
            return
        key, marker, function, body = self._random.choice(self._keyed)
        reply = self._send(marker, function, body, key)
        if reply is not None and reply.status == 202 and "idempotent-replayed" not in reply.headers:
            self._history.fault(f"{key} was sent again and is not marked as replayed")

    def _reuse(self) -> None:
        """A key with another body than its own is refused, and nothing comes of it."""
        if not self._keyed:
            return
        key, _, function, body = self._random.choice(self._keyed)
        other = {"body": body["body"] | {"prompt": body["body"]["prompt"] + " but otherwise"}}
        headers = {"x-invocation-type": "Event", "idempotency-key": key}
        reply = self._line.ask("POST", f"/v1/functions/{function}/invoke", other, headers)
        if reply is not None and reply.status not in (409, 422, 503):
            self._history.fault(f"{key} was sent with another body: {reply.status} {reply.body}")

    def _read(self) -> None:
        if not self._calls:
            return
        job = self._pick()
        wait = self._random.choice(("", "", "?wait=1"))
        self._note("read", job, "GET", f"/v1/jobs/{job}{wait}")

    def _cancel(self) -> None:
        if self._calls:
            job = self._pick()
            self._note("cancel", job, "POST", f"/v1/jobs/{job}/cancel", {})

    def _pick(self) -> str:
        """A recent one as a rule."""
        recent = self._calls[-5:] if self._random.random() < 0.7 else self._calls
        return self._random.choice(recent)[0]

    def _note(self, what: str, job: str, method: str, path: str, body: Any = None) -> None:
        asked = time.monotonic()
        reply = self._line.ask(method, path, body)
        if reply is None:
            self._history.no_reply(self._line.was_heard)
        elif reply.status == 200:
            self._history.told(job, reply.body, asked)
        else:
            refused(self._history, what, reply, job)


class Callers:
    """So many of them until the block ends."""

    def __init__(self, address: str, history: History, work: list[Work], *, count: int, seed: object) -> None:
        self.all = [Caller(address, history, work, f"{seed}-{number}") for number in range(count)]

    def __enter__(self) -> Callers:
        for one in self.all:
            one.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        for one in self.all:
            one.stop()
        for one in self.all:
            one.join(timeout=60)
            assert not one.is_alive(), f"{one.name} does not end"


def read_all(address: str, history: History, seconds: float) -> None:
    """Reads each job until all are over, at most so long; what was told is noted."""
    line, deadline, open_ = Line(address), time.monotonic() + seconds, history.ids()
    while open_:
        left = []
        for job in open_:
            asked = time.monotonic()
            reply = line.ask("GET", f"/v1/jobs/{job}")
            if reply is not None and reply.status == 200:
                history.told(job, reply.body, asked)
            elif reply is not None and reply.status == 404:
                history.fault(f"{job} was accepted and is not known")
                continue
            if reply is None or reply.status != 200 or reply.body["status"] not in ENDS:
                left.append(job)
        open_ = left
        if time.monotonic() > deadline:
            break
        if open_:
            time.sleep(0.2)
    line.close()


def listed(address: str) -> list[str]:
    """Ids of all jobs that the server lists, page by page."""
    line, ids, after = Line(address), [], ""
    while True:
        reply = line.ask("GET", f"/v1/jobs?limit=100{after}")
        assert reply is not None and reply.status == 200, reply
        page = [row["id"] for row in reply.body["data"]]
        ids += page
        if not reply.body.get("has_more", bool(page)):
            line.close()
            return ids
        after = f"&after={page[-1]}"


def usage_rows(admin_address: str, history: History) -> dict[str, list[dict]]:
    """The receipt of each call, by job; none where there is none."""
    line, rows = Line(admin_address), {}
    for call in history.calls.values():
        reply = line.ask("GET", f"/v1/admin/usage/{call.billed_as}")
        assert reply is not None and reply.status in (200, 404), reply
        rows[call.id] = [reply.body] if reply.status == 200 else []
    line.close()
    return rows


def billed_requests(admin_address: str) -> int:
    """How many requests the ledger has rows of."""
    line = Line(admin_address)
    reply = line.ask("GET", "/v1/admin/usage?group_by=function")
    line.close()
    assert reply is not None and reply.status == 200, reply
    return reply.body["total"]["requests"]


def open_jobs(address: str) -> int:
    """How many jobs are listed as queued or in progress; 100 of each at most."""
    line, count = Line(address), 0
    for status in OPEN:
        reply = line.ask("GET", f"/v1/jobs?limit=100&status={status}")
        assert reply is not None and reply.status == 200, reply
        count += len(reply.body["data"])
    line.close()
    return count
