"""Memory is measured: what is held stands beside what is reserved, what outgrows its estimate is reserved more and
pushes out what is idle, and the next start, also of the next server, begins with what was learned."""

from __future__ import annotations

import re

import pytest
from support.leaks import nothing_left
from support.load import Highest, at_once
from support.server import Server, fake, wait_until

HOLDS_MB = 80
MB = 1_000_000


@pytest.fixture
def server(tmp_path):
    with Server("--memory", "120MB", "--spares", "0", folder=tmp_path) as running:
        yield running


def greedy(server: Server, template: str = "off", **more) -> str:
    return server.deploy(fake("greedy", fault=f"hold_megabytes:{HOLDS_MB}", template=template, **more))


def replica(server: Server, name: str) -> dict:
    (row,) = server.function(name)["replica_list"]
    return row


def grown(server: Server, name: str) -> dict:
    """The replica once its reservation holds what it has taken."""
    wait_until(
        lambda: replica(server, name)["reserved_bytes"] > HOLDS_MB * MB, 5, "it is reserved more"
    )
    return replica(server, name)


def reasons(server: Server, name: str, decision: str) -> list[str]:
    return [row["reason"] for row in server.decisions(name) if row["decision"] == decision]


def to_zero(server: Server, name: str) -> None:
    server.post(f"/v1/functions/{name}/stop")
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")


def gauges(server: Server) -> dict[str, float]:
    text = server.get("/metrics").text
    return {k: float(v) for k, v in re.findall(r"^(glowplug_\w*memory\w*\{[^}]*\}) (\S+)$", text, re.M)}


def test_reserved_stands_beside_what_is_held(tmp_path) -> None:
    with Server("--spares", "1", folder=tmp_path) as server:
        name = server.deploy(fake("both", template="on"))
        assert server.chat(name, max_tokens=1).status_code == 200
        wait_until(lambda: server.function(name)["template"]["spares"], 5, "a spare")
        row = server.function(name)
        spare, template = row["template"]["spares"][0], row["template"]
        for shown in (row, row["replica_list"][0], template, spare):
            assert 0 < shown["memory_bytes"] and 0 < shown["reserved_bytes"], shown
        assert row["reserved_bytes"] == row["replica_list"][0]["reserved_bytes"]
        shown = gauges(server)
        for of, kind, by_function in (
            (row, "replica", "glowplug_memory"),
            (template, "template", "glowplug_template_memory"),
            (spare, "spare", "glowplug_spare_memory"),
        ):
            reserved = shown[f'glowplug_process_memory_reserved_bytes{{kind="{kind}"}}']
            assert reserved == of["reserved_bytes"]
            assert reserved == shown[f'{by_function}_reserved_bytes{{function="{name}"}}']
            held = shown[f'glowplug_process_memory_bytes{{kind="{kind}"}}']
            assert held == shown[f'{by_function}_bytes{{function="{name}"}}']
            assert 0 < held < reserved


def test_replica_that_outgrows_its_estimate_pushes_out_what_is_idle(server: Server) -> None:
    idle = server.deploy(fake("idle", template="off", resources={"memory": "40MB"}))
    assert server.chat(idle, max_tokens=1).status_code == 200
    name = greedy(server, load_time="1s")  # worth more than the idle one
    assert server.chat(name, max_tokens=1).status_code == 200
    row = grown(server, name)
    assert row["memory_bytes"] > HOLDS_MB * MB and row["state"] == "ready"
    wait_until(lambda: server.function(idle)["state"] == "cold", 5, "the idle one has gone")
    (said,) = reasons(server, name, "grown")
    assert re.search(r"holds [89]\d\.\d MB: \d+\.\d MB reserved instead of", said), said
    assert any("of what is idle goes" in reason for reason in reasons(server, name, "over-committed"))
    assert any("needed by greedy" in reason for reason in reasons(server, idle, "stop"))
    assert server.chat(idle, max_tokens=1).status_code == 200  # which needs the other's room
    assert server.function(name)["state"] != "ready"


