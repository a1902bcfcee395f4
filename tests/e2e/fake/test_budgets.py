"""Budgets, of one function and of all: growth stops at them, what is idle makes room, what is too dear is refused."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import yaml
from support.load import Highest, Load
from support.server import Server, cli, fake, wait_until

ONE_CPU, TWO_CPUS = 0.05, 0.1
USAGE = 2


@contextmanager
def serving(folder: Path, *args: str, **settings) -> Iterator[Server]:
    path = folder / "glowplug.yaml"
    path.write_text(yaml.safe_dump({"autoscaler_speed": 20, "cores": 16, "spares": 0} | settings))
    with Server("--config", str(path), *args, folder=folder) as running:
        yield running


def small(name: str, **more) -> dict:
    return fake(name, tokens_per_second=50, resources={"threads": 1}, template="off", **more)


def alive(server: Server, name: str) -> int:
    states = ("ready", "loading")
    return sum(one["state"] in states for one in server.function(name)["replica_list"])


def reasons(server: Server, name: str, decision: str) -> list[str]:
    return [one["reason"] for one in server.decisions(name) if one["decision"] == decision]


def test_growth_stops_at_the_functions_budget_and_a_smaller_one_holds_at_once(tmp_path) -> None:
    manifest = small("bounded", scale={"max": 10, "budget": {"per_hour": TWO_CPUS}})
    with serving(tmp_path) as server:
        server.deploy(manifest)
        assert server.function("bounded")["manifest"]["scale"]["budget"] == {"per_hour": TWO_CPUS}
        with Highest(lambda: alive(server, "bounded")) as most:
            with Load(server, "bounded", threads=16, max_tokens=10) as load:
                wait_until(lambda: alive(server, "bounded") == 2, 20, "two are there")
                wait_until(
                    lambda: any(
                        "budget: scale.budget.per_hour is 0.100000" in reason
                        for reason in reasons(server, "bounded", "scale")
                    ),
                    20,
                    "why it grows no further is told",
                )
                server.deploy(manifest | {"scale": {"max": 10, "budget": {"per_hour": ONE_CPU}}})
                wait_until(lambda: alive(server, "bounded") == 1, 20, "one is left")
        assert most.seen == 2
        assert not load.failures, load.failures
        assert "budget: scale.budget.per_hour is 0.050000" in server.cli("why", "bounded").stdout


def test_an_idle_function_makes_room_under_the_budget_of_all(tmp_path) -> None:
    with serving(tmp_path, "--budget-per-hour", str(ONE_CPU)) as server:
        for name in ("first", "second"):
            server.deploy(small(name))
            assert server.chat(name, max_tokens=2).status_code == 200
        wait_until(lambda: alive(server, "first") == 0, 10, "the first is gone")
        assert alive(server, "second") == 1
        assert any("budget_per_hour needed by second" in one for one in reasons(server, "first", "stop"))


def test_what_no_budget_allows_is_refused_as_it_is_deployed(tmp_path) -> None:
    with serving(tmp_path, budget_per_hour=1, devices=[{"type": "A100", "count": 1}]) as server:
        for manifest, words in (
            (
                small("dear") | {"resources": {"memory": "1GiB", "device": "A100"}},
                ("costs 3.000000 an hour on A100", "the server's budget_per_hour is 1.000000"),
            ),
            (
                small("cheap", scale={"budget": {"per_hour": 0.04}}) | {"resources": {"device": "cpu"}},
                ("costs 0.050000 an hour on CPU", "scale.budget.per_hour is 0.040000"),
            ),
        ):
            reply = server.put(manifest)
            assert reply.status_code == 503, reply.text
            error = reply.json()["error"]
            assert error["code"] == "does_not_fit"
            for part in words:
                assert part in error["message"], error["message"]
        reply = server.put(
            small("large", scale={"budget": {"memory": "1GiB"}}) | {"resources": {"memory": "2GiB"}}
        )
        assert reply.status_code == 422 and "scale.budget.memory" in reply.text, reply.text


def test_a_call_whose_replica_turns_out_too_large_is_refused_at_once(tmp_path) -> None:
    """What a process of the fake engine is reserved is known once its model is prepared, not when it is deployed."""
    with serving(tmp_path) as server:
        server.deploy(small("large", scale={"budget": {"memory": "1MiB"}}))
        reply = server.chat("large", max_tokens=2)
        assert reply.status_code == 503, reply.text
        error = reply.json()["error"]
        assert error["code"] == "does_not_fit"
        assert "scale.budget.memory is 1.0 MB" in error["message"], error


def test_a_faulty_budget_is_a_fault_of_the_command_line() -> None:
    for bad in ("0", "-1", "lots", "0.0000001", "1e3", "10000001"):
        told = cli("serve", "--budget-per-hour", bad)
        assert told.returncode == USAGE, told.stderr
        assert f"'{bad}' is no budget; write off, or a number above 0" in told.stderr
