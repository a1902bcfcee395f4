"""Contract line 62: what code inside a replica may not do, tried by the very process that serves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
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
    assert f"escape {way}: Operation not permitted" in log or "Permission denied" in log, log
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


def test_unknown_way_is_a_fault_of_the_manifest(server: Server) -> None:
    reply = server.put(fake("odd", fault="escape:tunnel"))
    assert reply.status_code == 422 and "open_file" in reply.json()["error"]["message"]
