"""The decision log of a live server: what it records is decided once more as it was, and what is not whole is told."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from support.disks import fill, small_disk
from support.server import Server, fake, wait_until
from support.server_life import PROMPT, SECRET, crash, live, logs_of, recorded, replay


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> Path:
    """The log of a server that lived and was stopped."""
    folder = tmp_path_factory.mktemp("life")
    with Server(*recorded(folder), folder=folder) as server:
        live(server)
        server.terminate()
        assert server.wait_exit() == 0
    (log,) = logs_of(server)
    return log


def figures(log: Path, *options: str) -> dict:
    done = replay(log, "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def told(log: Path, *options: str) -> str:
    done = replay(log, *options)
    assert done.returncode == 1, done.stdout
    return done.stderr


def summed(lines: list[str]) -> str:
    """With sums that fit them, as a writer of such lines would have given."""
    value = 0xCBF29CE484222325

    def add(text: str) -> None:
        nonlocal value
        for byte in text.encode():
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF

    written = []
    for line in lines:
        start, found, _ = line.partition(',"sum":"')
        add(start)
        if found:
            end = f'{found}{value:016x}"}}'
            add(end)
            start += end
        add("\n")
        written.append(start + "\n")
    return "".join(written)


def test_a_life_is_decided_as_it_was(life) -> None:
    said = figures(life)
    assert said["turns"] > 100 and said["end"] == "closed" and not said["torn"]
    assert (said["policy"], said["same"]) == (json.loads(life.open().readline())["policy"], True)
    events = {json.loads(line).get("event") for line in life.open()}
    assert events >= {
        *("TrafficSet", "ModelPrepared", "CallArrived", "AnswerBegan", "CallEnded", "ProcessReady"),
        *("ProcessGone", "ReplicaAssigned", "WarmWanted", "PreloadWanted", "StopWanted"),
        *("FunctionDeleted", "MemoryMeasured", "DrainStarted", "Tick"),
    }


def test_prompts_and_secrets_are_not_in_it_and_only_its_owner_reads_it(life) -> None:
    text = life.read_text()
    assert PROMPT not in text and SECRET not in text
    assert '"salt":"#' in text and '"prime":["#' in text
    assert (life.stat().st_mode & 0o777, life.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_decision_that_differs_is_named_by_its_line(life, tmp_path) -> None:
    lines = life.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"GrantCall"' in line)
    lines[at] = lines[at].replace('{"GrantCall":{"call":', '{"GrantCall":{"call":7', 1)
    changed = tmp_path / "changed.log"
    changed.write_text(summed(lines))
    assert f"changed.log:{at + 1}: this is decided otherwise now" in told(changed)


def test_what_is_damaged_foreign_or_of_another_version_is_refused(life, tmp_path) -> None:
    lines = life.read_text().splitlines()
    middle = len(lines) // 2
    path = tmp_path / "other.log"

    def refused(*changed: str) -> str:
        path.write_text("\n".join(changed) + "\n")
        return told(path)

    assert "the log is damaged" in refused(*lines[:middle], *lines[middle + 1 :])
    flipped = lines[middle].replace("1", "2", 1)
    assert "damaged" in refused(*lines[:middle], flipped, *lines[middle + 1 :])
    assert "line 1: this is no decision log" in refused(*lines[1:])
    assert "something follows the end" in refused(*lines, lines[-2])
    head = json.loads(lines[0])
    assert "has version 1" in refused(lines[0].replace('"glowplug_log":2', '"glowplug_log":1'))
    other = lines[0].replace(f'"policy":{head["policy"]}', '"policy":987')
    refusal = refused(*summed([other, *lines[1:]]).splitlines())
    assert "policy version 987" in refusal and head["build"] in refusal
    assert figures(path, "--other-policy")["policy"] == 987


def test_killed_server_all_but_the_torn_tail_is_replayed_and_the_next_one_begins_anew(
    tmp_path,
) -> None:
    """kill -9 while calls come, three times; each run of the server has a log of its own."""
    server = Server(*recorded(tmp_path), "--spares", "0", folder=tmp_path)
    with server:
        server.deploy(fake("chat", template="on", slots=2))
        for _ in range(3):
            before = len(logs_of(server)) - 1
            calls = threading.Thread(target=call_until_it_dies, args=(server, server.url))
            calls.start()
            log = logs_of(server)[before]
            wait_until(lambda log=log: log.stat().st_size > 30_000, 20, "calls are recorded")
            server.kill()
            calls.join()
            said = figures(log)
            assert said["end"] is None and said["turns"] > 20
            assert "its writer was killed" in replay(log).stderr
            server.start()
        crash(server)
        torn = tmp_path / "torn.log"
        torn.write_bytes(log.read_bytes()[:-7])  # of whatever came last
        said = figures(torn)
        assert said["torn"] and said["lines"] < len(log.read_text().splitlines())
        assert f"within turn {said['turns'] + 1}" in replay(torn).stderr
        growing = figures(logs_of(server)[-1])  # while its server writes
        assert growing["end"] is None
    assert len(logs_of(server)) == 4
    assert figures(logs_of(server)[-1])["end"] == "closed"


def call_until_it_dies(server: Server, url: str) -> None:
    import httpx

    body = {"model": "chat", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
    with httpx.Client(base_url=url, timeout=10) as client:
        try:
            while True:
                client.post("/v1/chat/completions", json=body)
        except httpx.HTTPError:
            return


def test_full_log_ends_and_is_told_once_and_calls_go_on(tmp_path) -> None:
    with Server(*recorded(tmp_path, "100KiB"), folder=tmp_path) as server:
        server.deploy(fake("chat"))
        for _ in range(120):
            assert server.chat("chat", max_tokens=1).status_code == 200
        assert server.log().count("ends here: full at 51.2 kB") == 1
        (log,) = logs_of(server)
        assert log.stat().st_size <= 50 << 10
    said = figures(log)
    assert said["end"] == "full at 51.2 kB" and said["turns"] > 50
    assert "the log ends before its writer did: full" in replay(log).stderr


def test_disk_that_is_full_ends_the_log_and_is_told_once_and_calls_go_on(tmp_path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        server = Server(*recorded(tmp_path), folder=tmp_path)
        server.data_dir.mkdir()
        (server.data_dir / "decisions").symlink_to(disk)
        with server:
            server.deploy(fake("chat"))
            fill(disk / "filler", left=8192)
            for _ in range(120):
                assert server.chat("chat", max_tokens=1).status_code == 200
            wait_until(lambda: "No space left on device" in server.log(), 5, "it is told")
            assert server.log().count("ends here") == 1
            log = next(disk.glob("*.log"))
            assert figures(log)["turns"] > 5
        assert figures(log)["end"] in (None, "No space left on device")


def test_folder_that_cannot_be_written_is_told_and_the_server_serves(tmp_path) -> None:
    server = Server(*recorded(tmp_path), folder=tmp_path)
    server.data_dir.mkdir()
    (server.data_dir / "decisions").write_text("in the way")
    with server:
        assert server.chat(server.deploy(fake("chat")), max_tokens=1).status_code == 200
        assert server.log().count("decisions are not recorded: ") == 1


def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path) -> None:
    with Server(folder=tmp_path) as server:
        server.deploy(fake("chat"))
        assert server.chat("chat", max_tokens=1).status_code == 200
    assert not os.path.exists(server.data_dir / "decisions")
