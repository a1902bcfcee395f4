"""Engines that sleep: a stand-in that speaks vLLM's and SGLang's routes is put to sleep when idle and woken by a call.

What the stand-in was asked is in its log; a fault of it must never cost a caller more than the time of a start.
"""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support import processes, server_timing, sse
from support.events import Events
from support.server import ROOT, Server, holds_for, wait_until

STAND_IN = ROOT / "tests/e2e/standins/sleeping_engine.py"
TIER = "x-glowplug-start-tier"
FLAGS = {
    "vllm": ["--enable-sleep-mode"],
    "sglang": ["--enable-memory-saver", "--enable-weights-cpu-backup"],
}
ENV = {"vllm": {"VLLM_SERVER_DEV_MODE": "1"}, "sglang": {}}


class Sleeper:
    """A function on the stand-in, and what the stand-in wrote of itself."""

    def __init__(self, server: Server, manifest: dict, log: Path) -> None:
        self.server, self.manifest, self.log = server, manifest, log
        self.name = server.deploy(manifest)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def asked(self, target: str) -> int:
        return sum(line == target for line in self.lines())

    def starts(self) -> int:
        return sum(line.startswith("start ") for line in self.lines())

    def pids(self) -> list[int]:
        pids = [int(line.split("=")[1]) for line in self.lines() if line.startswith("start ")]
        return [pid for pid in pids if processes.alive(pid)]

    def chat(self, **more: Any) -> httpx.Response:
        return self.server.chat(self.name, **more)

    def row(self) -> dict:
        return self.server.function(self.name)

    def asleep(self) -> bool:
        """The server has heard that it is."""
        told = [one["decision"] for one in self.server.decisions(self.name)]
        return self.row()["tier"] == "asleep" and told and told[-1] == "asleep"

    def wait_asleep(self) -> None:
        wait_until(self.asleep, 10, f"{self.name} is asleep; {self.lines()[-5:]}")

    def served_then_asleep(self) -> None:
        reply = self.chat()
        assert reply.status_code == 200, reply.text
        self.wait_asleep()

    def why(self, decision: str) -> str:
        return next(
            one["reason"]
            for one in reversed(self.server.decisions(self.name))
            if one["decision"] == decision
        )


@pytest.fixture
def sleeper(server: Server, tmp_path: Path) -> Iterator[Callable[..., Sleeper]]:
    """sleeper(kind, *options, **sleep fields): deploys it and removes it after the test."""
    made: list[Sleeper] = []

    def make(kind: str, *options: str, manifest: dict | None = None, **sleep: Any) -> Sleeper:
        log = tmp_path / f"engine-{len(made)}.log"
        command = [sys.executable, str(STAND_IN), "--port", "{port}", "--kind", kind]
        process = {
            "command": [*command, "--log", str(log), *FLAGS[kind], *options],
            "env": ENV[kind],
            "sleep": {"kind": kind, "after": "300ms", "timeout": "10s"} | sleep,
        }
        name = f"sleeper-{tmp_path.name}-{len(made)}".lower().replace("_", "-")[-60:].strip("-")
        fields = {"name": name, "engine": {"process": process}, "keep_alive": "5m"}
        made.append(Sleeper(server, fields | (manifest or {}), log))
        return made[-1]

    yield make
    for one in made:
        server.remove(one.name)


KINDS = pytest.mark.parametrize(
    ("kind", "level"), [("vllm", 1), ("vllm", 2), ("sglang", None)], ids=str
)


@KINDS
def test_idle_engine_sleeps_and_a_call_wakes_it(sleeper, kind: str, level: int | None) -> None:
    one = sleeper(kind, after="1s", **({"level": level} if level else {}))
    first = one.chat()
    assert first.headers["x-glowplug-cold-start"] == "true" and first.headers[TIER] != "asleep"
    assert server_timing.bytes_read(first) is None, "a foreign engine does not say"
    one.wait_asleep()
    time_asleep = one.row()
    assert (time_asleep["state"], time_asleep["tier"]) == ("cold", "asleep")
    assert (time_asleep["replicas"], time_asleep["replica_list"][0]["asleep"]) == (1, True)
    assert time_asleep["memory_bytes"] > 0
    woken, warm = one.chat(), one.chat()
    assert (woken.status_code, warm.status_code) == (200, 200), woken.text
    assert (woken.headers["x-glowplug-cold-start"], woken.headers[TIER]) == ("true", "asleep")
    assert server_timing.phases(woken)["load"] >= 50  # the stand-in's delay
    assert one.starts() == 1 and one.row()["cold_starts"] == 2
    assert warm.headers["x-glowplug-cold-start"] == "false" and TIER not in warm.headers


