"""Contract line 70: every command answers --json, has the documented exit codes, and needs no terminal."""

from __future__ import annotations

import json

import pytest
import yaml
from support.server import Server, cli, fake

DONE, FAILED, USAGE, NOT_FOUND, UNREACHABLE = 0, 1, 2, 3, 4
NOWHERE = {"GLOWPLUG_URL": "http://127.0.0.1:9", "GLOWPLUG_ADMIN_URL": "http://127.0.0.1:9"}


def parsed(done) -> object:
    assert done.returncode == DONE, (done.args, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "function.yaml"
    path.write_text(yaml.safe_dump(fake("from-file")))
    return path


def test_line_70_deploy_twice_is_no_change(server: Server, manifest) -> None:
    parsed(server.cli("deploy", str(manifest), "--json"))
    before = server.function("from-file")["revision"]
    parsed(server.cli("deploy", str(manifest), "--json"))
    assert server.function("from-file")["revision"] == before


def test_line_70_deploy_wait_warms(server: Server, manifest) -> None:
    parsed(server.cli("deploy", str(manifest), "--wait", "--name", "waited", "--json"))
    assert server.function("waited")["state"] == "ready"


@pytest.mark.parametrize(
    "command",
    [
        ("ps",),
        ("models",),
        ("logs", "echo"),
        ("warm", "echo"),
        ("tune", "echo"),
        ("why",),
        ("version",),
        ("doctor",),
        ("run", "echo", "hello"),
        ("stop", "echo"),
    ],
)
def test_line_70_json_of_each_command_parses(
    server: Server, echo: str, command: tuple[str, ...]
) -> None:
    parsed(server.cli(*command, "--json"))


def test_line_70_json_before_the_command_parses_too(server: Server, echo: str) -> None:
    done = server.cli("--json", "ps")
    assert done.returncode in (DONE, USAGE)
    if done.returncode == DONE:
        json.loads(done.stdout)


def test_line_70_ps_has_the_promised_fields(server: Server, echo: str) -> None:
    server.chat(echo, max_tokens=1)
    rows = parsed(server.cli("ps", "--json"))
    assert isinstance(rows, list)
    row = next(row for row in rows if row["function"] == echo)
    for field in (
        "function",
        "revision",
        "state",
        "tier",
        "replicas",
        "in_flight",
        "memory_bytes",
        "cold_starts",
    ):
        assert field in row, field
    assert isinstance(row["replicas"], int) and isinstance(row["memory_bytes"], int)
    assert row["state"] in ("cold", "loading", "ready", "draining", "failed")


def test_line_70_invoke_and_rm(server: Server, manifest, tmp_path) -> None:
    parsed(server.cli("deploy", str(manifest), "--name", "handled", "--json"))
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"body": {"prompt": "Once", "max_tokens": 3}}))
    assert (
        parsed(server.cli("invoke", "handled", "--event", str(event), "--json"))["statusCode"]
        == 200
    )
    piped = server.cli("invoke", "handled", "--event", "-", "--json", stdin=event.read_text())
    assert parsed(piped)["statusCode"] == 200
    parsed(server.cli("rm", "handled", "--json"))
    assert server.cli("rm", "handled", "--json").returncode == NOT_FOUND


def test_line_70_run_prints_the_answer_on_stdout(server: Server, echo: str) -> None:
    done = server.cli("run", echo, "hello")
    assert done.returncode == DONE and done.stdout.strip(), (done.stdout, done.stderr)
    assert "\x1b" not in done.stdout + done.stderr, "colour or cursor codes without a terminal"


@pytest.mark.parametrize(
    "command", [("ps",), ("models",), ("logs", "echo"), ("version",), ("doctor",)]
)
def test_line_70_plain_output_has_no_terminal_codes(
    server: Server, echo: str, command: tuple[str, ...]
) -> None:
    done = server.cli(*command)
    assert done.returncode == DONE, (done.stdout, done.stderr)
    assert "\x1b" not in done.stdout and "\r" not in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("logs", "absent"),
        ("stop", "absent"),
        ("warm", "absent"),
        ("tune", "absent"),
        ("rm", "absent"),
        ("run", "absent", "hi"),
        ("invoke", "absent"),
        ("why", "absent"),
        ("why", "req_absent"),
    ],
)
def test_line_70_not_found_is_3(server: Server, command: tuple[str, ...]) -> None:
    for more in ((), ("--json",)):
        done = server.cli(*command, *more)
        assert done.returncode == NOT_FOUND, (done.returncode, done.stdout, done.stderr)
    assert done.stderr or done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("ps",),
        ("models",),
        ("logs", "x"),
        ("stop", "x"),
        ("warm", "x"),
        ("tune", "x"),
        ("rm", "x"),
        ("run", "x", "hi"),
        ("invoke", "x"),
        ("why",),
        ("why", "req_x"),
        ("why", "x"),
        ("deploy", "smollm2"),
    ],
)
def test_line_70_unreachable_is_4(command: tuple[str, ...]) -> None:
    done = cli(*command, env=NOWHERE)
    assert done.returncode == UNREACHABLE, (done.returncode, done.stdout, done.stderr)
    assert "127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("fly",),
        ("logs",),
        ("ps", "--nonsense"),
        ("warm", "echo", "--count", "many"),
        ("serve", "--listen", "nowhere"),
    ],
)
def test_line_70_usage_is_2(command: tuple[str, ...]) -> None:
    done = cli(*command, env=NOWHERE)
    assert done.returncode == USAGE, (done.returncode, done.stdout, done.stderr)
    assert done.stderr


def test_line_70_bad_manifest_is_1_and_lists_its_faults(server: Server, tmp_path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        yaml.safe_dump(
            fake("bad", slots=0, context="big", keep_alive="soon", task="dream", prioriti="x")
        )
    )
    done = server.cli("deploy", str(path))
    assert done.returncode == FAILED, (done.returncode, done.stdout, done.stderr)
    for field in ("slots", "context", "keep_alive", "task", "prioriti"):
        assert field in done.stderr, done.stderr


def test_line_70_missing_manifest_file(server: Server, tmp_path) -> None:
    done = server.cli("deploy", str(tmp_path / "none.yaml"))
    assert done.returncode in (FAILED, USAGE, NOT_FOUND)
    assert "none.yaml" in done.stderr


def test_line_70_help_and_version() -> None:
    for command in (("--help",), ("serve", "--help"), ("deploy", "--help"), ("version",)):
        done = cli(*command, env=NOWHERE)
        assert done.returncode == DONE and done.stdout.strip(), (
            command,
            done.returncode,
            done.stderr,
        )


def test_line_69_public_address_without_keys_is_refused(tmp_path) -> None:
    done = cli(
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--data-dir",
        str(tmp_path / "d"),
        "--cache-dir",
        str(tmp_path / "c"),
        seconds=10,
    )
    assert done.returncode not in (DONE,), "it listened on a public address"
    assert "0.0.0.0" in done.stderr
