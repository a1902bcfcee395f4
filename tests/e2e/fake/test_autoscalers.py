"""Each autoscaler takes a function from zero to three replicas and back while calls run, and none is cut or fails.

The server's autoscalers run on a faster clock, so that a window of 60 s is over in 3 s, or in 0.6 s.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from pathlib import Path
from typing import Iterator

import yaml
from support import sse
from support.load import Highest, Load
from support.server import Server, fake, holds_for, wait_until

FAST, VERY_FAST = 20, 100
MOST = 3


@contextlib.contextmanager
def serving(folder: Path, speed: int, *args: str) -> Iterator[Server]:
    path = folder / "glowplug.yaml"
    path.write_text(yaml.safe_dump({"autoscaler_speed": speed, "cores": 16, "spares": 0}))
    with Server("--config", str(path), *args, folder=folder) as running:
        yield running


def busy(name: str, policy: str, **more) -> dict:
    """A call of ten tokens takes 0.2 s; the template is left out, so that a start takes as long as it says."""
    return fake(
        name,
        tokens_per_second=50,
        keep_alive="1s",
        resources={"threads": 1},
        scale={"max": MOST, "policy": policy},
        **more,
    )


def replicas(server: Server, name: str, state: str = "ready") -> int:
    return sum(one["state"] == state for one in server.function(name)["replica_list"])


def alive(server: Server, name: str) -> int:
    return replicas(server, name) + replicas(server, name, "loading")


def reasons(server: Server, name: str, decision: str) -> list[str]:
    return [one["reason"] for one in server.decisions(name) if one["decision"] == decision]


class LongAnswer:
    """A stream that is read by a thread of its own, whatever happens to its replica meanwhile."""

    def __init__(self, server: Server, name: str, tokens: int) -> None:
        self.text, self.error = "", None
        self._thread = threading.Thread(target=self._read, args=(server, name, tokens), daemon=True)
        self._thread.start()

    def _read(self, server: Server, name: str, tokens: int) -> None:
        try:
            with server.stream(name, max_tokens=tokens) as reply:
                self.text = reply.read().decode()
        except Exception as error:  # noqa: BLE001
            self.error = error

    @property
    def under_way(self) -> bool:
        return self._thread.is_alive()

    def is_whole(self) -> bool:
        self._thread.join(timeout=30)
        return self.error is None and sse.events(self.text)[-1][1] == sse.DONE


def up_and_down(server: Server, name: str, crowd: int) -> None:
    """0 → 3 under a crowd, 3 → 1 while one caller stays and long answers run on, → 0 when nobody calls."""
    with Highest(lambda: alive(server, name)) as most:
        with Load(server, name, threads=crowd, max_tokens=10) as load:
            wait_until(lambda: replicas(server, name) == MOST, 20, "three are ready")
            row = server.function(name)
            assert row["scaling"]["wanted"] == MOST, row["scaling"]
            assert "LOAD WANTS" in server.cli("ps").stdout
            assert "wants now: " in server.cli("why", name).stdout
            long = [LongAnswer(server, name, 400) for _ in range(4)]
            before = load.answered()
            wait_until(lambda: load.answered() >= before + 2 * crowd, 20, "all three answer")
        with Load(server, name, threads=1, max_tokens=10) as light:
            wait_until(lambda: reasons(server, name, "retire"), 20, "one retires")
            wait_until(
                lambda: alive(server, name) == 1, 30, "one is left for the caller that stays"
            )
        server.wait_state(name, "cold", 10)
        assert all(one.is_whole() for one in long)
    assert most.seen <= MOST
    assert (load.failures, light.failures) == ([], [])
    assert load.answered() == len(load.answers) > 0
    assert replicas(server, name, "draining") == 0
    kinds = [one["decision"] for one in server.decisions(name)]
    assert not {"failed", "drain"} & set(kinds), server.decisions(name)
    # One that is idle beyond its keep_alive just when the caller pauses goes for that.
    stopped = reasons(server, name, "stop")
    assert len(stopped) >= MOST and any("retired" in one for one in stopped), stopped


def test_concurrency_goes_up_and_down_with_the_calls_in_flight(tmp_path) -> None:
    with serving(tmp_path, FAST) as server:
        name = server.deploy(busy("by-slots", "concurrency"))
        up_and_down(server, name, 12)
        said = reasons(server, name, "scale")
        assert re.match(r"(panic: )?concurrency \d+\.\d, 2\.8 for a replica: ", said[0]), said
        down = reasons(server, name, "retire")
        assert re.match(r"replica \d+: concurrency \d\.\d, 2\.8 for a replica: [12]$", down[-1])


def test_threshold_goes_up_while_first_tokens_are_late(tmp_path) -> None:
    with serving(tmp_path, FAST) as server:
        name = server.deploy(busy("by-steps", "threshold", slots=2))
        assert server.chat(name, max_tokens=1).status_code == 200  # so that no other waits for a start
        up_and_down(server, name, 12)
        said = reasons(server, name, "scale")
        late = re.match(r"first token after (\d+) ms, over 200 ms, mean of (\d+): 3", said[0])
        assert late and int(late[1]) > 200 and int(late[2]) >= 10, said
        down = reasons(server, name, "retire")
        assert re.match(r"replica \d+: [0-4] wait, under 5: [12]$", down[-1]), down


def test_threshold_goes_up_while_a_queue_is_long(tmp_path) -> None:
    """Of calls that do not stream the fake engine does not tell when they began: the queue alone counts."""
    with serving(tmp_path, FAST) as server:
        name = server.deploy(busy("by-queue", "threshold", slots=1))
        done: list[int] = []
        callers = [
            threading.Thread(
                target=lambda: done.append(server.chat(name, max_tokens=10).status_code)
            )
            for _ in range(60)
        ]
        for one in callers:
            one.start()
        wait_until(lambda: alive(server, name) == MOST, 10, "three are there")
        for one in callers:
            one.join()
        assert done == [200] * 60
        assert re.match(r"5\d wait, over 50: 3", reasons(server, name, "scale")[0])
        server.wait_state(name, "cold", 10)


def test_predictive_starts_ahead_of_a_call_that_comes_at_its_time(tmp_path) -> None:
    with serving(tmp_path, VERY_FAST) as server:
        manifest = busy("by-habit", "predictive", load_time="200ms") | {"keep_alive": "600ms"}
        name = server.deploy(manifest)
        pause = 1.95  # of its clock 3 min 15 s

        def called() -> bool:
            reply = server.chat(name, max_tokens=1)
            assert reply.status_code == 200, reply.text
            return reply.headers["x-glowplug-cold-start"] == "true"

        for _ in range(10):
            assert called(), "its habit is not known yet"
            until = time.monotonic() + pause
            server.wait_state(name, "cold", 1.5)
            wait_until(lambda: time.monotonic() >= until, 3, "the next call is due")
        assert called()
        ended = time.monotonic()
        server.wait_state(name, "cold", 1)
        server.wait_state(name, "ready", 3)
        ahead = time.monotonic() - ended
        assert 1.2 < ahead < pause, ahead
        expected = server.function(name)["scaling"]
        assert (expected["policy"], expected["wanted"]) == ("predictive", 1)
        assert "the next is expected after 162 s" in expected["reason"]
        wait_until(lambda: time.monotonic() >= ended + pause, 3, "the call is due")
        assert not called(), "it has found a replica"
        server.wait_state(name, "cold", 5)


def test_predictive_goes_up_and_down_as_concurrency_does(tmp_path) -> None:
    with serving(tmp_path, FAST) as server:
        up_and_down(server, server.deploy(busy("by-both", "predictive")), 12)


def test_growth_takes_free_memory_and_leaves_what_others_hold(tmp_path) -> None:
    with serving(tmp_path, FAST, "--memory", "130MB") as server:
        sizes = {"memory": "40MB", "threads": 1}
        other = server.deploy(fake("other", resources=sizes))
        assert server.chat(other, max_tokens=1).status_code == 200
        name = server.deploy(busy("hungry", "concurrency") | {"resources": sizes})
        with Load(server, name, threads=12, max_tokens=10) as load:
            wait_until(lambda: replicas(server, name) == 2, 10, "what fits is there")
            holds_for(
                lambda: server.function(other)["state"] == "ready" and alive(server, name) == 2,
                2,
                "the other's replica stays",
            )
        assert load.failures == []
        assert any("40.0 MB" in one and "free" in one for one in reasons(server, name, "scale"))
        assert reasons(server, other, "stop") == []


def test_calls_wait_where_cores_are_taken(tmp_path) -> None:
    path = tmp_path / "glowplug.yaml"
    path.write_text(yaml.safe_dump({"autoscaler_speed": FAST, "cores": 2, "spares": 0}))
    with Server("--config", str(path), folder=tmp_path) as server:
        name = server.deploy(busy("greedy", "concurrency") | {"resources": {"threads": 2}})
        with Load(server, name, threads=12, max_tokens=10) as load:
            wait_until(lambda: reasons(server, name, "scale"), 10, "more is wanted")
            holds_for(lambda: alive(server, name) == 1, 1, "one has all cores")
        assert load.failures == []
        said = reasons(server, name, "scale")
        assert len(said) == 1 and "each takes 2 of 2 cores, 2 are taken" in said[0], said
