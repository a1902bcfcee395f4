"""What breaks under the queue: the disk, its file's lock, the server at one system call or another, a replica that
sleeps or ends, two servers on one folder, the wall clock. What was accepted comes to one end all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
from support import processes
from support.broken_calls import REPLIES, SYNCS, WRITES, tampered
from support.disks import fill, small_disk
from support.job_callers import Line, Reply, hand_over, listed, read_all, usage_rows
from support.job_history import ENDS, History
from support.jobs import over, prompt
from support.load import at_once
from support.server import Server, fake, wait_until
from support.wall_clock import DAY, WallClock

MIB = 1 << 20


class Client:
    """Hands jobs of one function over, notes what it is told, and says in the end whether all was kept."""

    def __init__(self, server: Server, function: str = "fast") -> None:
        self.server, self.function, self.history = server, function, History()
        self._line, self._count = Line(server.url), 0
        self._lock = threading.Lock()

    def submit(
        self, *, tokens: int = 2, words: str = "", key: str | None = None, line: Line | None = None
    ) -> Reply | None:
        with self._lock:
            self._count += 1
            marker = f"call-{self._count}."
        body = {"body": {"prompt": f"{marker} {words}".strip(), "max_tokens": tokens}}
        return hand_over(line or self._line, self.history, marker, self.function, body, key)

    def accepted(self, **more: Any) -> str:
        reply = self.submit(**more)
        assert reply is not None and reply.status == 202, reply
        return reply.body["id"]

    def view(self, job: str, wait: int = 0) -> dict:
        asked = time.monotonic()
        reply = self._line.ask("GET", f"/v1/jobs/{job}" + (f"?wait={wait}" if wait else ""))
        assert reply is not None and reply.status == 200, reply
        self.history.told(job, reply.body, asked)
        return reply.body

    def end(self, job: str, seconds: float = 20) -> dict:
        def over() -> dict | None:
            view = self.view(job, 1)
            return view if view["status"] in ENDS else None

        return wait_until(over, seconds, f"{job} is over")

    def cancel_all(self) -> None:
        for job in self.history.ids():
            asked = time.monotonic()
            reply = self._line.ask("POST", f"/v1/jobs/{job}/cancel", {})
            assert reply is not None and reply.status == 200, reply
            self.history.told(job, reply.body, asked)

    def moved(self) -> None:
        """The server has another address now."""
        self._line.close()
        self._line = Line(self.server.url)

    def check(self, *, seconds: float = 40) -> None:
        """All that was accepted has come to one end, before and after a kill."""
        read_all(self.server.url, self.history, seconds)
        self.server.kill()
        self.server.start()
        self.moved()
        read_all(self.server.url, self.history, seconds)
        wrong = self.history.violations() + list(self.history.missing_in(listed(self.server.url)))
        wrong += self.history.billed_wrong(usage_rows(self.server.url, self.history))
        assert not wrong, "\n".join(wrong[:20])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--spares", "0", folder=tmp_path) as running:
        running.deploy(fake("fast", load_time="10ms", tokens_per_second=5000))
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    made = Client(server)
    made.end(made.accepted())  # its replica is there
    return made


def serves_again(server: Server, client: Client, seconds: float = 15) -> None:
    """It accepts again by itself, or has ended rather than lie and is started by whoever watches over it."""

    def accepts() -> bool:
        if server.process.poll() is not None:
            assert server.process.returncode not in (0, None), "it ended as if nothing were wrong"
            server.start()
            client.moved()
        reply = client.submit()
        return reply is not None and reply.status == 202

    wait_until(accepts, seconds, "it accepts again")


def until_struck(injected: Any, client: Client, server: Server, most: int = 400) -> None:
    """Hands jobs over, four at once, until the fault has come."""
    lines = [Line(server.url) for _ in range(4)]
    for _ in range(most):
        at_once(4, lambda i: client.submit(line=lines[i]))
        if injected.count > 0 or server.process.poll() is not None:
            return
    raise AssertionError(f"the fault did not come within {most} rounds")


# The disk -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_sync_that_fails_no_call_of_that_commit_is_accepted(server: Server, k: int) -> None:
    """An fsync that failed cannot be repeated: whose commit it was hears 503, and the file is opened anew, or the
    server ends. Nothing but accepting is written meanwhile: the function's one place is taken."""
    server.deploy(fake("stuck", load_time="10m", slots=1, scale={"max": 1}))
    client = Client(server, "stuck")
    first = client.accepted()
    wait_until(lambda: client.view(first)["status"] == "in_progress", 10, "it has the place")
    with tampered(server.pid, SYNCS, f"error=EIO:when={k}") as injected:
        until_struck(injected, client, server)
    serves_again(server, client)
    assert any(what.startswith("503") for what in client.history.refused) or client.history.unanswered
    client.cancel_all()
    client.check()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("k", [1, 2, 4, 7, 11])