def test_next_start_and_the_next_server_reserve_what_was_learned(server: Server) -> None:
    name = greedy(server)
    assert server.chat(name, max_tokens=1).status_code == 200
    learned = grown(server, name)["reserved_bytes"]
    to_zero(server, name)
    server.post(f"/v1/functions/{name}/warm", {"count": 1, "for": "1m"})
    server.wait_state(name, "ready")
    assert replica(server, name)["reserved_bytes"] >= learned
    server.close()
    with Server("--memory", "120MB", "--spares", "0", folder=server.folder) as again:
        again.post(f"/v1/functions/{name}/warm", {"count": 1, "for": "1m"})
        again.wait_state(name, "ready")
        assert replica(again, name)["reserved_bytes"] >= learned
        assert reasons(again, name, "grown") == []


def test_forked_replica_that_outgrows_its_estimate_leaves_its_template_as_it_was(
    server: Server,
) -> None:
    name = greedy(server, template="on")
    assert server.chat(name, max_tokens=1).status_code == 200
    before = server.function(name)["template"]["reserved_bytes"]
    grown(server, name)
    assert server.function(name)["template"]["reserved_bytes"] <= before + 8 * 2**20


def test_pressure_takes_as_many_idle_templates_as_it_needs(tmp_path) -> None:
    """Ten templates stand resident when a call needs the room of most of them; every call is answered."""
    with Server("--memory", "1GB", "--template-memory", "1GB", "--spares", "0", folder=tmp_path) as server:
        names = [
            server.deploy(fake(f"t{i}", template="on", keep_alive="0s", context=1024 + i))
            for i in range(10)
        ]

        def all_resident() -> None:
            for name in names:
                assert server.chat(name, max_tokens=1).status_code == 200
                wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
            assert len(server.template_pids()) == 10

        def reserved() -> list[int]:
            return [server.function(name)["template"]["reserved_bytes"] for name in names]

        all_resident()
        # Each is reserved less once it was measured, one after the other.
        wait_until(lambda: max(reserved()) - min(reserved()) <= 4 * 2**20, 20, "all are measured")
        each = min(reserved())
        with nothing_left(server):
            large = server.deploy(
                fake("large", template="off", keep_alive="1m", resources={"memory": 10**9 - 3 * each})
            )
            assert server.chat(large, max_tokens=1).status_code == 200
            assert 1 <= len(server.template_pids()) <= 3
            dropped = [
                name
                for name in names
                if any("needed by large" in why for why in reasons(server, name, "drop"))
            ]
            assert 7 <= len(dropped) <= 9
            server.post(f"/v1/functions/{large}/stop")
            for name in names:
                assert server.chat(name, max_tokens=1).status_code == 200
                assert server.chat(name, max_tokens=1).status_code == 200
            all_resident()


@pytest.mark.parametrize("template", ["off", "on"])
def test_two_starts_that_race_for_the_last_bytes_come_one_after_the_other(
    tmp_path, template: str
) -> None:
    """There is room for either, not for both: nobody is refused, and nothing is promised twice."""
    budget = 80 * MB
    with Server("--memory", "80MB", "--spares", "0", folder=tmp_path) as server:
        names = ["red", "blue"]
        for name in names:
            context = 1024 + len(name)  # no two share a template
            more = {} if template == "on" else {"resources": {"memory": "60MB"}}
            server.deploy(fake(name, template=template, context=context, load_time="100ms", **more))

        def reserved() -> float:
            shown = gauges(server)
            return sum(
                shown[f'glowplug_process_memory_reserved_bytes{{kind="{kind}"}}']
                for kind in ("replica", "template", "spare")
            )

        with Highest(reserved) as most:
            for _ in range(5):
                replies = at_once(2, lambda i: server.chat(names[i], max_tokens=20))
                assert [reply.status_code for reply in replies] == [200, 200]
        assert budget / 2 < most.seen <= budget, most.seen
        for name in names:  # each was pushed out by the other, none failed
            assert any("needed by" in why for why in reasons(server, name, "stop")), name
            assert not reasons(server, name, "failed")
