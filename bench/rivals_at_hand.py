"""llama-server's router and llama-swap as running programs, each serving the same model files under the same names, and
how each is brought to zero. Shared by the measurements that name them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

from common import MemoryGroup, free_port, get_json, llama_server, pss, running_program, until
from support import processes
from support.server import cache_dir

# llama-swap has no versions that Go's module proxy could serve (tags like v250), so it is built from its repository.
LLAMA_SWAP_SOURCE = "https://github.com/mostlygeek/llama-swap"
LLAMA_SWAP_COMMIT = "0bdb3720199f530b622a1934c0db89f32c94819c"  # v250 and five commits, 2026-08-22
INSTALL_SECONDS = 600


class Rival:
    """A running peer. `names` are the models it serves; it can bring them all to zero and say what it holds."""

    def __init__(self, name: str, url: str, pid: int, at_zero_words: tuple[str, ...]) -> None:
        self.name, self.url, self.pid, self.at_zero_words = name, url, pid, at_zero_words

    def states(self) -> list[str]:
        """Of models that are not unloaded."""
        if self.name == "llama-swap":
            return [row["state"] for row in get_json(self.url, "/running")["running"]]
        return [row["status"]["value"] for row in get_json(self.url, "/models")["data"]]

    def go_to_zero(self) -> None:
        """llama-swap is told to; the router's models fall asleep by themselves."""
        if self.name == "llama-swap":
            get_text(self.url, "/unload")
        until(lambda: set(self.states()) <= set(self.at_zero_words), 60, f"{self.name} is at zero")

    def cold(self, ask: Callable[..., float]) -> float:
        return ask(self.url)

    def held(self) -> int:
        return pss([self.pid, *processes.descendants(self.pid)])


def get_text(url: str, path: str) -> None:
    """Asks and does not mind what the answer is."""
    with contextlib.suppress(json.JSONDecodeError):
        get_json(url, path)


@contextlib.contextmanager
def router(
    models: dict[str, Path],
    *,
    context: int,
    slots: int,
    threads: int,
    at_once: int,
    sleep_seconds: int | None,
    group: MemoryGroup | None = None,
) -> Iterator[Rival]:
    """llama-server without a model, as many loaded at once as said; asleep after `sleep_seconds` of idleness."""
    program, _ = llama_server()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="glowplug-router-") as folder:
        preset = Path(folder) / "models.ini"
        preset.write_text("version = 1\n" + "".join(f"[{name}]\nmodel = {file}\n" for name, file in models.items()))
        command = [str(program), "--models-preset", str(preset), "--models-max", str(at_once), "--no-webui"]
        command += ["-c", str(context * slots), "-np", str(slots), "-t", str(threads)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        command += ["--sleep-idle-seconds", str(sleep_seconds)] if sleep_seconds else []
        command = group.inside(command) if group else command
        # LLAMA_CACHE: it lists what lies there beside the models of the preset.
        with running_program(command, port, polite=True, env={"LLAMA_CACHE": folder}) as pid:
            url = f"http://127.0.0.1:{port}"
            yield Rival("llama-server's router", url, pid, ("unloaded", "sleeping"))


@contextlib.contextmanager
def swap(
    binary: Path,
    models: dict[str, Path],
    *,
    context: int,
    slots: int,
    threads: int,
    group: MemoryGroup | None = None,
) -> Iterator[Rival]:
    """llama-swap, which executes a llama-server for a model and ends it for the next."""
    program, _ = llama_server()
    port = free_port()
    started = f"{program} --port ${{PORT}} --host 127.0.0.1 -c {context * slots} -np {slots} -t {threads} --no-webui"
    config: dict[str, Any] = {
        "startPort": free_port(),
        "healthCheckTimeout": 60,
        "models": {name: {"cmd": f"{started} -m {file}"} for name, file in models.items()},
    }
    with tempfile.TemporaryDirectory(prefix="glowplug-llama-swap-") as folder:
        (Path(folder) / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        command = [str(binary), "--config", f"{folder}/config.yaml", "--listen", f"127.0.0.1:{port}"]
        command = group.inside(command) if group else command
        with running_program(command, port, polite=True) as pid:
            yield Rival("llama-swap", f"http://127.0.0.1:{port}", pid, ())


def llama_swap() -> Path | None:
    """Its program: named by GLOWPLUG_LLAMA_SWAP, else the one in the cache folder, else built into it now, from
    GLOWPLUG_LLAMA_SWAP_SOURCE (a clone) or its repository. None, with one line that says why, when it cannot be had."""
    if named := os.environ.get("GLOWPLUG_LLAMA_SWAP"):
        return Path(named)
    program = cache_dir() / "bench" / f"llama-swap-{LLAMA_SWAP_COMMIT[:9]}"
    if program.exists():
        return program
    try:
        if not shutil.which("go"):
            raise OSError("Go is not installed")
        build_llama_swap(program)
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        print(f"llama-swap is left out, it cannot be had: {words[-1] if words else error!r}", file=sys.stderr)
        return None
    return program


def build_llama_swap(program: Path) -> None:
    source = os.environ.get("GLOWPLUG_LLAMA_SWAP_SOURCE") or LLAMA_SWAP_SOURCE
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="glowplug-llama-swap-") as folder:
        for command in (
            ["git", "clone", "-q", "--no-checkout", source, folder],
            ["git", "-C", folder, "checkout", "-q", LLAMA_SWAP_COMMIT],
            ["go", "build", "-C", folder, "-o", str(program.with_suffix(".partial")), "."],  # without its web pages
        ):
            subprocess.run(
                command,
                check=True,
                text=True,
                capture_output=True,
                timeout=INSTALL_SECONDS,
                env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
            )
    program.with_suffix(".partial").rename(program)