def test_write_that_fails_loses_nothing_that_was_accepted(server: Server, client: Client, error: str, k: int) -> None:
    (log,) = server.data_dir.glob("*-wal")
    with tampered(server.pid, WRITES, f"error={error}:when={k}", path=log) as injected:
        until_struck(injected, client, server)
    serves_again(server, client)
    client.check()


def test_syncs_that_fail_for_a_while_are_all_refusals(server: Server, client: Client) -> None:
    with tampered(server.pid, SYNCS, "error=EIO:when=1+"):
        replies = [client.submit() for _ in range(10)]
        assert not [reply for reply in replies if reply is not None and reply.status == 202]
    serves_again(server, client)
    client.check()


def test_slow_disk_gathers_commits_and_delays_nobody_else(server: Server, client: Client) -> None:
    """Two seconds for each sync: sixty-four calls at once take as long as a few syncs, and health is told at once."""
    threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
    with tampered(server.pid, SYNCS, "delay_enter=2000000"):
        lines = [Line(server.url) for _ in range(64)]
        began = time.monotonic()
        worker = threading.Thread(target=lambda: at_once(64, lambda i: client.submit(line=lines[i])))
        worker.start()
        seen = []
        while worker.is_alive():
            asked = time.monotonic()
            assert server.get("/healthz").status_code == 200
            seen.append(time.monotonic() - asked)
            worker.join(timeout=0.05)
        took = time.monotonic() - began
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) <= threads + 8, "threads pile up"
    assert took < 12, f"64 calls took {took:.1f} s"
    assert sorted(seen)[int(len(seen) * 0.9)] < 0.5, sorted(seen)[-5:]
    assert len(client.history.calls) >= 60
    client.check(seconds=60)


def test_full_disk_refuses_calls_ends_jobs_and_recovers_without_a_restart(tmp_path: Path) -> None:
    """Jobs that were accepted come to their ends while the disk is full: room is kept for that."""
    with small_disk(tmp_path / "disk", 256 * MIB) as disk:
        with Server("--spares", "0", folder=disk) as server:
            server.deploy(fake("fast", load_time="10ms", tokens_per_second=5000))
            server.deploy(fake("slow", load_time="10ms", tokens_per_second=10, slots=16, scale={"max": 1}))
            client, slow = Client(server), Client(server, "slow")
            running = [slow.accepted(tokens=15) for _ in range(12)]
            wait_until(lambda: slow.view(running[0])["status"] == "in_progress", 10, "they run")
            fill(disk / "filler")

            def refused() -> bool:
                reply = client.submit(words="x" * 4096)
                return reply is not None and reply.status == 503

            wait_until(refused, 20, "a full disk is told")
            assert 1 <= int(client.submit(words="x" * 4096).headers["retry-after"]) <= 60
            ends = [slow.end(job, 30)["status"] for job in running]
            assert set(ends) == {"completed"}, ends
            assert server.get("/healthz").status_code == 200
            (disk / "filler").unlink()
            wait_until(lambda: client.submit().status == 202, 20, "it accepts again")
            client.check()
            slow.check()


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_file_locked_by_another_program_is_a_refusal(server: Server, client: Client, how: str) -> None:
    """A shell of SQLite holds a transaction open on the live file, once it has got its turn: nothing hangs, what runs
    ends, its end is written as soon as it can be, and afterwards all is well."""
    server.deploy(fake("slow", load_time="10ms", tokens_per_second=20, scale={"max": 1}))
    slow = Client(server, "slow")
    running = slow.accepted(tokens=20)
    wait_until(lambda: slow.view(running)["status"] == "in_progress", 10, "it runs")
    file = server.data_dir / "glowplug.db"
    with contextlib.closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as other:
        other.execute(how)
        began = time.monotonic()
        reply = client.submit()
        assert reply is not None and (reply.status, reply.code) == (503, "storage_failed"), reply
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert time.monotonic() - began < 15
        assert server.get("/healthz").status_code == 200
        wait_until(lambda: server.function("slow")["in_flight"] == 0, 20, "it is answered")
        assert server.chat("fast", max_tokens=1).status_code == 200, "who waits needs no file"
        other.execute("ROLLBACK")
    serves_again(server, client)
    end = slow.end(running, 30)
    assert (end["status"], end["attempt"]) == ("completed", 1), end
    client.check()
    slow.check()


