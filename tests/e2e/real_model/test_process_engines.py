"""Foreign replicas with a real model behind them: a stock llama-server, and the Python handler that asks another
function for its text. Each is deployed, called, scaled to zero, called again, killed, called again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from support import processes, sse
from support.server import ROOT, Server, wait_until

# Built beside the engine; the build tells where (tests/CMakeLists.txt).
LLAMA_SERVER = os.environ.get("GLOWPLUG_LLAMA_SERVER", "")


def manifest_of(example: str) -> dict:
    return yaml.safe_load((ROOT / "examples" / example / "function.yaml").read_text())


@pytest.fixture(scope="module")
def stock(server: Server, model: str) -> str:
    assert Path(LLAMA_SERVER).is_file(), "GLOWPLUG_LLAMA_SERVER names no program"
    manifest = manifest_of("llama_server")
    manifest["engine"]["process"]["command"][0] = LLAMA_SERVER
    return server.deploy(manifest | {"model": model, "keep_alive": "1s"})


@pytest.fixture(scope="module")
def handler(server: Server, smol: str) -> str:
    manifest = manifest_of("python_handler")
    process = manifest["engine"]["process"]
    process["command"][1] = str(ROOT / process["command"][1])
    process["env"]["MODEL"] = smol
    return server.deploy(manifest | {"keep_alive": "1s"})


def ask_stock(server: Server, name: str) -> httpx.Response:
    return server.chat(name, "What is the capital of France?", max_tokens=8)


def ask_handler(server: Server, name: str) -> httpx.Response:
    return server.post(
        f"/v1/functions/{name}/invoke", {"body": {"prompt": "The sky is", "max_tokens": 4}}
    )


def lives_through_zero_and_death(
    server: Server, name: str, program: str, ask: Callable[[Server, str], httpx.Response]
) -> None:
    def pids() -> list[int]:
        return [pid for pid in processes.mentioning(program) if pid in server.replica_pids()]

    first = ask(server, name)
    assert first.status_code == 200, first.text
    assert first.headers["x-glowplug-cold-start"] == "true"
    assert pids()
    server.wait_state(name, "cold", 15)
    wait_until(lambda: not pids(), 3, "the process ended with its function")
    assert ask(server, name).headers["x-glowplug-cold-start"] == "true"
    for pid in pids():
        os.kill(pid, signal.SIGKILL)
    again = ask(server, name)
    assert again.status_code == 200, again.text


def test_stock_llama_server(server: Server, stock: str) -> None:
    lives_through_zero_and_death(server, stock, "llama-server", ask_stock)
    assert ask_stock(server, stock).json()["choices"][0]["message"]["content"].strip()


def test_stock_llama_server_streams(server: Server, stock: str) -> None:
    with server.stream(stock, "Count to five.", max_tokens=12) as reply:
        chunks = sse.chunks(reply.read())
    assert sse.text_of(chunks) and {chunk["model"] for chunk in chunks} == {stock}


def test_python_handler_asks_the_real_model(server: Server, handler: str) -> None:
    lives_through_zero_and_death(server, handler, "handler.py", ask_handler)
    envelope = ask_handler(server, handler).json()
    assert envelope["statusCode"] == 200 and envelope["body"]["text"]
    assert envelope["body"]["usage"]["completion_tokens"] == 4


def test_command_that_does_not_exist(server: Server) -> None:
    manifest = manifest_of("llama_server")
    del manifest["model"]
    manifest["engine"]["process"]["command"] = ["no-such-program-here"]
    name = server.deploy(manifest | {"name": "missing"})
    reply = server.chat(name, max_tokens=1)
    assert reply.status_code >= 500
    assert "no-such-program-here" in reply.json()["error"]["message"]
