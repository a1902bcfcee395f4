"""The device pool: declared fleets, placement by size, bytes never promised twice, quarantine, GPUs by NVML."""

from __future__ import annotations

import concurrent.futures
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
import yaml
from support.server import BIN, Server, cli, fake, wait_until

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 5
GIB = 1 << 30
GB = 10**9
STAND_IN = BIN.parent / "lib" / "libnvml_stand_in.so"
FLEET = [
    {"type": "T4", "count": 2},
    {"type": "A10G", "memory": "24GiB", "count": 2},
    {"type": "A100", "memory": "40GiB", "count": 2},
]


@contextmanager
def fleet(folder: Path, devices: list[dict] | None, env: dict | None = None, **more) -> Iterator[Server]:
    settings = more | ({} if devices is None else {"devices": devices})
    path = folder / "glowplug.yaml"
    path.write_text(yaml.safe_dump(settings))
    with Server("--config", str(path), folder=folder, env=env) as server:
        yield server


def devices(server: Server) -> dict[str, dict]:
    reply = server.get("/v1/admin/devices")
    assert reply.status_code == 200, reply.text
    return {device["id"]: device for device in reply.json()["data"]}


def sized(name: str, gigabytes: float, device: str = "auto", **more) -> dict:
    return fake(name, resources={"memory": int(gigabytes * GB), "device": device}, **more)


def where(server: Server, name: str) -> list[str]:
    return [device for one in server.function(name)["replica_list"] for device in one["devices"]]


def call(server: Server, name: str) -> None:
    reply = server.chat(name, max_tokens=2)
    assert reply.status_code == 200, reply.text


def test_a_mixed_fleet_is_filled_by_size(tmp_path) -> None:
    sizes = {"tiny": 1, "small": 7, "medium": 12, "wide": 25, "large": 60}
    with fleet(tmp_path, FLEET) as server:
        for name, size in sizes.items():
            server.deploy(sized(name, size))
        kinds = {
            name: (placed["type"], placed["count"])
            for name in sizes
            if (placed := wait_until(lambda: server.function(name)["placement"], 5, name))
        }
        assert kinds == {
            "tiny": ("T4", 1),
            "small": ("T4", 1),
            "medium": ("A10G", 1),
            "wide": ("A10G", 1),
            "large": ("A100", 2),
        }
        with concurrent.futures.ThreadPoolExecutor(len(sizes)) as pool:
            list(pool.map(lambda name: call(server, name), sizes))
        assert where(server, "large") == ["A100:0", "A100:1"]
        assert {where(server, "medium")[0], where(server, "wide")[0]} == {"A10G:0", "A10G:1"}
        shown = devices(server)
        assert sum(shown[name]["reserved_bytes"] for name in ("T4:0", "T4:1")) == 8 * GB
        assert shown["A100:1"]["reserved_bytes"] == 30 * GB
        assert shown["A100:1"]["functions"] == ["large"]
        assert shown["CPU"]["reserved_bytes"] < GB, "the fake engine only pretends"
        assert "60.0 GB: A100 x2 by size" in server.function("large")["placement"]["reason"]
        assert any("A100 x2" in one["reason"] for one in server.decisions("large") if one["decision"] == "place")

        table = server.cli("devices")
        assert table.returncode == DONE
        rows = {line.split()[0]: line for line in table.stdout.splitlines()}
        assert list(rows) == ["DEVICE", "T4:0", "T4:1", "A10G:0", "A10G:1", "A100:0", "A100:1", "CPU"]
        assert "declared" in rows["A100:0"] and "42.9 GB" in rows["A100:0"] and "large" in rows["A100:0"]
        assert "found" in rows["CPU"]

        assert server.post("/v1/functions/large/stop").status_code < 300
        wait_until(lambda: devices(server)["A100:1"]["reserved_bytes"] == 0, 10, "it is given back")


def test_many_functions_on_few_devices_are_all_answered_and_never_over_committed(tmp_path) -> None:
    rows = [{"type": "T4"}, {"type": "A10G"}, {"type": "A100", "count": 2}]
    sizes = [2, 5, 7, 9, 14, 20, 24, 38, 50, 70]
    with fleet(tmp_path, rows) as server:
        for i, size in enumerate(sizes):
            server.deploy(sized(f"f{i}", size, load_time="10ms"))
        seen = []

        def look_while_called(round_: int) -> None:
            call(server, f"f{(round_ * 7) % len(sizes)}")
            seen.extend(devices(server).values())

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            list(pool.map(look_while_called, range(60)))
        over = [one for one in seen if one["reserved_bytes"] > one["memory_bytes"]]
        assert over == [] and len(seen) == 60 * 5
        assert max(one["reserved_bytes"] for one in seen if one["id"] == "A100:0") >= 19 * GB


def test_what_no_device_holds_is_refused_at_deploy(tmp_path) -> None:
    with fleet(tmp_path, FLEET) as server:
        reply = server.put(sized("huge", 90))
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (503, "does_not_fit", "resources.device")
        assert "`huge` needs 90.0 GB and the largest device here is A100:0 with 42.9 GB" in error["message"]
        assert server.get("/v1/functions/huge").status_code == 404

        manifest = tmp_path / "huge.yaml"
        manifest.write_text(yaml.safe_dump(sized("huge", 90)))
        done = server.cli("deploy", str(manifest))
        assert done.returncode not in (DONE, USAGE), done
        assert "the largest device here is A100:0" in done.stderr

        reply = server.put(sized("typo", 1, "A10"))
        assert reply.status_code == 400 and "A10G:0" in reply.json()["error"]["message"], reply.text
        reply = server.put(sized("bad", 1, "A100 2"))
        assert reply.status_code in (400, 422) and "resources.device" in reply.text, reply.text

        server.deploy(sized("grows", 5))
        call(server, "grows")
        assert server.put(sized("grows", 90)).status_code == 503
        call(server, "grows")


