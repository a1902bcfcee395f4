"""Where webhooks go, by whom a name leads to at the moment of an attempt; and that each end is told though the server
is killed: contract lines 58 and 59, fault rows 49 to 51."""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any, Iterator

import pytest
from support import jobs
from support.host_names import HostNames
from support.receiver import Receiver, unwrap
from support.server import Server, fake, holds_for, wait_until
from support.webhooks import BASE, add, send

NAME = "hook.example"


def configured(folder: Path, text: str, **more: Any) -> Server:
    config = folder / "config.yaml"
    config.write_text(text)
    return Server("--config", str(config), "--spares", "0", folder=folder, **more)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> HostNames:
    return HostNames(tmp_path_factory.mktemp("names"))


@pytest.fixture(scope="module")
def server(names: HostNames, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It may send to 127.0.0.2 and to nothing else that is not public."""
    folder = tmp_path_factory.mktemp("targets")
    with configured(folder, "webhooks: {allow: [127.0.0.2], allow_http: true}\n", env=names.env) as running:
        yield running


class Door:
    """A port of this machine's loopback addresses where somebody listens and nobody answers."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        if socket.has_ipv6:
            with contextlib.suppress(OSError):
                self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))

    def knocked(self) -> bool:
        """Somebody has connected."""
        return bool(select.select(self._sockets, [], [], 0)[0])

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


def row(server: Server, endpoint: dict[str, Any], attempts: int = 1) -> dict[str, Any]:
    """Its newest delivery, once it has had so many attempts."""

    def look() -> dict[str, Any] | None:
        rows = server.get(f"{BASE}/{endpoint['id']}/deliveries").json()["data"]
        return rows[0] if rows and rows[0]["attempts"] >= attempts else None

    return wait_until(look, 30, f"attempt {attempts}")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_line_59_name_that_leads_inside_is_never_connected_to(
    server: Server, names: HostNames, door: Door, scheme: str, address: str
) -> None:
    names.lead(NAME, address)
    endpoint = add(server, f"{scheme}://{NAME}:{door.port}/")
    send(server, endpoint)
    seen = row(server, endpoint)
    assert (seen["status"], seen["last_status"]) == ("pending", None), seen
    assert f"address {address}, which this server sends nothing to" in seen["last_error"], seen
    assert not door.knocked()
    server.http.delete(f"{BASE}/{endpoint['id']}")


def test_line_59_name_that_changes_after_its_registration_is_never_connected_to(
    server: Server, names: HostNames, door: Door
) -> None:
    """It led to where it may when it was registered, and when the first event went there."""
    receiver = Receiver(500, address="127.0.0.2", port=door.port)
    try:
        names.lead(NAME, "127.0.0.2")
        told, untold = (add(server, f"http://{NAME}:{door.port}/{path}") for path in ("told", "untold"))
        send(server, told)
        assert row(server, told)["last_status"] == 500
        names.lead(NAME, "127.0.0.1")
        send(server, untold)
        seen = row(server, untold)
        assert (seen["status"], seen["last_status"]) == ("pending", None), seen
        assert "address 127.0.0.1, which this server sends nothing to" in seen["last_error"], seen
        row(server, told, 2)
        assert not door.knocked()
        receiver.answers = [200]
        names.lead(NAME, "127.0.0.2")
        assert server.post(f"{BASE}/deliveries/{seen['id']}/replay").status_code == 202
        wait_until(lambda: row(server, untold)["status"] == "delivered", 30, "it is told")
    finally:
        receiver.close()
        for endpoint in (told, untold):
            server.http.delete(f"{BASE}/{endpoint['id']}")


@pytest.mark.parametrize("seed", [1, 2])
def test_p18_each_end_is_told_though_the_server_is_killed(tmp_path: Path, seed: int) -> None:
    """An end and what is to be told of it are on the disk together; what was not told is told by the next server."""
    chance, receiver = random.Random(seed), Receiver()
    try:
        with configured(tmp_path, "webhooks: {allow: [127.0.0.1], allow_http: true}\n") as server:
            function = server.deploy(fake("work", load_time="10ms", tokens_per_second=100, slots=2, scale={"max": 1}))
            secret = server.post(f"{BASE}/jobs/rotate-secret", {"grace_period": "0s"}).json()["signing_secret"]
            sent: list[str] = []
            for _ in range(4):
                sent += [jobs.send(server, function, webhook=receiver.url, max_attempts=20) for _ in range(10)]
                count = len(receiver.seen) + chance.randrange(5)
                wait_until(lambda: len(receiver.seen) >= count, 30, "some are told")
                server.kill()
                server.start()
            ends = {job: jobs.over(server, job, 60) for job in sent}
            assert {end["status"] for end in ends.values()} == {"completed"}
            told: defaultdict[str, set[str]] = defaultdict(set)

            def all_told() -> bool:
                for head, body in list(receiver.seen):
                    event = json.loads(body)
                    told[event["data"]["id"]].add(head["webhook-id"])
                return set(told) >= set(sent)

            wait_until(all_told, 60, "each end is told")
            assert set(told) == set(sent)
            assert all(len(ids) == 1 for ids in told.values()), "an event has one id, however often it is told"
            assert len({event for ids in told.values() for event in ids}) == len(sent)
            for one in receiver.seen:
                assert unwrap(secret, one).type == "job.completed"
            seen = len(receiver.seen)
            holds_for(lambda: len(receiver.seen) == seen, 1, "what was delivered is not told again")
    finally:
        receiver.close()
