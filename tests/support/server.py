"""One glowplug server under test: started on free ports with folders of its own, asked, stopped or killed.

All waits poll a condition up to a deadline and say what they saw last; nothing sleeps for a fixed time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable

import httpx

from . import processes
from .raw_client import RawClient

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GLOWPLUG_BIN") or ROOT / "build/release/bin")
GLOWPLUG = BIN / "glowplug"
START_SECONDS = 20.0
POLL_SECONDS = 0.01


def cache_dir() -> Path:
    """The cache folder as the product finds it (contract, command line)."""
    if chosen := os.environ.get("GLOWPLUG_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glowplug"


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Polls until `condition` gives something true and returns it; fails with its last value after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last seen: {value!r})")
        time.sleep(POLL_SECONDS)


def holds_for(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Asserts on every poll of `seconds` that the condition stays true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay true for {seconds} s: {what}"
        time.sleep(POLL_SECONDS)


def fake(
    name: str,
    *,
    load_time: str = "50ms",
    tokens_per_second: float = 500,
    fault: str = "",
    **more: Any,
) -> dict:
    """A manifest on the fake engine; further fields replace the defaults."""
    manifest = {
        "apiVersion": "glowplug.dev/v1",
        "kind": "Function",
        "name": name,
        "engine": {
            "fake": {"load_time": load_time, "tokens_per_second": tokens_per_second, "fault": fault}
        },
        "keep_alive": "5m",
        "context": 2048,
        "slots": 4,
    }
    return manifest | more


def llama(name: str, model: str | Path, **more: Any) -> dict:
    manifest = {
        "apiVersion": "glowplug.dev/v1",
        "kind": "Function",
        "name": name,
        "model": str(model),
        "keep_alive": "5m",
        "context": 2048,
        "slots": 4,
    }
    return manifest | more


class Server:
    """A running `glowplug serve`. Used as a context manager it leaves no process and no folder behind."""

    def __init__(
        self,
        *args: str,
        folder: Path | None = None,
        cache: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="glowplug-test-")
        self.folder = folder or Path(self._temporary.name)
        self.data_dir = self.folder / "data"
        self.cache_dir = cache or self.folder / "cache"
        self.args = args
        self.listen = "127.0.0.1:0"  # set to the address of an earlier start to come back there
        self.env = env or {}
        self.start_seconds = START_SECONDS  # within which it says where it listens
        self._run_base: tempfile.TemporaryDirectory | None = None
        self.process: subprocess.Popen | None = None
        self.url = self.admin_url = ""
        self._client: httpx.Client | None = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def command(self) -> list[str]:
        return [
            str(GLOWPLUG),
            "serve",
            "--listen",
            self.listen,
            "--admin-listen",
            "127.0.0.1:0",
            "--data-dir",
            str(self.data_dir),
            "--cache-dir",
            str(self.cache_dir),
            *self.args,
        ]

    def launch(self) -> None:
        """Starts the process and does not wait until it serves, as start() does."""
        assert GLOWPLUG.exists(), f"{GLOWPLUG} is not built; build it or set GLOWPLUG_BIN"
        if self._run_base is None:  # short, because the paths of sockets are
            self._run_base = tempfile.TemporaryDirectory(prefix="gp-", dir="/tmp")
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("GLOWPLUG_")
        } | {"XDG_RUNTIME_DIR": self._run_base.name}
        environment |= self.env
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def start(self) -> Server:
        self.launch()
        line = self._first_line()
        found = re.match(r"listening on (http://\S+) \(admin (http://[^)\s]+)\)", line)
        if not found:
            self.close()
            raise AssertionError(
                f"serve did not say where it listens; stdout: {line!r}; log: {self.log()[-2000:]}"
            )
        self.url, self.admin_url = found.groups()
        threading.Thread(
            target=self._drain_stdout, args=(self.process.stdout,), daemon=True
        ).start()
        self.drop_connections()
        return self

    def _first_line(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        deadline, data = time.monotonic() + self.start_seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in data and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    piece = os.read(self.process.stdout.fileno(), 4096)
                    if not piece:
                        break
                    data += piece
        return data.decode(errors="replace").partition("\n")[0]

    @staticmethod
    def _drain_stdout(stream: Any) -> None:
        with contextlib.suppress(ValueError, OSError):
            while os.read(stream.fileno(), 65536):
                pass

    # Ending ---------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait_exit(self, seconds: float = 40) -> int:
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """kill -9 of the server alone; its replicas are its own affair."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.process and self.process.stdout:
            with contextlib.suppress(OSError):
                self.process.stdout.close()
        if self._run_base:
            with contextlib.suppress(OSError):
                self._run_base.cleanup()
            self._run_base = None
        if self._temporary:
            with contextlib.suppress(OSError):
                self._temporary.cleanup()

    @property
    def run_dir(self) -> Path | None:
        """Where its replicas' folders are, once it has started one; it stays through kill() and start()."""
        assert self._run_base is not None
        return next(Path(self._run_base.name).glob("glowplug-*"), None)

    def drop_connections(self) -> None:
        """Closes the connections of `http`; the next question opens a new one."""
        if self._client:
            self._client.close()
        self._client = httpx.Client(
            base_url=self.url, timeout=60, limits=httpx.Limits(max_connections=None)
        )

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    # Asking ---------------------------------------------------------------------------------------------------

    @property
    def http(self) -> httpx.Client:
        assert self._client is not None
        return self._client

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body, **more)

    def put(self, manifest: dict, **more: Any) -> httpx.Response:
        return self.http.put(f"/v1/functions/{manifest['name']}", json=manifest, **more)

    def deploy(self, manifest: dict) -> str:
        reply = self.put(manifest)
        assert reply.status_code in (200, 201), (
            f"deploy of {manifest['name']}: {reply.status_code} {reply.text}"
        )
        return manifest["name"]

    def remove(self, name: str) -> None:
        self.http.delete(f"/v1/functions/{name}")

    def function(self, name: str) -> dict:
        reply = self.get(f"/v1/functions/{name}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def functions(self) -> list[dict]:
        reply = self.get("/v1/functions").json()
        return reply["data"] if isinstance(reply, dict) else reply

    def wait_state(self, name: str, state: str, seconds: float = 10) -> dict:
        last: dict = {}

        def reached() -> bool:
            nonlocal last
            last = self.function(name)
            return last["state"] == state

        try:
            wait_until(reached, seconds, f"{name} is {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}; function: {json.dumps(last)[:800]}") from None
        return last

    def decisions(self, name: str) -> list[dict]:
        reply = httpx.get(self.admin_url + "/v1/admin/decisions", timeout=10).json()
        rows = reply["data"] if isinstance(reply, dict) else reply
        return [row for row in rows if row.get("function") == name]

    def replica_pids(self) -> list[int]:
        """Of the replicas that serve a function; templates and spares stand apart."""
        others = {*self.template_pids(), *self.spare_pids()}
        return [pid for pid in processes.descendants(self.pid) if pid not in others]

    def spare_pids(self) -> list[int]:
        ids = {
            spare["id"]
            for function in self.functions()
            for spare in function.get("template", {}).get("spares", [])
        }
        return [pid for number in ids if (pid := self.pid_of(number))]

    def pids_of(self, name: str) -> list[int]:
        """Of a function's replicas that are there."""
        rows = self.function(name)["replica_list"]
        return [pid for row in rows if (pid := self.pid_of(row["id"]))]

    def pid_of(self, process: int) -> int | None:
        """Of a replica, spare or template by its number."""
        ours = processes.children(self.pid)
        with contextlib.suppress(OSError, ValueError, TypeError):
            pid = int((self.run_dir / str(process) / "pid").read_text().split()[0])
            return pid if pid in ours else None
        return None

    def template_pids(self) -> list[int]:
        return [
            pid
            for pid in processes.descendants(self.pid)
            if processes.name_of(pid) == "glowplug-templ"
        ]

    def chat(self, name: str, content: str = "Say something.", **more: Any) -> httpx.Response:
        body = {
            "model": name,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": 1,
        }
        return self.post("/v1/chat/completions", body | more)

    def stream(
        self, name: str, content: str = "Say something.", **more: Any
    ) -> contextlib.AbstractContextManager:
        body = {
            "model": name,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": 1,
            "stream": True,
        }
        return self.http.stream("POST", "/v1/chat/completions", json=body | more)

    def raw(self, *, admin: bool = False) -> RawClient:
        return RawClient(self.admin_url if admin else self.url)

    def cli(
        self,
        *args: str,
        seconds: float = 60,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess:
        return cli(
            *args,
            seconds=seconds,
            stdin=stdin,
            env={
                "GLOWPLUG_URL": self.url,
                "GLOWPLUG_ADMIN_URL": self.admin_url,
                "GLOWPLUG_CACHE_DIR": str(self.cache_dir),
                "GLOWPLUG_DATA_DIR": str(self.data_dir),
            }
            | (env or {}),
        )


def cli(
    *args: str,
    seconds: float = 60,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess:
    """Runs the command line without a terminal on any of its three streams and without a controlling one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GLOWPLUG_")} | (
        env or {}
    )
    source: dict[str, Any] = (
        {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    )
    return subprocess.run(
        [str(GLOWPLUG), *args],
        capture_output=True,
        text=True,
        timeout=seconds,
        start_new_session=True,
        env=environment,
        **source,
    )
