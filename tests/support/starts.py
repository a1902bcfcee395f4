"""Starts held at a step, so that a process can be killed just there: the call under way is answered (cut, where the
server was killed), the next one is answered, and nothing is left over.

A step is seen in /proc or in the API. The process that it is about is stopped, so that it is at that step yet when
something is killed; one that is over too soon is tried again.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple
from urllib.parse import urlsplit

from . import processes, sse
from .leaks import kill_and_restart, nothing_left
from .origin import Origin
from .server import POLL_SECONDS, Server, wait_until

SEEN_WITHIN_SECONDS = 30.0
LOOK_SECONDS = 20e-6  # between two looks: else the threads that make the calls hardly run
Find, IsThere, Over = Callable[[], int | None], Callable[[int], bool], Callable[[], object]
JSON = {"Content-Type": "application/json"}
FORKED = ("glowplug-templ", "glowplug-worker")  # one has its template's name at first


def stands_still(pid: int) -> bool:
    """Stops it; false when it has ended."""
    try:
        os.kill(pid, signal.SIGSTOP)
        while (state := Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) not in "TZX":
            pass
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state == "T"


def goes_on(pid: int | None) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """This thread goes before others where it may: steps last for milliseconds, and the machine may be busy."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


def stopped_at(find: Find, is_there: IsThere, over: Over) -> int | None:
    """What `find` gives, standing still and at the step yet; none when the step is over before."""
    with eager():
        while not over():
            if (pid := find()) is None or not stands_still(pid):
                time.sleep(LOOK_SECONDS)
                continue
            if is_there(pid):
                return pid
            goes_on(pid)
    return None


def seen(attempt: Callable[[], Any]) -> Any:
    """What the first attempt gives that gives something: a step may be over before it is seen."""
    deadline = time.monotonic() + SEEN_WITHIN_SECONDS
    while not (caught := attempt()):
        assert time.monotonic() < deadline, f"the step was not seen in {SEEN_WITHIN_SECONDS} s"
    return caught


def forked(server: Server) -> Iterator[int]:
    """Its children that are workers. Others are left alone: while a child is about to execute a program, the server
    waits for it."""
    for thread in Path(f"/proc/{server.pid}/task").iterdir():  # quicker than a look at all processes
        with contextlib.suppress(OSError):
            for pid in map(int, (thread / "children").read_text().split()):
                if processes.name_of(pid) in FORKED:
                    yield pid


class Newborn:
    """Gives each fork of a template once, but for those that are there already."""

    def __init__(self, server: Server) -> None:
        self._known = set(processes.children(server.pid))
        lists = [thread / "children" for thread in Path(f"/proc/{server.pid}/task").iterdir()]
        self._lists = [one for one in lists if one.read_text()] or lists  # one thread starts them all

    def __call__(self) -> int | None:
        for children in self._lists:
            for pid in map(int, children.read_text().split()):
                if pid not in self._known and processes.name_of(pid) in FORKED:
                    self._known.add(pid)
                    return pid
        return None


class Changes:
    """Of what is seen of a server's workers: which there are, their names, their sockets."""

    def __init__(self, server: Server) -> None:
        self._server, self._last = server, self._look(server)

    @staticmethod
    def _look(server: Server) -> set[tuple[object, str | None]]:
        sockets = server.run_dir.glob("*/r.sock") if server.run_dir else ()
        return {(pid, processes.name_of(pid)) for pid in forked(server)} | {(path, None) for path in sockets}

    def wait(self, over: Over) -> None:
        """Until there is one more."""
        before = self._last
        while self._last == before and not over():
            time.sleep(LOOK_SECONDS)
            self._last = self._look(self._server)


def has_socket(server: Server, pid: int) -> bool:
    """A replica has one from just before it says that it is ready."""
    for record in server.run_dir.glob("*/pid") if server.run_dir else ():
        with contextlib.suppress(OSError):
            if record.read_text().split()[:1] == [str(pid)]:
                return (record.parent / "r.sock").exists()
    return False


def spare_that_waits(server: Server) -> int | None:
    return next((pid for pid in server.spare_pids() if has_socket(server, pid)), None)


def stopped_while_prepared(server: Server, newborn: Newborn) -> int | None:
    """The spare that is made next; none when it is ready before it is seen."""
    missed: list[int] = []

    def is_there(pid: int) -> bool:
        if has_socket(server, pid):
            missed.append(pid)
        return not missed

    return stopped_at(newborn, is_there, lambda: missed)


