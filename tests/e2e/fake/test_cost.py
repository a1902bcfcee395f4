"""`POST /v1/admin/cost/estimate` and `glowplug cost estimate`: exact amounts, the setting `prices`, and bad input."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import httpx
import pytest
import yaml
from support.server import Server, cli

PATH = "/v1/admin/cost/estimate"
DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 4
AMOUNTS = ("daily_request_cost", "daily_compute_cost", "total_daily_cost")
MICRO = Decimal("0.000001")
DEFAULTS = {
    "T4": ("0.5", "0.0001"),
    "A10G": ("1.0", "0.0002"),
    "A100": ("3.0", "0.0005"),
    "CPU": ("0.05", "0.00001"),
}


def exactly(reply: httpx.Response) -> dict:
    assert reply.status_code == 200, reply.text
    return json.loads(reply.text, parse_float=Decimal)


def estimate(server: Server, gpu: str, requests: int, seconds: float, **more) -> dict:
    body = {"gpu": gpu, "requests_per_day": requests, "seconds": seconds}
    return exactly(server.post(PATH, body | more))


def expected(gpu: str, requests: int, seconds: str, count: int = 1) -> list[Decimal]:
    """By another arithmetic than the server's: fractions, rounded once."""
    per_hour, per_request = DEFAULTS[gpu]
    compute = Fraction(requests) * Fraction(seconds) * count / 3600 * Fraction(per_hour)
    # Twice as many digits as are kept, downwards: the rest decides no half.
    digits = Decimal(compute.numerator * 10**12 // compute.denominator).scaleb(-12)
    fees = (requests * Decimal(per_request)).quantize(MICRO)
    rounded = digits.quantize(MICRO, ROUND_HALF_UP)
    return [fees, rounded, fees + rounded]


@pytest.mark.parametrize("gpu", DEFAULTS)
@pytest.mark.parametrize(
    ("requests", "seconds", "count"),
    [
        (20_000, "1.2", 1),
        (0, "1.2", 1),
        (1, "0", 1),
        (1, "0.0036", 1),  # on a T4 half of a micro-unit
        (1, "0.003599999", 1),
        (333_333, "0.333333333", 2),
        (1_000_000_000_000, "0.000000001", 1000),
        (7, "86400", 1),
    ],
)
def test_amounts_are_exact(
    server: Server, gpu: str, requests: int, seconds: str, count: int
) -> None:
    got = estimate(server, gpu, requests, float(seconds), count=count)
    assert [got[name] for name in AMOUNTS] == expected(gpu, requests, seconds, count)
    assert [Decimal(got["micros"][name]) * MICRO for name in AMOUNTS] == [
        got[name] for name in AMOUNTS
    ]
    assert (got["gpu"], got["count"], got["requests_per_day"]) == (gpu, count, requests)


def test_the_default_table_and_that_case_does_not_matter(server: Server) -> None:
    for gpu, (per_hour, per_request) in DEFAULTS.items():
        got = estimate(server, gpu.lower(), 1, 1)
        assert got["gpu"] == gpu
        assert (got["per_hour"], got["per_request"]) == (Decimal(per_hour), Decimal(per_request))


def test_huge_counts_are_exact_or_refused(server: Server) -> None:
    got = estimate(server, "A100", 10**12, 10)
    assert [got[name] for name in AMOUNTS] == expected("A100", 10**12, "10")
    body = {"gpu": "A100", "requests_per_day": 10**12, "seconds": 86400, "count": 1000}
    refused = server.post(PATH, body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "requests_per_day"
    assert "lower one of them" in refused.json()["error"]["message"]


def test_both_listeners_answer_and_nothing_wakes(server: Server, echo: str) -> None:
    server.cli("stop", echo)
    server.wait_state(echo, "cold")
    body = {"gpu": "T4", "requests_per_day": 1, "seconds": 1}
    admin = httpx.post(server.admin_url + PATH, json=body)
    assert admin.status_code == 200 and admin.text == server.post(PATH, body).text
    assert server.function(echo)["state"] == "cold"
    wrong = server.get(PATH)
    assert wrong.status_code == 405 and "POST" in wrong.headers["allow"]


@pytest.mark.parametrize(
    ("change", "param", "fix"),
    [
        ({"gpu": "H100"}, "gpu", "those with a price are T4, A10G, A100, CPU"),
        ({"gpu": ""}, "gpu", "those with a price are T4, A10G, A100, CPU"),
        ({"gpu": ["T4"]}, "gpu", "must be a string"),
        ({"gpu": None}, "gpu", 'name a device, as "A10G"'),
        ({"requests_per_day": None}, "requests_per_day", "as 20000"),
        ({"requests_per_day": -1}, "requests_per_day", "must lie between 0 and"),
        ({"requests_per_day": 0.5}, "requests_per_day", "must be a whole number"),
        ({"requests_per_day": 10**12 + 1}, "requests_per_day", "must lie between 0 and"),
        ({"requests_per_day": 10**30}, "requests_per_day", "must be"),
        ({"seconds": None}, "seconds", "as 1.2"),
        ({"seconds": -0.1}, "seconds", "must lie between 0 and 86400"),
        ({"seconds": "1.2"}, "seconds", "must be a number"),
        ({"count": 0}, "count", "must lie between 1 and 1000"),
        ({"region": "eu"}, "region", "known are gpu, requests_per_day, seconds and count"),
    ],
)
def test_bad_input_is_400_with_the_field_and_the_fix(
    server: Server, change: dict, param: str, fix: str
) -> None:
    reply = server.post(PATH, {"gpu": "T4", "requests_per_day": 1, "seconds": 1} | change)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and f"`{param}`" in error["message"] and fix in error["message"]


def test_line_70_command_says_how_the_amounts_come(server: Server) -> None:
    asked = ("cost", "estimate", "--gpu", "A10G", "--requests-per-day", "20000", "--seconds", "1.2")
    done = server.cli(*asked)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout.splitlines() == [
        "A10G          A DAY  FROM",
        "requests   4.000000  20000 × 0.000200",
        "compute    6.666667  20000 × 1.2 s at 1.000000 an hour",
        "total     10.666667",
    ]
    body = {"gpu": "A10G", "requests_per_day": 20000, "seconds": 1.2}
    in_json = server.cli(*asked, "--json")
    assert in_json.returncode == DONE
    assert in_json.stdout == server.post(PATH, body).text + "\n"
    in_ms = server.cli(*asked[:-1], "1200ms", "--count", "1", "--json")
    assert in_ms.stdout == in_json.stdout


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"--gpu": "H100"}, FAILED),
        ({"--count": "1001"}, FAILED),
        ({"--gpu": None}, USAGE),
        ({"--requests-per-day": None}, USAGE),
        ({"--requests-per-day": "-1"}, USAGE),
        ({"--requests-per-day": "many"}, USAGE),
        ({"--seconds": "-1"}, USAGE),
        ({"--seconds": "nan"}, USAGE),
        ({"--count": "0"}, USAGE),
    ],
)
def test_line_70_exit_codes(server: Server, change: dict, code: int) -> None:
    options = {"--gpu": "T4", "--requests-per-day": "1", "--seconds": "1"} | change
    words = [word for pair in options.items() if pair[1] is not None for word in pair]
    done = server.cli("cost", "estimate", *words, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["error"]["message"] in done.stderr


def test_line_70_cost_alone_is_usage_and_no_server_is_4() -> None:
    assert cli("cost").returncode == USAGE
    words = ("--gpu", "T4", "--requests-per-day", "1", "--seconds", "1")
    nowhere = {"GLOWPLUG_ADMIN_URL": "http://127.0.0.1:9"}
    assert cli("cost", "estimate", *words, env=nowhere).returncode == UNREACHABLE


def test_prices_of_the_settings_replace_and_extend_the_table(tmp_path) -> None:
    path = tmp_path / "glowplug.yaml"
    rows = {
        "t4": {"per_hour": 0.35, "per_request": 0},
        "H100": {"per_hour": 4, "per_request": 0.000001},
    }
    path.write_text(yaml.safe_dump({"prices": rows}))
    with Server("--config", str(path)) as server:
        got = estimate(server, "T4", 3600, 1)
        assert [got[name] for name in AMOUNTS] == [Decimal(0), Decimal("0.35"), Decimal("0.35")]
        got = estimate(server, "H100", 3600, 1)
        assert got["total_daily_cost"] == Decimal("4.0036")
        kept = estimate(server, "A10G", 20000, 1.2)
        assert [kept[name] for name in AMOUNTS] == expected("A10G", 20000, "1.2")