# Ends at the worst moment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [SYNCS, WRITES, REPLIES], ids=["sync", "write", "reply"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 6, 9, 14])
def test_killed_at_the_kth_call_what_was_accepted_is_there(server: Server, client: Client, calls: str, k: int) -> None:
    """The server ends at the entry of a write or a sync of its log, or of a reply, with calls under way."""
    (log,) = server.data_dir.glob("*-wal")
    path = None if calls == REPLIES else log
    with tampered(server.pid, calls, f"signal=SIGKILL:when={k}", path=path) as injected:
        until_struck(injected, client, server)
        server.process.wait(timeout=10)
    server.start()
    client.moved()
    client.check()


def test_replica_killed_under_a_job_is_one_more_attempt(server: Server, client: Client) -> None:
    server.deploy(fake("slow", load_time="10ms", tokens_per_second=20, template="off", scale={"max": 1}))
    slow = Client(server, "slow")
    job = slow.accepted(tokens=20)
    wait_until(lambda: slow.view(job)["status"] == "in_progress" and server.pids_of("slow"), 10, "it runs")
    wait_until(lambda: server.function("slow")["in_flight"] == 1, 10, "its replica has it")
    os.kill(server.pids_of("slow")[0], signal.SIGKILL)
    end = slow.end(job, 30)
    assert end["status"] == "completed", end
    assert end["attempt"] == 2, end
    slow.check()


def test_replica_that_sleeps_loses_its_job_and_wakes_too_late(server: Server) -> None:
    """Alive and silent: after some missed signs of life it is tried again; what the sleeper says is not heard."""
    server.deploy(fake("slow", load_time="10ms", tokens_per_second=20, template="off", scale={"max": 2}))
    slow = Client(server, "slow")
    job = slow.accepted(tokens=20)
    wait_until(lambda: slow.view(job)["status"] == "in_progress" and server.pids_of("slow"), 10, "it runs")
    (sleeper,) = server.pids_of("slow")
    os.kill(sleeper, signal.SIGSTOP)
    try:
        end = slow.end(job, 60)
        assert (end["status"], end["attempt"]) == ("completed", 2), end
        assert processes.alive(sleeper), "it was ended before it could wake too late"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(sleeper, signal.SIGCONT)
    wait_until(lambda: not processes.alive(sleeper), 15, "it has said what it had to say, and obeys")
    assert slow.view(job) == end
    slow.check()


def test_replica_that_sleeps_is_ended_though_each_job_runs_out_of_time_before(server: Server) -> None:
    """A time to run that is shorter than its signs of life take hides nothing: others are not sent there for ever."""
    server.deploy(fake("slow", load_time="10ms", tokens_per_second=20, slots=1, template="off", scale={"max": 1}))
    slow = Client(server, "slow")
    slow.end(slow.accepted())
    (sleeper,) = server.pids_of("slow")
    os.kill(sleeper, signal.SIGSTOP)
    body = {"function": "slow", "request": prompt(), "execution_timeout": 3}

    def answered() -> bool:
        job = server.post("/v1/jobs", body).json()["id"]
        return over(server, job)["status"] == "completed"

    try:
        wait_until(answered, 60, "a job is answered")
        wait_until(lambda: not processes.alive(sleeper), 20, "it is ended")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(sleeper, signal.SIGCONT)