class Stream:
    """A streaming call, read on a thread and a connection of its own."""

    def __init__(self, server: Server, name: str, **fields: Any) -> None:
        self.began = threading.Event()  # its first content is here
        self.status, self._lines = 0, []  # 0: cut before the status line
        body = {
            "model": name,
            "messages": [{"role": "user", "content": "Say something."}],
            "temperature": 0,
            "seed": 1,
            "stream": True,
        }
        at = urlsplit(server.url)
        self._connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
        # Sent here: a thread that looks for a step in a loop leaves others little time.
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body | fields), JSON)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(http.client.HTTPException, OSError), contextlib.closing(self._connection):
            reply = self._connection.getresponse()
            self.status = reply.status
            while line := reply.readline():
                self._lines.append(line.decode().rstrip("\r\n"))
                if b'"content":"' in line and b'"content":""' not in line:
                    self.began.set()

    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> Stream:
        self._thread.join(timeout=70)
        assert self.done(), "the call is not over within 70 s"
        return self

    @property
    def body(self) -> str:
        return "\n".join([*self._lines, ""])

    @property
    def is_whole(self) -> bool:
        told = sse.events(self.body)
        return self.status == 200 and bool(told) and told[-1][1] == sse.DONE

    @property
    def says_why_it_broke_off(self) -> bool:
        """A stream that had begun, and ended in an error."""
        told = sse.events(self.body)
        return self.began.is_set() and bool(told) and told[-1][1].startswith('{"error"')

    @property
    def text(self) -> str:
        return sse.text_of(sse.chunks(self.body))


class Held(NamedTuple):
    """A start at a step."""

    call: Stream | None  # that wakes the function; none where nobody has called yet
    victims: dict[str, int]  # processes of the start that are there, by part
    stopped: int | None = None


Step = Callable[["Start"], Held | None]  # none: the step was over too soon


class Start:
    """Starts of one function; `manifest` has keep_alive 0, and answers that last long enough to be met."""

    def __init__(self, server: Server, manifest: dict, **fields: Any) -> None:
        self.server, self.manifest, self.fields = server, manifest, fields
        self.name = manifest["name"]

    def call(self, **fields: Any) -> Stream:
        return Stream(self.server, self.name, **self.fields | fields)

    def row(self) -> dict:
        return self.server.function(self.name)

    def fresh(self, **more: Any) -> None:
        """Deployed, and nothing of it runs."""
        self.server.remove(self.name)
        wait_until(lambda: not processes.children(self.server.pid), 10, "all has ended")
        self.server.deploy(self.manifest | more)

    def at_zero(self) -> None:
        """No replica, and a template that is ready."""
        if self.server.get(f"/v1/functions/{self.name}").status_code != 200:
            self.server.deploy(self.manifest)
            assert self.server.chat(self.name, max_tokens=1).status_code == 200

        def rests() -> bool:
            row = self.row()
            return row["replicas"] == 0 and row.get("template", {}).get("state") == "ready"

        wait_until(rests, 30, "back at zero")

    def template(self) -> int | None:
        number = self.row().get("template", {}).get("id")
        return None if number is None else self.server.pid_of(number)

    def replica(self) -> int | None:
        return next(iter(self.server.pids_of(self.name)), None)

    def held(self, call: Stream | None, stopped: int | None = None, **victims: int | None) -> Held:
        there = {"server": self.server.pid, "template": self.template(), **victims}
        return Held(call, {part: pid for part, pid in there.items() if pid is not None}, stopped)


def file_is_fetched(origin: Origin) -> Step:
    def held(start: Start) -> Held:
        start.manifest = start.manifest | {"model": origin.url}
        start.fresh()
        call = start.call()
        wait_until(lambda: origin.asked and start.row()["waiting"], 10, "the file is asked for")
        return start.held(call)

    return held


def file_is_verified(start: Start) -> Held | None:
    """The manifest names a file that takes a while to read."""
    file = os.path.realpath(start.manifest["model"])
    start.fresh()
    call = start.call()

    def is_read() -> bool:
        descriptors = Path(f"/proc/{start.server.pid}/fd")
        return any(os.path.realpath(one) == file for one in descriptors.iterdir())

    while not call.done():
        if is_read():
            return start.held(call)
    return None


def replica_loads(start: Start) -> Held | None:
    start.fresh(template="off")
    call = start.call()
    is_loading = lambda pid: not has_socket(start.server, pid)  # noqa: E731
    pid = stopped_at(lambda: next(forked(start.server), None), is_loading, call.done)
    return pid and start.held(call, pid, replica=pid)


def template_loads(start: Start) -> Held | None:
    start.fresh()
    call = start.call()

    def loading() -> int | None:
        template = start.row().get("template", {})
        return start.server.pid_of(template["id"]) if template.get("state") == "loading" else None

    # It takes another name with its first order.
    pid = stopped_at(loading, lambda pid: processes.name_of(pid) == "glowplug-worker", call.done)
    return pid and start.held(call, pid, template=pid)