def test_what_each_engine_is_asked(sleeper) -> None:
    asked = {
        ("vllm", 1): (["POST /sleep?level=1"], ["POST /wake_up"]),
        ("vllm", 2): (
            ["POST /sleep?level=2"],
            [
                "POST /wake_up?tags=weights",
                "POST /collective_rpc",
                "POST /wake_up?tags=kv_cache",
                "POST /reset_prefix_cache",
            ],
        ),
        ("sglang", 0): (["POST /release_memory_occupation"], ["POST /resume_memory_occupation"]),
    }
    for (kind, level), (falls, wakes) in asked.items():
        one = sleeper(kind, **({"level": level} if level else {}))
        one.served_then_asleep()
        assert one.chat().status_code == 200
        posts = [line for line in one.lines() if line.startswith("POST") and "/v1/" not in line]
        assert posts == falls + wakes


def test_many_calls_at_once_wake_it_once(sleeper) -> None:
    one = sleeper("vllm", manifest={"slots": 4})
    one.served_then_asleep()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: one.chat(), range(12)))
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.headers.get(TIER) for reply in replies} <= {"asleep", None}
    assert any(reply.headers.get(TIER) == "asleep" for reply in replies)
    assert (one.asked("POST /wake_up"), one.starts()) == (1, 1)


def test_call_while_it_falls_asleep_waits_for_the_wake(sleeper) -> None:
    one = sleeper("vllm", "--delay", "0.6")
    one.chat()
    wait_until(lambda: one.asked("POST /sleep?level=1"), 5, "it is told to sleep")
    reply = one.chat()
    assert (reply.status_code, reply.headers[TIER]) == (200, "asleep")
    lines = one.lines()
    fell = next(at for at, line in enumerate(lines) if line.startswith("asleep"))
    assert fell < lines.index("POST /wake_up")
    assert one.starts() == 1


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_stream_is_never_slept_under(sleeper, kind: str) -> None:
    one = sleeper(kind, "--token-seconds", "0.1", after="100ms")
    with one.server.stream(one.name, max_tokens=12) as reply:
        chunks = sse.chunks(reply.read())
    assert sse.text_of(chunks).split() == [str(number) for number in range(12)]
    slept = [line for line in one.lines() if line.startswith(("POST /sleep", "POST /release"))]
    assert len(slept) <= 1 and one.starts() == 1
    one.wait_asleep()


def test_ps_and_metrics_show_a_sleeper(sleeper) -> None:
    one = sleeper("vllm")
    one.served_then_asleep()
    row = next(line for line in one.server.cli("ps").stdout.splitlines() if one.name in line)
    assert row.split()[2:5] == ["cold", "asleep", "1"]
    one.chat()
    shown = one.server.get("/metrics").text
    assert f'glowplug_cold_start_seconds_count{{function="{one.name}",tier="asleep"}} 1' in shown
    told = one.server.cli("why", one.name).stdout
    assert "idle for" in told and "cold from asleep: queue" in told and "load" in told


def test_watcher_sees_it_sleep_and_wake(sleeper) -> None:
    one = sleeper("vllm")
    one.chat()
    with Events(one.server, one.name) as events:
        one.wait_asleep()
        one.chat()
        turns = [("cold", "asleep"), ("loading", "asleep"), ("ready", "replica")]

        def told() -> bool:
            seen = [(row["state"], row["tier"]) for row in events.of("state")]
            return ("loading", "asleep") in seen and seen.index(turns[0]) < seen.index(
                turns[1]
            ) and turns[2] in seen[seen.index(turns[1]) :]

        wait_until(told, 5, "told that it slept, woke and is there")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("sleep500", "does not fall asleep and is killed: POST /sleep?level=1 answered 500"),
        ("never", "does not fall asleep and is killed: not done within"),
    ],
)
def test_engine_that_does_not_sleep_is_replaced(sleeper, fault: str, cause: str) -> None:
    one = sleeper("vllm", "--fault", fault, timeout="500ms")
    assert one.chat().status_code == 200
    wait_until(lambda: not one.pids(), 10, "it is killed")
    assert cause in one.why("sleep-failed")
    reply = one.chat()
    assert reply.status_code == 200 and reply.headers[TIER] != "asleep"
    assert one.starts() == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("wake500", "does not wake and is killed: POST /wake_up answered 500"),
        ("hang", "does not wake and is killed: not done within"),
    ],
)
def test_engine_that_does_not_wake_is_replaced_for_its_caller(
    sleeper, fault: str, cause: str
) -> None:
    one = sleeper("vllm", "--fault", fault, timeout="3s")
    one.served_then_asleep()
    (before,) = one.pids()
    reply = one.chat()
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-glowplug-cold-start"] == "true" and reply.headers[TIER] != "asleep"
    assert cause in one.why("sleep-failed")
    assert one.starts() == 2 and not processes.alive(before)


def test_sglang_that_does_not_resume_is_replaced_for_its_caller(sleeper) -> None:
    one = sleeper("sglang", "--fault", "wake500")
    one.served_then_asleep()
    assert one.chat().status_code == 200
    assert "POST /resume_memory_occupation answered 400" in one.why("sleep-failed")