def test_poison_ends_as_a_dead_letter_and_others_are_answered(server: Server) -> None:
    server.deploy(fake("brittle", load_time="10ms", fault="crash_on_prompt:poison", template="off", scale={"max": 1}))
    brittle = Client(server, "brittle")
    before = [brittle.accepted() for _ in range(3)]
    poison = brittle.accepted(words="poison")
    after = [brittle.accepted() for _ in range(3)]
    end = brittle.end(poison, 60)
    assert (end["status"], end["dead_lettered"]) == ("failed", True), end
    assert {brittle.end(job, 60)["status"] for job in before + after} == {"completed"}
    letters = server.get("/v1/dead-letters").json()["data"]
    assert [row["id"] for row in letters] == [poison]
    assert server.function("brittle")["state"] != "failed", "the function is not to blame"
    assert server.chat("brittle", max_tokens=1).status_code == 200
    brittle.check()


# Time and duplicates ------------------------------------------------------------------------------------------------


def test_server_that_was_paused_runs_nothing_twice(server: Server, client: Client) -> None:
    server.deploy(fake("slow", load_time="10ms", tokens_per_second=20, slots=2, scale={"max": 1}))
    slow = Client(server, "slow")
    jobs = [slow.accepted(tokens=10) for _ in range(6)]
    wait_until(lambda: slow.view(jobs[0])["status"] == "in_progress", 10, "the first runs")
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(server.pid, signal.SIGCONT)
    ends = [slow.end(job, 30) for job in jobs]
    assert [(end["status"], end["attempt"]) for end in ends] == [("completed", 1)] * 6, ends
    slow.check()


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["a-day-on", "a-day-back"])
def test_wall_clock_set_by_a_day_changes_no_job(tmp_path: Path, by: float) -> None:
    """Queued, running and over: none expires, none runs twice, a key is still known."""
    clock = WallClock(tmp_path)
    with Server("--spares", "0", folder=tmp_path, env=clock.env) as server:
        server.deploy(fake("slow", load_time="10ms", tokens_per_second=20, slots=2, scale={"max": 1}))
        slow = Client(server, "slow")
        over = slow.accepted(tokens=1, key="of-before")
        (marker,) = (call.marker for call in slow.history.calls.values())
        body = {"body": {"prompt": marker, "max_tokens": 1}}
        slow.end(over)

        def key_is_known() -> None:
            reply = hand_over(Line(server.url), slow.history, marker, "slow", body, "of-before")
            assert reply is not None and reply.status == 202 and reply.body["id"] == over, reply
            assert reply.headers["idempotent-replayed"] == "true"

        jobs = [slow.accepted(tokens=20) for _ in range(5)]
        wait_until(lambda: slow.view(jobs[0])["status"] == "in_progress", 10, "the first runs")
        clock.step(by)
        ends = [slow.end(job, 30) for job in jobs]
        assert [(end["status"], end["attempt"]) for end in ends] == [("completed", 1)] * 5, ends
        assert slow.view(over)["status"] == "completed"
        key_is_known()
        slow.check()  # a restart, and the clock is still wrong
        assert slow.view(over)["status"] == "completed"
        key_is_known()
        clock.reset()
        slow.check()
        key_is_known()


def test_one_key_sent_five_times_at_once_is_one_job(server: Server, client: Client) -> None:
    body = {"body": {"prompt": "call-once.", "max_tokens": 2}}
    lines = [Line(server.url) for _ in range(5)]

    def send(i: int) -> Reply | None:
        return hand_over(lines[i], client.history, "call-once.", "fast", body, "key-once")

    for _ in range(20):
        replies = at_once(5, send)
        assert {reply.status for reply in replies if reply is not None} <= {202, 409}
    assert len(client.history.by_key["key-once"]) == 1
    client.check()


def test_second_server_refuses_and_the_first_goes_on(server: Server, client: Client, tmp_path: Path) -> None:
    jobs = [client.accepted() for _ in range(5)]
    second = Server(folder=tmp_path)
    with pytest.raises(AssertionError):
        second.start()
    assert second.process is not None and second.process.wait(timeout=10) != 0
    jobs += [client.accepted() for _ in range(5)]
    assert {client.end(job)["status"] for job in jobs} == {"completed"}
    client.check()
