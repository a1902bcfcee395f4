"""`glowplug serve --config FILE`: what comes before what, and what a faulty file is told."""

from __future__ import annotations

import os
import re
import select
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import httpx
import yaml
from support.server import GLOWPLUG, ROOT, Server, cli, fake

USAGE = 2
EXAMPLE = ROOT / "api" / "glowplug.example.yaml"


def write(folder: Path, **settings) -> Path:
    path = folder / "glowplug.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@contextmanager
def serving(*args: str, env: dict[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """`glowplug serve` with these arguments alone; gives the two addresses that it says it listens on."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GLOWPLUG_")}
    process = subprocess.Popen(
        [str(GLOWPLUG), "serve", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment | (env or {}),
        start_new_session=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        ready, _, _ = select.select([process.stdout], [], [], 20)
        line = process.stdout.readline().decode() if ready else ""
        found = re.match(r"listening on (http://\S+) \(admin (http://[^)\s]+)\)", line)
        if not found:
            process.kill()
            raise AssertionError(f"{line!r} {process.stderr.read().decode()}")
        yield found[1], found[2]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_server_does_what_the_file_says(tmp_path) -> None:
    port, admin = free_port(), free_port()
    path = write(
        tmp_path,
        listen=f"127.0.0.1:{port}",
        admin_listen=f"127.0.0.1:{admin}",
        data_dir="state/data",
        cache_dir="state/cache",
        memory="64MiB",
        log_level="warn",
    )
    with serving("--config", str(path)) as urls:
        assert urls == (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}")
        assert httpx.get(urls[0] + "/readyz").status_code == 200
        assert httpx.get(urls[1] + "/v1/admin/decisions").status_code == 200
        assert (tmp_path / "state/data").is_dir(), "a relative folder is beside the file"
        big = fake("big", resources={"memory": "1GiB"})
        refused = httpx.put(urls[0] + "/v1/functions/big", json=big)
        assert refused.json()["error"]["code"] == "does_not_fit", refused.text


def test_command_line_before_environment_before_file(tmp_path) -> None:
    path = write(
        tmp_path,
        listen="127.0.0.1:1",  # nobody may listen there: it must not be tried
        admin_listen="127.0.0.1:0",
        data_dir="from-file",
        cache_dir="from-file",
    )
    folders = {"GLOWPLUG_DATA_DIR": str(tmp_path / "from-environment")}
    with serving("--config", str(path), "--listen", "127.0.0.1:0", env=folders):
        assert (tmp_path / "from-environment").is_dir()
        assert not (tmp_path / "from-file" / "glowplug.db").exists()
    chosen = str(tmp_path / "from-option")
    with serving("--config", str(path), "--listen", "127.0.0.1:0", "--data-dir", chosen, env=folders):
        assert (tmp_path / "from-option").is_dir()


def assert_all_are_told(path: Path, faults: tuple[str, ...]) -> None:
    """And nothing else is, and nothing starts."""
    done = cli("serve", "--config", str(path))
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert str(path) in done.stderr
    for line in faults:
        assert f"\n  {line}" in done.stderr, done.stderr
    assert done.stderr.count("\n  ") == len(faults)


def test_five_faults_are_listed_at_once(tmp_path) -> None:
    path = write(
        tmp_path,
        lissten="127.0.0.1:0",
        admin_listen=4570,
        memory="much",
        allow_process_engines="maybe",
        hub_token_file=str(tmp_path / "no-such-token"),
    )
    assert_all_are_told(
        path,
        (
            'lissten: unknown key; did you mean "listen"?',
            "admin_listen: must be HOST:PORT such as 127.0.0.1:4569, not 4570",
            'memory: must be auto or a size such as 8GiB, not "much"',
            'allow_process_engines: must be true or false, not "maybe"',
            "hub_token_file: cannot open",
        ),
    )


def test_faulty_prices_are_all_told(tmp_path) -> None:
    prices = {
        "T4": {"per_hour": -1, "per_request": 0.0000001},
        "A100": {"per_hour": 1},
        "CPU": 5,
        "my gpu": {"per_hour": 1, "per_request": 1},
    }
    assert_all_are_told(
        write(tmp_path, prices=prices),
        (
            "prices.T4.per_hour: must be a number from 0 to 1000000 with six decimals at most, as 0.5, not -1",
            "prices.T4.per_request: must be a number",
            "prices.A100.per_request: is missing; write 0 where it costs nothing",
            "prices.CPU: must be as {per_hour: 0.5, per_request: 0.0001}, not 5",
            "prices.my gpu: is no device's name",
        ),
    )


def test_a_token_in_the_file_is_refused_and_not_repeated(tmp_path) -> None:
    for key in ("hub_token", "hub_token_file"):
        done = cli("serve", "--config", str(write(tmp_path, **{key: "hf_very_secret"})))
        assert done.returncode == USAGE
        assert "hub_token_file" in done.stderr and "very_secret" not in done.stderr


def test_a_missing_file_is_said(tmp_path) -> None:
    done = cli("serve", "--config", str(tmp_path / "none.yaml"))
    assert done.returncode == USAGE
    assert "none.yaml" in done.stderr and "No such file" in done.stderr


def test_a_public_address_in_the_file_is_refused_like_the_option(tmp_path) -> None:
    path = write(tmp_path, listen="0.0.0.0:0", admin_listen="127.0.0.1:0", data_dir="d")
    done = cli("serve", "--config", str(path), seconds=10)
    assert done.returncode != 0 and "0.0.0.0" in done.stderr


def test_the_example_serves_as_it_stands(tmp_path) -> None:
    with Server("--config", str(EXAMPLE), folder=tmp_path) as server:
        assert server.get("/readyz").status_code == 200


def test_help_names_every_setting_of_the_example() -> None:
    shown = cli("serve", "--help").stdout
    keys = re.findall(r"^#?([a-z_]+):", EXAMPLE.read_text(), re.M)
    assert len(keys) >= 11
    assert [key for key in keys if not re.search(rf"\b{key}\b", shown)] == []