def test_engine_without_its_flags_says_so_in_the_decision(sleeper) -> None:
    one = sleeper("vllm", manifest={})
    process = one.manifest["engine"]["process"]
    process["command"] = [word for word in process["command"] if word != "--enable-sleep-mode"]
    one.server.deploy(one.manifest)
    assert one.chat().status_code == 200
    wait_until(lambda: one.server.decisions(one.name)[-1]["decision"] == "gone", 10, "it is killed")
    assert "POST /sleep?level=1 answered 404" in one.why("sleep-failed")


@pytest.mark.parametrize("fault", ["dies", "dies_waking"])
def test_engine_that_dies_is_started_anew_for_the_next_call(sleeper, fault: str) -> None:
    one = sleeper("vllm", "--fault", fault)
    assert one.chat().status_code == 200
    wait_until(
        lambda: not one.pids() if fault == "dies" else one.asleep(), 10, "dead, or asleep"
    )
    reply = one.chat()
    assert reply.status_code == 200 and reply.headers[TIER] != "asleep"
    assert one.starts() == 2


def test_keep_alive_ends_a_sleeper(sleeper) -> None:
    one = sleeper("vllm", manifest={"keep_alive": "5s"})
    one.served_then_asleep()
    wait_until(lambda: not one.pids(), 10, "it ended")
    assert "idle for" in one.why("stop")
    wait_until(lambda: one.row()["tier"] != "asleep", 5, "gone")
    assert one.row()["replicas"] == 0
    assert one.chat().headers[TIER] != "asleep"


def test_warm_wakes_it_and_keeps_it_awake(sleeper) -> None:
    one = sleeper("vllm")
    one.served_then_asleep()
    assert one.server.post(f"/v1/functions/{one.name}/warm", {"for": "4s"}).status_code == 202
    one.server.wait_state(one.name, "ready")
    holds_for(lambda: one.row()["state"] == "ready", 1, "it stays awake")
    one.wait_asleep()
    assert one.starts() == 1


def test_stop_and_delete_end_a_sleeper(sleeper) -> None:
    one = sleeper("vllm")
    one.served_then_asleep()
    assert one.server.post(f"/v1/functions/{one.name}/stop").status_code == 202
    wait_until(lambda: not one.pids(), 10, "stopped")
    assert one.chat().status_code == 200
    one.wait_asleep()
    assert one.server.http.delete(f"/v1/functions/{one.name}").status_code == 204
    wait_until(lambda: not one.pids(), 10, "deleted")


def test_redeploy_replaces_a_sleeper_and_a_new_time_keeps_it(sleeper) -> None:
    one = sleeper("vllm")
    one.served_then_asleep()
    one.manifest["engine"]["process"]["sleep"]["after"] = "400ms"
    one.server.deploy(one.manifest)
    assert one.row()["tier"] == "asleep" and len(one.pids()) == 1
    assert one.chat().headers[TIER] == "asleep"
    one.wait_asleep()
    one.server.deploy(one.manifest | {"context": 4096})
    wait_until(lambda: not one.pids(), 10, "the old one ended")
    assert one.starts() == 1  # nothing is started for nobody
    assert one.chat().status_code == 200 and one.starts() == 2


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_example_is_a_manifest_that_sleeps(server: Server, kind: str) -> None:
    manifest = yaml.safe_load((ROOT / f"examples/{kind}/function.yaml").read_text())
    process = manifest["engine"]["process"]
    assert set(FLAGS[kind]) <= set(process["command"])
    assert process.get("env", {}) == ENV[kind] and process["sleep"]["kind"] == kind
    served = process["command"].index("--served-model-name")
    assert process["command"][served + 1] == manifest["name"]
    reply = server.put(manifest, params={"dry_run": "true"})
    assert reply.status_code == 200, reply.text


def test_server_that_ends_takes_its_sleepers_along(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    command = [sys.executable, str(STAND_IN), "--port", "{port}", "--kind", "vllm"]
    process = {
        "command": [*command, "--log", str(log), "--enable-sleep-mode"],
        "env": ENV["vllm"],
        "sleep": {"kind": "vllm", "after": "200ms"},
    }
    folder = tmp_path / "server"
    folder.mkdir()
    with Server("--allow-process-engines", folder=folder) as server:
        one = Sleeper(server, {"name": "s", "engine": {"process": process}}, log)
        one.served_then_asleep()
        (pid,) = one.pids()
        server.terminate()
        assert server.wait_exit(15) == 0
        assert not processes.alive(pid)
        server.start()
        assert one.row()["manifest"]["engine"]["process"]["sleep"] == {
            "kind": "vllm",
            "level": 1,
            "after": "200.0 ms",
            "timeout": "1m",
        }
        one.served_then_asleep()
        (pid,) = one.pids()
        server.kill()
        wait_until(lambda: not processes.alive(pid), 5, "the lifeline of a killed server")