def fork_is_asked_for(start: Start) -> Held | None:
    start.at_zero()
    template = start.template()
    assert template is not None and stands_still(template)
    call = start.call()
    wait_until(lambda: start.row()["replica_list"], 10, "a replica is on its way")
    return start.held(call, template, template=template)


def replica_is_forked(start: Start) -> Held | None:
    start.at_zero()
    newborn = Newborn(start.server)
    call = start.call(max_tokens=1)  # soon over, if the step is missed
    pid = stopped_at(newborn, lambda pid: not has_socket(start.server, pid), call.done)
    return pid and start.held(call, pid, replica=pid)


def replica_has_the_call(start: Start) -> Held | None:
    """And has said nothing; the first token takes a while."""
    start.at_zero()
    call = start.call()
    while not call.began.is_set() and not call.done():
        if start.row()["in_flight"] == 1 and (pid := start.replica()) and stands_still(pid):
            if not call.began.wait(5 * POLL_SECONDS):  # what was on its way is here by then
                return start.held(call, pid, replica=pid)
            goes_on(pid)
    call.wait()
    return None


def first_token_is_out(start: Start) -> Held | None:
    start.at_zero()
    call = start.call()
    while not call.began.wait(POLL_SECONDS):
        assert not call.done(), call.body
    pid = start.replica()
    if pid is None or not stands_still(pid) or call.done():
        goes_on(pid)
        return None
    return start.held(call, pid, replica=pid)


def spare_waits(start: Start) -> Held | None:
    start.at_zero()
    spare = wait_until(lambda: spare_that_waits(start.server), 10, "a spare that is ready")
    return start.held(None, spare=spare)


def spare_is_prepared(start: Start) -> Held | None:
    """The call takes the one that waits, and another one is made behind it."""
    spare_waits(start)
    newborn = Newborn(start.server)
    call = start.call(max_tokens=1)  # the cores are free soon
    spare = stopped_while_prepared(start.server, newborn)
    return spare and start.held(call, spare, spare=spare)


def spare_has_the_call(start: Start) -> Held | None:
    """The same of what was a spare."""
    spare_waits(start)
    return replica_has_the_call(start)


def next_spare_waits(start: Start) -> Held | None:
    """While the one before it answers: for longer than the two seconds that one is put off while cores are busy."""
    spare_waits(start)
    call = start.call(max_tokens=5 * start.fields["max_tokens"])
    while not call.done():
        if call.began.is_set() and (spare := spare_that_waits(start.server)):
            return start.held(call, spare=spare, replica=start.replica())
    return None


STEPS: list[tuple[Step, int, tuple[str, ...]]] = [  # once the file is there; with so many spares, who can be killed
    (replica_loads, 0, ("server", "replica")),
    (template_loads, 0, ("server", "template")),
    (fork_is_asked_for, 0, ("server", "template")),
    (replica_is_forked, 0, ("server", "template", "replica")),
    (replica_has_the_call, 0, ("server", "template", "replica")),
    (first_token_is_out, 0, ("server", "template", "replica")),
    (spare_is_prepared, 1, ("server", "template", "spare")),
    (spare_waits, 1, ("server", "template", "spare")),
    (spare_has_the_call, 1, ("server", "template", "replica")),
    (next_spare_waits, 1, ("server", "template", "replica", "spare")),
]


def _killed(start: Start, held: Held, victim: str) -> None:
    """All but the victim go on."""
    if victim == "server":
        kill_and_restart(start.server, lambda: goes_on(held.stopped))
    else:
        os.kill(held.victims[victim], signal.SIGKILL)
        goes_on(held.stopped)


def _answered(call: Stream, victim: str, wanted: str) -> None:
    """Wholly, but by a server or a replica that was killed in the midst of it."""
    if call.is_whole:
        assert call.text and wanted.startswith(call.text)
    else:
        assert victim == "server" or (victim == "replica" and call.says_why_it_broke_off), call.body


def shaken(
    start: Start, step: Step, victim: str, wanted: str, once_killed: Callable[[], object] = lambda: None
) -> None:
    """Kills a part of a start at a step; `wanted` begins as every answer does."""
    with nothing_left(start.server):
        held = seen(lambda: step(start))
        _killed(start, held, victim)
        once_killed()
        if held.call:
            _answered(held.call.wait(), victim, wanted)
        next_one = start.call(max_tokens=1).wait()
        assert next_one.is_whole and wanted.startswith(next_one.text), next_one.body
        wait_until(lambda: start.row()["replicas"] == 0, 10, "back at zero")
        start.server.remove(start.name)
