"""Fault rows 27 and 28: what a power cut or a bad disk makes of the state file. What was told before the last bytes
that are whole is there, what came later is there or is not, and a value that was changed is served to nobody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from support import jobs
from support.server import Server, fake, wait_until

NOT_COPIED = shutil.ignore_patterns("*.ballast", "*-shm", "lock")  # made anew; the index of the log is in memory only


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "live"
    folder.mkdir()
    with Server("--spares", "0", folder=folder) as running:
        running.deploy(fake("fast", load_time="10ms", tokens_per_second=5000))
        yield running


@dataclass(frozen=True)
class Log:
    """The write-ahead log at one moment, and the file that it is copied into now and then."""

    bytes: int
    salt: bytes
    file: str

    @staticmethod
    def of(server: Server) -> Log:
        (log,) = server.data_dir.glob("*-wal")
        file = log.with_name(log.name.removesuffix("-wal"))
        with log.open("rb") as opened:
            head = opened.read(32)
        return Log(log.stat().st_size, head[16:24], hashlib.sha256(file.read_bytes()).hexdigest())

    def goes_on_in(self, later: Log) -> bool:
        """Nothing but frames at its end has come since."""
        return self.file == later.file and later.bytes > self.bytes and self.salt in (b"", later.salt)


@contextlib.contextmanager
def standing_still(server: Server) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@dataclass
class Snapshot:
    """Files as they were at one moment. `safe` bytes of the log tell all of `before`; `after` came in this order."""

    folder: Path
    safe: int
    before: dict[str, dict[str, Any]]
    after: list[str]

    def copy(self, folder: Path) -> Path:
        shutil.copytree(self.folder, folder / "data")
        (log,) = (folder / "data").glob("*-wal")
        return log


def take(server: Server, folder: Path) -> Snapshot:
    """With jobs that are over and one that waits in `before`; those of `after` are over, too."""
    waits = jobs.send(server, "fast", delay="1h")
    for turn in range(20):
        before = [jobs.send(server, "fast", jobs.prompt(f"before {turn}.{i}")) for i in range(5)]
        told = {job: jobs.over(server, job) for job in before} | {waits: jobs.look(server, waits)}
        with standing_still(server):
            safe = Log.of(server)
        after = [jobs.send(server, "fast", jobs.prompt(f"after {turn}.{i}")) for i in range(10)]
        for job in after:
            jobs.over(server, job)
        with standing_still(server):
            if not safe.goes_on_in(Log.of(server)):
                continue  # the log was copied into its file meanwhile
            shutil.copytree(server.data_dir, folder, ignore=NOT_COPIED)
        return Snapshot(folder, safe.bytes, told, after)
    raise AssertionError("the log is never left alone for so long")


Tear = Callable[[Path, int, random.Random], None]


def cut_off(log: Path, safe: int, chance: random.Random) -> None:
    """The last writes have not come to the disk."""
    os.truncate(log, chance.randint(safe, log.stat().st_size))


def at_the_last_safe_byte(log: Path, safe: int, _: random.Random) -> None:
    os.truncate(log, safe)


def zeroed(log: Path, safe: int, chance: random.Random) -> None:
    """The length has, and the bytes have not."""
    whole = log.stat().st_size
    os.truncate(log, chance.randint(safe, whole - 1))
    os.truncate(log, whole)


def one_page_lost(log: Path, safe: int, chance: random.Random) -> None:
    """One in the midst of them has not come, those behind it have."""
    at = chance.randint(safe, log.stat().st_size - 512)
    with log.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 512)


def garbage_behind(log: Path, _: int, chance: random.Random) -> None:
    with log.open("ab") as file:
        file.write(chance.randbytes(10_000))


@pytest.mark.parametrize("tear", [cut_off, at_the_last_safe_byte, zeroed, one_page_lost, garbage_behind])
def test_row_27_torn_end_of_the_log_takes_nothing_that_was_told_before_it(
    server: Server, tmp_path: Path, tear: Tear
) -> None:
    snapshot = take(server, tmp_path / "snapshot")
    server.kill()
    chance = random.Random(tear.__name__)
    for turn in range(3):
        folder = tmp_path / f"torn-{turn}"
        folder.mkdir()
        tear(snapshot.copy(folder), snapshot.safe, chance)
        with Server("--spares", "0", folder=folder) as torn:
            assert {job: jobs.look(torn, job) for job in snapshot.before} == snapshot.before
            known = [torn.get(f"/v1/jobs/{job}").status_code == 200 for job in snapshot.after]
            assert known == sorted(known, reverse=True), "a later one is known and an earlier one is not"
            for job in [job for job, is_known in zip(snapshot.after, known) if is_known]:
                assert jobs.over(torn, job, 60)["status"] == "completed"
            assert jobs.over(torn, jobs.send(torn, "fast"))["status"] == "completed", "it goes on"
            torn.terminate()
            assert torn.wait_exit() == 0
        with contextlib.closing(sqlite3.connect(folder / "data" / "glowplug.db")) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if tear is garbage_behind:
            assert all(known)
        if tear is at_the_last_safe_byte:
            assert not any(known)


@contextlib.contextmanager
def opened(server: Server) -> Iterator[sqlite3.Connection]:
    """The file of a server that has ended, changed as no server would."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "glowplug.db")) as file, file:
        yield file


def number(job: str) -> int:
    return int(job.removeprefix("job_"), 16)


def test_row_28_value_that_was_changed_underneath_is_served_to_nobody(server: Server) -> None:
    """One byte of a result, of a request that still waits, and of a receipt; whose they are is told, others go on."""
    damaged, sound = (jobs.over(server, jobs.send(server, "fast", jobs.prompt(text))) for text in ("one", "other"))
    waits, goes_on = (jobs.send(server, "fast", jobs.prompt(text), delay=2) for text in ("third", "fourth"))
    call = server.chat("fast", max_tokens=3).headers["x-request-id"]
    wait_until(lambda: server.get(f"/v1/admin/usage/{call}").status_code == 200, 10, "it has a receipt")
    server.terminate()
    assert server.wait_exit() == 0
    with opened(server) as file:
        for change, whose in (
            ("UPDATE jobs SET result = replace(result, 'model', 'mobel') WHERE id = ?", number(damaged["id"])),
            ("UPDATE jobs SET body = replace(body, 'third', 'bird!') WHERE id = ?", number(waits)),
            ("UPDATE usage SET completion_tokens = completion_tokens + 1 WHERE request_id = ?", call),
        ):
            assert file.execute(change, (whose,)).rowcount == 1
    server.start()
    assert jobs.look(server, sound["id"]) == sound
    reply = server.get(f"/v1/jobs/{damaged['id']}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage_failed"), reply.text
    assert damaged["id"] in reply.json()["error"]["message"] and "mobel" not in reply.text
    end = jobs.over(server, waits, 30)
    assert (end["status"], end["error"]["code"], end["result"]) == ("failed", "storage_failed", None), end
    assert jobs.over(server, goes_on, 30)["status"] == "completed"
    assert server.get(f"/v1/admin/usage/{call}").status_code == 503
