"""The life of a server in a few seconds, for its decision log, and the logs that tests/data/decision_logs keeps.

    GLOWPLUG_BIN=build/release/bin PYTHONPATH=tests python -m support.server_life     records those anew
"""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .server import GLOWPLUG, ROOT, Server, fake, wait_until

RECORDED = ROOT / "tests/data/decision_logs"
PROMPT = "the prompt that no log has"
SECRET = "sk-a-key-that-no-log-has"


def recorded(folder: Path, size: str = "64MiB", **settings: object) -> list[str]:
    """Arguments of a server that records what it decides."""
    config = folder / "recorded.yaml"
    lines = [f"decision_log: {size}", *(f"{key}: {value}" for key, value in settings.items())]
    config.write_text("\n".join(lines) + "\n")
    return ["--config", str(config)]


def logs_of(server: Server) -> list[Path]:
    """The oldest first."""
    return sorted((server.data_dir / "decisions").glob("*.log"))


def live(server: Server) -> None:
    """Calls, tenants, crashes, deploys, rollbacks, warm and preload, and down to zero."""
    server.deploy(fake("chat", template="on", slots=2, prime=[PROMPT], scale={"max": 3}))

    def ask(number: int) -> int:
        salt = {"cache_salt": f"{SECRET}-{number % 2}"} if number % 3 == 0 else {}
        return server.chat("chat", f"{PROMPT} {number}", max_tokens=4, **salt).status_code

    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(ask, range(24))) == {200}
    with server.stream("chat", max_tokens=40) as reply:
        server.deploy(fake("chat", template="on", slots=4, tokens_per_second=800))
        assert "data: [DONE]" in reply.read().decode()
    assert ask(1) == 200
    assert server.post("/v1/functions/chat/rollback").status_code == 200
    assert ask(2) == 200
    crash(server)
    brief = server.deploy(fake("brief", keep_alive="100ms", template="off"))
    assert server.chat(brief, max_tokens=1).status_code == 200
    server.wait_state(brief, "cold")
    body = {"tier": "template", "for": "1m"}
    assert server.post("/v1/functions/chat/preload", body).status_code < 300
    assert server.post(f"/v1/functions/{brief}/warm", {"count": 1, "for": "1m"}).status_code < 300
    server.wait_state(brief, "ready")
    server.post("/v1/functions/chat/stop")
    server.wait_state("chat", "cold")
    assert ask(3) == 200
    server.remove(brief)


def crash(server: Server) -> None:
    """In the midst of an answer, while loading, and by a signal from outside."""
    brittle = fake("brittle", fault="crash_after_tokens:1", failover="off", template="off")
    assert server.chat(server.deploy(brittle), max_tokens=4).status_code >= 500
    broken = fake("broken", fault="crash_on_load", load_time="10ms", template="off")
    assert server.chat(server.deploy(broken), max_tokens=1).status_code >= 500
    server.remove("broken")
    victim = server.deploy(fake("victim", template="off"))
    assert server.chat(victim, max_tokens=1).status_code == 200
    (replica,) = server.function(victim)["replica_list"]
    os.kill(server.pid_of(replica["id"]), signal.SIGKILL)
    wait_until(lambda: server.function(victim)["replica_list"] == [], 5, "its end was heard")
    assert server.chat(victim, max_tokens=1).status_code == 200


def replay(log: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(GLOWPLUG), "simulate", "replay", str(log), *options], capture_output=True, text=True
    )


def keep(log: Path, name: str) -> None:
    done = replay(log)
    assert done.returncode == 0, done.stderr
    with gzip.GzipFile(RECORDED / f"{name}.log.gz", "wb", mtime=0) as file:
        file.write(log.read_bytes())
    print(f"{name}: {done.stdout.strip()}")


def record() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices = "[{type: T4, count: 2}]"
        with Server(*recorded(folder, devices=devices), folder=folder) as server:
            live(server)
            server.terminate()
            server.wait_exit()
            keep(logs_of(server)[0], "live")
        calls = ["--generate", "bursts", "--functions", "6", "--rate", "0.2", "--length", "5m"]
        trouble = ["--faults", "12", "--devices", "T4:2", "--seed", "3"]
        simulated = folder / "simulated.log"
        done = [str(GLOWPLUG), "simulate", *calls, *trouble, "--log", str(simulated)]
        subprocess.run(done, check=True, stdout=subprocess.DEVNULL)
        keep(simulated, "simulated")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        record()
