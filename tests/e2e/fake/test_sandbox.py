"""Contract lines 62 and 63: what code inside a replica may not do or take, tried by the very process that serves."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from support.leaks import nothing_left
from support.server import Server, fake, wait_until

LAYERS = {"netns", "seccomp", "nocaps"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(folder=tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def attempt(server: Server, way: str, template: str) -> tuple[int, str]:
    """The status of a call whose replica tries to escape, and the function's log."""
    name = f"{way.replace('_', '-')}-{template}"
    server.deploy(fake(name, fault=f"escape:{way}", template=template))
    status = server.chat(name, max_tokens=2).status_code
    url = f"/v1/functions/{name}/logs"
    wait_until(lambda: status >= 500 or "escape" in server.get(url).text, 3, "the log says")
    return status, server.get(url).text


@pytest.mark.parametrize("template", ["on", "off"])
@pytest.mark.parametrize("way", ["open_file", "write_file", "connect", "new_socket", "kill", "fork"])
def test_line_62_denied(server: Server, way: str, template: str) -> None:
    status, log = attempt(server, way, template)
    assert status == 200
    assert re.search(rf"escape {way}: (Operation not permitted|Permission denied)", log), log
    assert not Path("/tmp/glowplug-escape").exists()


@pytest.mark.parametrize("template", ["on", "off"])
@pytest.mark.parametrize("way", ["exec", "ptrace"])
def test_line_62_ends_the_process(server: Server, way: str, template: str) -> None:
    status, log = attempt(server, way, template)
    assert status >= 500 and "escape" not in log
    name = f"{way}-{template}"
    wait_until(
        lambda: any("signal 31" in line["reason"] for line in server.decisions(name)),
        3,
        "the replica was ended for a bad system call",
    )


def test_line_62_status_names_the_layers(server: Server) -> None:
    for template in ("on", "off"):
        name = server.deploy(fake(f"shown-{template}", template=template))
        assert server.chat(name, max_tokens=1).status_code == 200
        (replica,) = server.function(name)["replica_list"]
        layers = set(replica["sandbox"].split(","))
        assert LAYERS <= layers, replica
        if Path("/sys/kernel/security/lsm").exists() or os.uname().release >= "6":
            assert any(layer.startswith("landlock") for layer in layers), replica
        assert "sandbox:" not in server.get(f"/v1/functions/{name}/logs").text


def leaf_of(pid: int, controller: str) -> Path | None:
    """The folder of the process's leaf where this controller of version 1 is mounted."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        folder = Path(f"/sys/fs/cgroup/{controller}{path}")
        if controller in names.split(",") and "/glowplug-" in path and folder.exists():
            return folder
    return None


def need(server: Server, name: str, layer: str) -> None:
    """Skips where the machine gives replicas no such limit: the test's own machine would pay."""
    layers = server.function(name)["replica_list"][0]["sandbox"].split(",")
    if layer not in layers:
        refused = [line for line in server.log().splitlines() if "no cgroup limit" in line]
        pytest.skip(f"no {layer} limit in {layers}: {refused}")


@pytest.mark.parametrize("template", ["on", "off"])
def test_line_63_replica_that_allocates_without_bound_is_killed_alone(
    server: Server, template: str
) -> None:
    beside = server.deploy(fake(f"beside-{template}", tokens_per_second=50))
    small = {"template": template, "resources": {"memory": "64MiB"}}
    modest = server.deploy(fake(f"modest-{template}", **small))
    assert server.chat(modest, max_tokens=1).status_code == 200
    need(server, modest, "memory")
    greedy = server.deploy(fake(f"greedy-{template}", fault="escape:allocate", **small))
    with server.stream(beside, max_tokens=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        assert server.chat(greedy, max_tokens=2).status_code >= 500
        text = "\n".join(lines)
    assert reply.status_code == 200 and text.rstrip().endswith("data: [DONE]")
    assert server.get("/readyz").status_code == 200
    for name in (beside, modest):
        assert server.chat(name, max_tokens=1).status_code == 200
    wait_until(
        lambda: any(
            "killed by the kernel: over its memory limit of 67.1 MB" in line["reason"]
            for line in server.decisions(greedy)
        ),
        3,
        "the cause names the limit",
    )
    assert "escape allocate" not in server.get(f"/v1/functions/{greedy}/logs").text


def leaf_of_template(server: Server, name: str, controller: str) -> Path | None:
    """Of a template that has answered once and has no replica any more."""
    server.deploy(fake(name, template="on", keep_alive="0s"))
    assert server.chat(name, max_tokens=1).status_code == 200
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
    (template,) = server.template_pids()
    return leaf_of(template, controller)


def test_template_that_may_not_fork_is_passed_over(tmp_path: Path) -> None:
    with Server("--spares", "0", folder=tmp_path) as server:
        name = "few"
        leaf = leaf_of_template(server, name, "pids")
        if leaf is None:
            pytest.skip("a fork is counted in its template's leaf on version 1 only")
        with nothing_left(server):
            (leaf / "pids.max").write_text((leaf / "pids.current").read_text())
            assert server.chat(name, max_tokens=1).status_code == 200
            reasons = [line["reason"] for line in server.decisions(name)]
            assert any("cannot fork: Resource temporarily unavailable" in why for why in reasons)
            wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")


def test_template_without_memory_to_fork_is_passed_over(tmp_path: Path) -> None:
    with Server("--spares", "0", folder=tmp_path) as server:
        name = "tight"
        leaf = leaf_of_template(server, name, "memory")
        if leaf is None:
            pytest.skip("the limit is set where it lies on version 1 only")
        limit = leaf / "memory.limit_in_bytes"

        def refused() -> list[str]:
            """Of a call that is answered whatever it finds; the kernel keeps some pages at hand for a while."""
            for _ in range(300):
                held_bytes = int((leaf / "memory.usage_in_bytes").read_text())
                with contextlib.suppress(OSError):  # busy: it is as low as it gets
                    limit.write_text(str(held_bytes - os.sysconf("SC_PAGESIZE")))
            assert server.chat(name, max_tokens=1).status_code == 200
            wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
            reasons = [line["reason"] for line in server.decisions(name)]
            return [why for why in reasons if "cannot fork" in why or "killed by the kernel" in why]

        with nothing_left(server):
            wait_until(refused, 10, "a fork is refused")
            assert server.chat(name, max_tokens=1).status_code == 200
            wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")
        assert not server.replica_pids()


def test_leaves_go_with_their_processes_and_with_a_killed_server(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        name = server.deploy(fake("brief", template="off"))
        assert server.chat(name, max_tokens=1).status_code == 200
        need(server, name, "pids")
        first, (pid,) = leaf_of(server.pid, "pids"), server.replica_pids()
        leaf = leaf_of(pid, "pids")
        if leaf is None:
            pytest.skip("the folder is looked for on version 1 only")
        assert first is None or first != leaf
        server.post(f"/v1/functions/{name}/stop")
        wait_until(lambda: not leaf.exists(), 5, "the leaf is gone")
        assert server.chat(name, max_tokens=1).status_code == 200
        server.kill()
        assert leaf.parent.exists()
        server.start()
        wait_until(lambda: not leaf.parent.exists(), 5, "the killed server's leaves are gone")


def test_unknown_way_is_a_fault_of_the_manifest(server: Server) -> None:
    reply = server.put(fake("odd", fault="escape:tunnel"))
    assert reply.status_code == 422 and "open_file" in reply.json()["error"]["message"]
