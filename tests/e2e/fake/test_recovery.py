"""A server that was killed: how soon it serves again, and what it makes of what lies where its replicas' sockets go."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
from support import processes
from support.leaks import nothing_left
from support.server import Server, fake, wait_until

SERVES_AGAIN_SECONDS = 2.0
NUMBERS = range(1, 5)  # of the first processes of a server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--spares", "0", folder=tmp_path) as running:
        yield running


@pytest.mark.parametrize("count", [10, 200])
def test_killed_server_serves_again_within_two_seconds(server: Server, count: int) -> None:
    """From exec to the first answer, a cold start included; one in ten has a template, all are of revision 2."""
    names = [f"f{i}" for i in range(count)]
    for i, name in enumerate(names):
        template = "on" if i % 10 == 0 else "off"
        for tokens_per_second in (100, 500):
            server.deploy(
                fake(name, template=template, context=1024 + i, tokens_per_second=tokens_per_second)
            )
        if i % 10 == 0 and i < 100:
            assert server.chat(name, max_tokens=1).status_code == 200
    ours = processes.children(server.pid)
    assert len(ours) >= 2
    server.kill()
    began = time.monotonic()
    server.start()
    assert server.chat(names[-1], max_tokens=1).status_code == 200
    took = time.monotonic() - began
    assert took <= SERVES_AGAIN_SECONDS, took
    assert not any(map(processes.alive, ours))
    assert {row["function"] for row in server.functions()} == set(names)
    assert all(row["revision"] == 2 for row in server.functions())


def stale(place: Path) -> Callable[[], None]:
    """A socket whose owner has gone."""
    place.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(place / "r.sock"))
    return lambda: None


def taken(place: Path) -> Callable[[], None]:
    """A socket at which somebody else listens, and answers nobody."""
    place.mkdir(exist_ok=True)
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(place / "r.sock"))
    other.listen()
    return other.close


def linked(place: Path) -> Callable[[], None]:
    """The folder is a link to one of somebody else's, who keeps what is in it."""
    kept = place.parent.parent / f"kept-{place.name}"
    kept.mkdir()
    (kept / "r.sock").write_text("mine")
    place.symlink_to(kept)

    def is_kept() -> None:
        assert (kept / "r.sock").read_text() == "mine"

    return is_kept


def file(place: Path) -> Callable[[], None]:
    """What should be a folder is a file."""
    place.write_text("in the way")
    return lambda: None


@pytest.mark.parametrize("template", ["off", "on"])
@pytest.mark.parametrize("obstacle", [stale, taken, linked, file])
def test_obstacle_at_the_place_of_a_socket_the_start_is_answered(
    server: Server, obstacle: Callable, template: str
) -> None:
    """A replica's folder is its process's number, so that what is there when it starts is another's leaving."""
    run_dir = find_run_dir(server)
    server.kill()
    server.start()
    assert list(run_dir.iterdir()) == []
    checks = [obstacle(run_dir / str(number)) for number in NUMBERS]
    server.deploy(fake("second", template=template))
    replies = [server.chat("second", max_tokens=1)]
    server.post("/v1/functions/second/stop")
    server.wait_state("second", "cold")
    replies.append(server.chat("second", max_tokens=1))
    assert [reply.status_code for reply in replies] == [200, 200], replies[-1].text
    (replica,) = server.function("second")["replica_list"]
    assert replica["id"] in NUMBERS, "it met no obstacle"
    for check in checks:
        check()


def find_run_dir(server: Server) -> Path:
    """It is there once a replica has run."""
    server.deploy(fake("first", keep_alive="0s"))
    assert server.chat("first", max_tokens=1).status_code == 200
    server.wait_state("first", "cold")
    server.remove("first")
    assert server.run_dir is not None
    return server.run_dir


def test_leftovers_of_a_killed_server_are_gone_before_its_next_start(server: Server) -> None:
    """Its folders, pid files and sockets; a file that names a process of somebody else's kills nobody."""
    for name in ("one", "two"):
        server.deploy(fake(name, template="on"))
        assert server.chat(name, max_tokens=1).status_code == 200
    left = sorted(server.run_dir.rglob("r.sock"))
    assert len(left) == 2
    ours = processes.children(server.pid)
    server.kill()
    wait_until(lambda: not any(map(processes.alive, ours)), 3, "all ended with their server")
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as innocent:
        try:
            for number, born in (("7", "1"), ("8", "0"), ("9", "")):
                (server.run_dir / number).mkdir()
                (server.run_dir / number / "pid").write_text(f"{innocent.pid} {born}\n")
            assert all(map(Path.exists, left))
            server.start()
            assert list(server.run_dir.iterdir()) == []
            assert processes.alive(innocent.pid)
        finally:
            innocent.kill()
    with nothing_left(server):
        for name in ("one", "two"):
            assert server.chat(name, max_tokens=1).status_code == 200
            server.remove(name)


def test_run_folder_removed_under_the_server_is_made_anew(server: Server) -> None:
    """As a cleaner of /tmp does: replicas that run go on with the sockets they have, the next start makes a folder."""
    server.deploy(fake("here", keep_alive="0s", template="off"))
    assert server.chat("here", max_tokens=1).status_code == 200
    server.wait_state("here", "cold")
    run_dir = server.run_dir
    shutil.rmtree(run_dir)
    assert server.chat("here", max_tokens=1).status_code == 200
    assert os.stat(run_dir).st_mode & 0o777 == 0o700


def test_run_folder_that_belongs_to_somebody_else_holds_no_socket(server: Server) -> None:
    """Its name can be told in advance, and where it lies everybody may make folders: who owns it can swap sockets."""
    if os.geteuid() != 0:
        pytest.skip("giving a folder away needs root")
    run_dir = find_run_dir(server)
    server.kill()
    os.chown(run_dir, 65534, 65534)
    run_dir.chmod(0o777)
    try:
        server.start()
    except AssertionError:
        assert str(run_dir) in server.log(), "a refusal names the folder"
        return
    server.deploy(fake("guarded"))
    reply = server.chat("guarded", max_tokens=1)
    if reply.status_code != 200:
        assert str(run_dir) in reply.text, "a refusal names the folder"
        return
    (socket_file,) = server.run_dir.rglob("r.sock")
    for folder in (socket_file.parent, socket_file.parent.parent):
        status = folder.stat()
        assert (status.st_uid, status.st_mode & 0o077) == (os.geteuid(), 0), folder
