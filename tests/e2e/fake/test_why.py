"""What became of one call: `glowplug why REQUEST` and its routes, for each way in which a call can start and end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
from pathlib import Path

import httpx
from support.server import Server, fake, wait_until

MINE = "x-client-request-id"
SECRET = "swordfish"
PROMPT = f"Tell nobody that the password of the third door on the left is {SECRET} and nothing else."


def why(server: Server, name: str, request: str) -> dict:
    reply = server.get(f"/v1/functions/{name}/why/{request}")
    assert reply.status_code == 200, reply.text
    assert SECRET not in reply.text
    told = reply.json()
    assert told["function"] == name and told["object"] == "call"
    admin = httpx.get(f"{server.admin_url}/v1/admin/why/{request}", timeout=10).json()
    assert admin["request"] == told["request"]
    return told


def why_of(server: Server, name: str, reply: httpx.Response) -> dict:
    return why(server, name, reply.headers["x-request-id"])


def decided(told: dict) -> list[str]:
    """But for what an autoscaler says, which is asked by the clock."""
    return [one["decision"] for one in told["decisions"] if one["decision"] != "scale"]


def check_times(told: dict) -> None:
    """They are of one clock: nothing is decided after the grant, and no phase is longer than the whole."""
    assert 0 <= told["granted_ms"] <= told["first_byte_ms"] <= told["total_ms"] + 1
    assert all(0 <= one["after_ms"] <= told["granted_ms"] for one in told["decisions"])
    assert all(took >= 0 for took in told["phases_ms"].values())
    assert sum(told["phases_ms"].values()) <= told["total_ms"] + 1


def back_at_zero(server: Server, name: str) -> None:
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")


def ask(server: Server, name: str, mine: str, **more) -> httpx.Response:
    body = {"model": name, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
    return server.post("/v1/chat/completions", body | more, headers={MINE: mine})


@contextlib.contextmanager
def stream(server: Server, name: str, mine: str, max_tokens: int):
    """An open stream of which the first piece was read."""
    body = {"model": name, "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    with server.http.stream(
        "POST", "/v1/chat/completions", json=body | {"max_tokens": max_tokens}, headers={MINE: mine}
    ) as reply:
        pieces = reply.iter_raw()
        next(pieces)
        yield reply, pieces


# How a call started -----------------------------------------------------------------------------------------------


def test_start_by_exec_has_its_load_and_its_decisions(server: Server, deploy) -> None:
    name = deploy("by-exec", template="off", load_time="80ms")
    reply = ask(server, name, "exec-1", max_tokens=4)
    told = why_of(server, name, reply)
    assert (told["outcome"], told["status"], told["error"], told["tries"]) == (
        "answered",
        200,
        None,
        1,
    )
    assert told["start"] == {"cold": True, "tier": "disk", "bytes_read": 0}  # the fake reads none
    assert told["phases_ms"]["load"] >= 80 and told["phases_ms"]["fork"] == 0
    assert decided(told) == ["start", "ready", "grant"]
    check_times(told)
    usage = reply.json()["usage"]
    assert told["usage"] == {
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }
    assert told["revision"] == int(reply.headers["x-glowplug-revision"])
    assert told["replica"] == server.function(name)["replica_list"][0]["id"]
    assert why(server, name, "exec-1") == told

    warm = why_of(server, name, ask(server, name, "exec-2", max_tokens=4))
    assert warm["start"] == {"cold": False} and warm["decisions"] == []
    assert warm["usage"]["cached_tokens"] > 0, "the prompt is the same"
    check_times(warm)


def test_start_from_a_template_reads_nothing(tmp_path: Path) -> None:
    with Server("--spares", "0", folder=tmp_path) as server:
        name = server.deploy(fake("forked", template="on", keep_alive="0s", load_time="80ms"))
        first = why_of(server, name, server.chat(name, max_tokens=1))
        assert first["start"]["tier"] == "disk"
        assert first["phases_ms"]["load"] >= 80 and first["phases_ms"]["fork"] > 0
        assert decided(first) == ["load", "template", "start", "ready", "grant"]
        back_at_zero(server, name)
        second = why_of(server, name, server.chat(name, max_tokens=1))
        assert second["start"] == {"cold": True, "tier": "template", "bytes_read": 0}
        assert second["phases_ms"]["load"] == 0 < second["phases_ms"]["fork"]
        assert decided(second) == ["start", "ready", "grant"]
        check_times(first)
        check_times(second)


def test_start_from_a_spare_is_a_hand_over(server: Server, deploy) -> None:
    name = deploy("handed", template="on", keep_alive="0s")
    server.chat(name, max_tokens=1)
    wait_until(lambda: server.function(name)["tier"] == "spare", 5, "a spare is ready")
    back_at_zero(server, name)
    told = why_of(server, name, server.chat(name, max_tokens=1))
    assert told["start"] == {"cold": True, "tier": "spare", "bytes_read": 0}
    assert "grant" in decided(told)


# How a call ended -------------------------------------------------------------------------------------------------


def test_stream_is_running_and_then_answered(server: Server, deploy) -> None:
    name = deploy("streams", tokens_per_second=20)
    with stream(server, name, "flow", 8) as (reply, pieces):
        running = why(server, name, "flow")
        assert running["outcome"] == "running" and running["stream"] is True
        assert running["status"] is running["total_ms"] is running["usage"] is None
        assert running["first_byte_ms"] > 0
        for _ in pieces:
            pass
    told = why_of(server, name, reply)
    assert told["outcome"] == "answered" and told["usage"]["completion_tokens"] == 8
    assert told["phases_ms"]["decode"] > told["phases_ms"]["prefill"]
    check_times(told)


def test_anthropic_call_counts_its_whole_prompt(server: Server, deploy) -> None:
    name = deploy("claude-like")
    body = {"model": name, "max_tokens": 2, "messages": [{"role": "user", "content": PROMPT}]}
    for expected in (0, 1):
        reply = server.post("/v1/messages", body)
        told = why_of(server, name, reply)
        usage = reply.json()["usage"]
        assert told["usage"]["cached_tokens"] == usage["cache_read_input_tokens"]
        assert told["usage"]["prompt_tokens"] == (
            usage["input_tokens"] + usage["cache_read_input_tokens"]
        )
        assert told["usage"]["cached_tokens"] >= expected


def test_client_that_leaves_cancelled_its_call(server: Server, deploy) -> None:
    name = deploy("left", tokens_per_second=20)
    with stream(server, name, "gone", 1000):
        pass
    told = wait_until(
        lambda: (one := why(server, name, "gone"))["outcome"] != "running" and one, 5, "it ended"
    )
    assert (told["outcome"], told["status"]) == ("cancelled", 499)


def test_full_queue_refuses_with_its_code(server: Server, deploy) -> None:
    name = deploy(
        "queued", slots=1, scale={"max": 1}, tokens_per_second=20, limits={"queue": 1}
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool, stream(server, name, "first", 1000):
        second = pool.submit(ask, server, name, "second", max_tokens=1)
        wait_until(lambda: server.function(name)["waiting"] == 1, 5, "one waits")
        waiting = why(server, name, "second")
        assert waiting["outcome"] == "waiting"
        assert waiting["start"] is waiting["replica"] is waiting["granted_ms"] is None
        refused = ask(server, name, "third", max_tokens=1)
        assert refused.status_code == 503
        told = why_of(server, name, refused)
        assert (told["outcome"], told["status"], told["error"]) == ("refused", 503, "queue_full")
        assert told["tries"] == 0 and told["usage"] is None
        server.remove(name)
        assert second.result().status_code >= 400
    assert why(server, name, "second")["outcome"] == "refused", "also of a function that is gone"


def test_failed_start_refuses_and_tells_what_was_decided(server: Server, deploy) -> None:
    name = deploy("crashes", fault="crash_on_load", template="off")
    told = why_of(server, name, server.chat(name))
    assert (told["outcome"], told["error"], told["tries"]) == ("refused", "function_failed", 0)
    assert told["start"] is None and told["granted_ms"] is None
    assert decided(told)[:2] == ["start", "gone"] and "failed" in decided(told)


def test_broken_stream_shows_the_end_of_its_replica(server: Server, deploy) -> None:
    name = deploy("breaks", fault="crash_after_tokens:5", failover="off", template="off")
    with stream(server, name, "broken", 20) as (reply, pieces):
        with contextlib.suppress(httpx.RemoteProtocolError):
            for _ in pieces:
                pass
    told = why_of(server, name, reply)
    assert (told["outcome"], told["error"]) == ("broken", "replica_failed")
    wait_until(lambda: "gone" in decided(why(server, name, "broken")), 5, "its end is told")


def test_fault_in_the_request_is_a_refusal(server: Server, echo: str) -> None:
    told = why_of(server, echo, ask(server, echo, "hot", temperature=SECRET))
    assert (told["outcome"], told["status"], told["tries"]) == ("refused", 400, 0)


# Who finds it -----------------------------------------------------------------------------------------------------


def test_unknown_calls_are_not_found(server: Server, echo: str, deploy) -> None:
    ask(server, echo, "known", max_tokens=1)
    other = deploy("another")
    for path in (
        f"/v1/functions/{echo}/why/req_unknown",
        f"/v1/functions/{other}/why/known",
        "/v1/admin/why/req_unknown",
        f"/v1/admin/why/{'x' * 2000}",
        "/v1/admin/why/%00%1b%ff",
        f"/v1/functions/{echo}/why/..%2f..%2fetc",
    ):
        reply = server.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found"), path
        assert "latest 4096 calls" in reply.json()["error"]["message"], path
    for path in ("/v1/functions/absent/why/known", "/v1/functions/Bad_Name/why/known"):
        assert server.get(path).status_code == 404
    assert server.post("/v1/admin/why/known").status_code == 405


def test_salted_call_is_found_by_the_servers_id_alone(server: Server, echo: str) -> None:
    reply = ask(server, echo, "salted", max_tokens=1, cache_salt="mine")
    assert server.get("/v1/admin/why/salted").status_code == 404
    assert why_of(server, echo, reply)["client_request"] is None


def test_callers_id_that_is_no_id_is_not_kept(server: Server, echo: str) -> None:
    reply = ask(server, echo, "a b", max_tokens=1)
    assert why_of(server, echo, reply)["client_request"] is None
    assert why_of(server, echo, ask(server, echo, "x" * 513, max_tokens=1))["client_request"] is None


# The command ------------------------------------------------------------------------------------------------------


def test_command_tells_a_call_and_still_lists_decisions(server: Server, deploy) -> None:
    name = deploy("told", load_time="80ms", template="off")
    request = ask(server, name, "by-my-id", max_tokens=4).headers["x-request-id"]
    told = server.cli("why", request)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0].startswith(f"{request} of {name}: answered (200) after ")
    assert lines[1].startswith("cold from disk, 0 B read from the disk; replica ")
    assert any(line.startswith("load ") and line.endswith("#") for line in lines)
    assert any("cold from disk: queue" in line for line in lines)
    assert server.cli("why", "by-my-id").stdout == told.stdout
    assert json.loads(server.cli("why", request, "--json").stdout) == why(server, name, request)
    for asked in ((name,), ("--function", name)):
        listed = json.loads(server.cli("why", *asked, "--json").stdout)
        assert [one["decision"] for one in listed][-2:] == ["ready", "grant"], asked
    assert server.cli("why", request, "--function", name).returncode == 2
    unknown = server.cli("why", "req_none")
    assert unknown.returncode == 3 and "latest 4096 calls" in unknown.stderr


def test_asking_why_wakes_nothing_and_counts_as_no_call(server: Server, deploy) -> None:
    name = deploy("asleep", keep_alive="0s")
    request = ask(server, name, "counted", max_tokens=1).headers["x-request-id"]
    back_at_zero(server, name)
    counted = [line for line in server.get("/metrics").text.splitlines() if "_total{" in line]
    why(server, name, request)
    after = [line for line in server.get("/metrics").text.splitlines() if "_total{" in line]
    assert after == counted and server.function(name)["state"] == "cold"
