"""A cold start told apart: its tier and phases in headers, decisions and metrics, and the rules and graphs on them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support import gguf_corpus, server_timing
from support.origin import Origin
from support.server import ROOT, Server, fake, wait_until

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/glowplug.json"
TIER = "x-glowplug-start-tier"


def why(server: Server, name: str) -> list[str]:
    """The cold grants of a function, as `glowplug why` words them."""
    lines = server.cli("why", name).stdout.splitlines()
    return [line.split("cold from ", 1)[1] for line in lines if "cold from " in line]


def metrics(server: Server) -> dict[str, float]:
    lines = server.get("/metrics").text.splitlines()
    return {
        series: float(value)
        for series, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def starts(server: Server, name: str) -> dict[str, float]:
    shown = metrics(server)
    found = {
        tier: shown.get(f'glowplug_cold_start_seconds_count{{function="{name}",tier="{tier}"}}', 0)
        for tier in ("remote", "disk", "memory", "template", "spare")
    }
    return {tier: number for tier, number in found.items() if number}


def back_at_zero(server: Server, name: str) -> None:
    wait_until(lambda: server.function(name)["state"] == "cold", 5, "back at zero")


def test_model_that_is_fetched_starts_from_remote(server: Server, tmp_path: Path) -> None:
    origin = Origin(gguf_corpus.whole(tmp_path).read_bytes())
    try:
        server.deploy(fake("far", model=origin.url, load_time="20ms", keep_alive="0s"))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.chat, "far", max_tokens=1)
            wait_until(lambda: server.function("far")["waiting"] == 1, 5, "the call waits")
            wait_until(lambda: origin.asked, 5, "the model is asked for")
            origin.may_answer.set()
            reply = asked.result()
    finally:
        origin.close()
    assert (reply.status_code, reply.headers[TIER]) == (200, "remote")
    took = server_timing.phases(reply)
    assert took["fetch"] > 0 and took["verify"] > 0 and took["load"] > 0 and took["fork"] == 0
    assert re.fullmatch(
        r"remote: queue [\d.]+ ms, fetch [\d.]+ m?s, verify [\d.]+ ms, load [\d.]+ ms; replica \d+",
        why(server, "far")[0],
    )
    back_at_zero(server, "far")
    assert server.function("far")["tier"] == "memory"
    assert server.chat("far", max_tokens=1).headers[TIER] == "memory"  # it was just written
    assert starts(server, "far") == {"remote": 1, "memory": 1}
    server.remove("far")


def test_start_by_exec_is_from_disk_and_a_warm_call_from_nowhere(server: Server, deploy) -> None:
    name = deploy("near")
    with server.stream(name, max_tokens=1) as first:
        first.read()
    assert (first.headers["x-glowplug-cold-start"], first.headers[TIER]) == ("true", "disk")
    assert server_timing.bytes_read(first) == "0 B"  # the fake engine reads none
    warm = server.chat(name, max_tokens=1)
    assert warm.headers["x-glowplug-cold-start"] == "false" and TIER not in warm.headers
    assert server_timing.bytes_read(warm) is None
    (told,) = why(server, name)
    assert re.fullmatch(r"disk: queue [\d.]+ ms, load [\d.]+ ms; replica \d+", told)
    assert starts(server, name) == {"disk": 1}


def test_template_is_loaded_from_disk_and_then_forked(tmp_path: Path) -> None:
    with Server("--spares", "0", folder=tmp_path) as server:
        check_forked_start(server)


def check_forked_start(server: Server) -> None:
    name = server.deploy(fake("forks", template="on", keep_alive="0s", load_time="80ms"))
    first = server.chat(name, max_tokens=1)
    assert first.headers[TIER] == "disk" and server_timing.phases(first)["fork"] > 0
    back_at_zero(server, name)
    second = server.chat(name, max_tokens=1)
    assert second.headers[TIER] == "template"
    told = why(server, name)
    assert re.fullmatch(
        r"disk: queue [\d.]+ ms, load [\d.]+ ms, fork [\d.]+ ms; replica \d+", told[0]
    )
    assert re.fullmatch(r"template: queue [\d.]+ ms, fork [\d.]+ ms; replica \d+", told[1])
    assert starts(server, name) == {"disk": 1, "template": 1}
    shown = metrics(server)
    assert shown[f'glowplug_template_memory_bytes{{function="{name}"}}'] > 0
    assert shown['glowplug_templates{state="ready"}'] == 1
    count = shown['glowplug_start_phase_seconds_count{phase="fork",tier="template"}']
    assert count == shown['glowplug_start_phase_seconds_count{phase="load",tier="template"}'] == 1
    assert shown['glowplug_start_phase_seconds_sum{phase="load",tier="template"}'] == 0


def test_spare_is_a_tier_of_its_own(server: Server, deploy) -> None:
    name = deploy("ready-made", template="on", keep_alive="0s")
    server.chat(name, max_tokens=1)
    wait_until(lambda: server.function(name)["tier"] == "spare", 5, "a spare is ready")
    back_at_zero(server, name)
    reply = server.chat(name, max_tokens=1)
    assert (reply.headers["x-glowplug-cold-start"], reply.headers[TIER]) == ("true", "spare")
    assert re.fullmatch(r"spare: queue [\d.]+ ms; replica \d+", why(server, name)[1])
    assert starts(server, name) == {"disk": 1, "spare": 1}


def test_call_that_only_waits_for_a_slot_is_not_cold(server: Server, deploy) -> None:
    name = deploy("narrow", slots=1, tokens_per_second=50)
    server.chat(name, max_tokens=1)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda i: server.chat(name, f"{i}", max_tokens=8), range(3)))
    assert max(server_timing.phases(reply)["queue"] for reply in replies) > 50
    assert all(TIER not in reply.headers for reply in replies)
    assert len(why(server, name)) == 1


def test_failed_function_shows(server: Server, deploy) -> None:
    name = deploy("broken", fault="crash_on_load")
    server.chat(name)
    assert metrics(server)[f'glowplug_function_failed{{function="{name}"}}'] == 1


# What stands on the metrics -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy() -> dict[str, str]:
    """/metrics, in both formats, of a server that had one of everything."""
    with Server() as server:
        server.deploy(fake("f", template="on", keep_alive="5m"))
        for _ in range(12):
            server.chat("f", max_tokens=1)
        openmetrics = server.get("/metrics", headers={"accept": "application/openmetrics-text"})
        return {"prometheus": server.get("/metrics").text, "openmetrics": openmetrics.text}


def expressions(found: object) -> list[str]:
    """Every `expr` of a file, and what a variable asks for."""
    if isinstance(found, dict):
        here = [found[key] for key in ("expr", "definition") if isinstance(found.get(key), str)]
        return here + [text for value in found.values() for text in expressions(value)]
    return [text for value in found for text in expressions(value)] if isinstance(found, list) else []


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_that_is_asked_for_exists(busy: dict[str, str], path: Path) -> None:
    text = path.read_text()
    asked = expressions(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text))
    named = {name for one in asked for name in re.findall(r"\bglowplug_[a-z_]+", one)}
    shown = set(re.findall(r"^(glowplug_[a-z_]+)", busy["prometheus"], re.MULTILINE))
    assert asked and len(named) >= 3
    assert not named - shown, "asked for and not shown"


def test_dashboard_has_the_shape_that_grafana_imports() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["title"] and board["uid"] and board["schemaVersion"] >= 36
    names = {one["name"]: one["type"] for one in board["templating"]["list"]}
    assert names["datasource"] == "datasource"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"] and panel["targets"], panel
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) and all(t["legendFormat"] for t in panel["targets"])
        used = set(re.findall(r"\$(\w+)", json.dumps(panel["targets"]))) - {"__rate_interval"}
        assert used <= names.keys(), used


def test_runbooks_exist() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    for rule in rules:
        assert {"summary", "description", "runbook"} <= rule["annotations"].keys()
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        titles = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in [title.lower().replace(" ", "-") for title in titles], anchor


def test_openmetrics_is_well_formed(busy: dict[str, str]) -> None:
    lines = busy["openmetrics"].splitlines()
    assert lines[-1] == "# EOF" and "" not in lines
    endings = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"}}
    seen: set[str] = set()
    series: set[str] = set()
    family = kind = ""
    for line in lines[:-1]:
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in seen and not family.endswith("_total"), family
            seen.add(family)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
            kind = line.split()[3]
        elif line.startswith("# UNIT "):
            assert line.split()[2] == family and family.endswith("_" + line.split()[3])
        else:
            named, value = line.rsplit(" ", 1)
            float(value)
            assert named not in series, named
            series.add(named)
            name = named.partition("{")[0]
            assert name.startswith(family) and name[len(family) :] in endings[kind], line


@pytest.fixture(scope="module")
def promtool() -> str:
    found = os.environ.get("GLOWPLUG_PROMTOOL") or shutil.which("promtool")
    if not found:
        pytest.skip("GLOWPLUG_PROMTOOL is not set and promtool is not on PATH; ./dev test sets it")
    return found


def run(promtool: str, *args: str, stdin: str = "") -> None:
    done = subprocess.run(
        [promtool, *args], input=stdin, text=True, capture_output=True, cwd=ALERTS.parent, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_metrics(promtool: str, busy: dict[str, str]) -> None:
    run(promtool, "check", "metrics", stdin=busy["prometheus"])


def test_alert_rules_are_valid_and_fire_when_they_should(promtool: str) -> None:
    run(promtool, "check", "rules", ALERTS.name)
    run(promtool, "test", "rules", "alerts_test.yml")