def test_the_manifest_overrides_the_rule(tmp_path) -> None:
    rows = [
        {"name": "old", "type": "A100", "memory": "40GiB", "count": 2},
        {"name": "new", "type": "A100", "memory": "80GiB"},
        {"type": "T4", "count": 2},
    ]
    with fleet(tmp_path, rows) as server:
        wishes = {"new": ["new:0"], "old:1": ["old:1"], "T4 x2": ["T4:0", "T4:1"], "cpu": ["CPU"]}
        for i, (wish, got) in enumerate(wishes.items()):
            server.deploy(sized(f"w{i}", 0.1, wish))
            call(server, f"w{i}")
            assert where(server, f"w{i}") == got, wish


def test_a_full_device_is_made_free_for_a_caller(tmp_path) -> None:
    with fleet(tmp_path, [{"type": "T4"}]) as server:
        for name in ("a", "b"):
            server.deploy(sized(name, 15))
        for name in ("a", "b", "a"):
            call(server, name)
            assert where(server, name) == ["T4:0"]
        assert any("needed by a" in one["reason"] for one in server.decisions("b"))


def test_starts_that_fail_put_a_device_into_quarantine_and_others_serve(tmp_path) -> None:
    with fleet(tmp_path, [{"type": "T4"}, {"type": "A10G"}]) as server:
        for name in ("x", "y", "z"):
            server.deploy(sized(name, 5, "T4", fault="crash_on_load"))
            assert server.chat(name, max_tokens=1).status_code == 503
        t4 = devices(server)["T4:0"]
        assert (t4["health"], t4["failed_starts"], t4["reserved_bytes"]) == ("quarantined", 3, 0)
        assert 0 < t4["quarantined_ms"] <= 30_000
        assert "quarantined for" in server.cli("devices").stdout
        server.deploy(sized("good", 5))
        call(server, "good")
        assert where(server, "good") == ["A10G:0"]


def test_a_restart_places_what_was_deployed_and_says_what_no_longer_fits(tmp_path) -> None:
    with fleet(tmp_path, FLEET) as server:
        server.deploy(sized("stays", 12))
        server.deploy(sized("large", 60))
    with fleet(tmp_path, FLEET[:2]) as server:
        call(server, "stays")
        assert where(server, "stays") == ["A10G:0"]
        assert server.chat("large").json()["error"]["code"] == "does_not_fit"
        assert "A10G:0 with 25.8 GB" in server.wait_state("large", "failed")["reason"]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"type": "T4", "count": 0}], "devices[0].count: must be"),
        ([{"type": "T4", "memory": 0}], "devices[0].memory: must be a size such as 24GiB"),
        ([{"type": "H100", "memory": "80GiB"}], "devices[0].type: is H100, which has no price"),
        ([{"type": "CPU"}, {"type": "CPU"}], "devices[1] is a second CPU"),
        ([{"type": "A100"}, {"type": "A100", "memory": "80GiB"}], "give each row a name of its own"),
        ({"T4": 2}, "devices: must be a list of rows"),
    ],
)
def test_fleets_that_contradict_themselves_do_not_start(tmp_path, rows, fault) -> None:
    path = tmp_path / "glowplug.yaml"
    path.write_text(yaml.safe_dump({"devices": rows}))
    done = cli("serve", "--config", str(path))
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert fault in done.stderr, done.stderr


def test_gpus_are_found_by_the_drivers_library(tmp_path) -> None:
    gpus = f"NVIDIA A10G|{24 * GIB}|{GIB};NVIDIA H100 80GB HBM3|{80 * GIB}|0"
    with fleet(tmp_path, None, env={"NVML_STAND_IN_GPUS": gpus}, nvml=str(STAND_IN)) as server:
        shown = devices(server)
        assert list(shown) == ["A10G:0", "H100:0", "CPU"]
        assert shown["A10G:0"]["memory_bytes"] == 23 * GIB, "without what others hold"
        assert {one["origin"] for one in shown.values()} == {"found"}
        # An engine that does not compute there is not placed there.
        server.deploy(fake("f"))
        call(server, "f")
        assert where(server, "f") == ["CPU"]


def test_a_library_that_fails_is_told_and_the_server_serves(tmp_path) -> None:
    env = {"NVML_STAND_IN_GPUS": "NVIDIA L4|1|0", "NVML_STAND_IN_FAIL": "nvmlInit_v2:9"}
    with fleet(tmp_path, None, env=env, nvml=str(STAND_IN)) as server:
        assert list(devices(server)) == ["CPU"]
        assert "NVML does not begin: Driver Not Loaded (9)" in server.log()


def test_declared_devices_stand_for_what_is_found(tmp_path) -> None:
    env = {"NVML_STAND_IN_GPUS": f"NVIDIA L4|{24 * GIB}|0"}
    with fleet(tmp_path, [{"type": "T4"}], env=env, nvml=str(STAND_IN)) as server:
        assert list(devices(server)) == ["T4:0", "CPU"]


def test_without_accelerators_the_cpu_is_the_device(server: Server, deploy) -> None:
    name = deploy("plain")
    call(server, name)
    assert where(server, name) == ["CPU"]
    row = server.function(name)
    assert row["placement"]["type"] == "CPU"
    cpu = devices(server)["CPU"]
    assert name in cpu["functions"] and cpu["cores"] >= 1 and cpu["health"] == "healthy"
    assert cpu["reserved_bytes"] >= row["replica_list"][0]["reserved_bytes"]
