"""The model cache: what it shows, pins, evicts, refuses, checks and fetches again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Iterator

import pytest
from support import gguf_corpus
from support.disks import small_disk
from support.leaks import nothing_left
from support.origin import Origin
from support.server import Server, fake, wait_until

TIER = "x-glowplug-start-tier"


class Models:
    """Model files of one size and different content, each from a server of its own."""

    def __init__(self) -> None:
        self.origins: list[Origin] = []

    def one(self, mark: bytes) -> tuple[str, str, bytes]:
        """(address, digest, content)"""
        body = gguf_corpus.build()
        body = body[: -len(mark)] + mark
        origin = Origin(body)
        origin.may_answer.set()
        self.origins.append(origin)
        return origin.url, hashlib.sha256(body).hexdigest(), body

    def close(self) -> None:
        for origin in self.origins:
            origin.close()


@pytest.fixture
def models() -> Iterator[Models]:
    made = Models()
    yield made
    made.close()


SIZE = len(gguf_corpus.build())


def blob(server: Server, digest: str) -> Path:
    return server.cache_dir / "models/blobs" / f"sha256-{digest}.gguf"


def cache(server: Server) -> dict:
    reply = server.get("/v1/admin/cache")
    assert reply.status_code == 200, reply.text
    return reply.json()


def row(server: Server, digest: str) -> dict | None:
    return next((one for one in cache(server)["data"] if one["sha256"] == digest), None)


def deployed(server: Server, name: str, url: str, **more) -> None:
    server.deploy(fake(name, model=url, load_time="20ms", keep_alive="0s", **more))
    wait_until(
        lambda: server.function(name)["tier"] in ("memory", "disk"), 10, f"{name}'s model is there"
    )


def at_zero(server: Server, name: str) -> None:
    wait_until(lambda: server.function(name)["state"] == "cold", 10, f"{name} is at zero")


def flip(path: Path) -> None:
    """One bit of the weights, as root or a failing disk would."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def test_table_shows_each_tier(server: Server, models: Models) -> None:
    url, digest, _ = models.one(b"table")
    deployed(server, "shown", url, template="on")
    assert server.chat("shown", max_tokens=1).status_code == 200
    held = row(server, digest)
    assert held["names"] == [url] and held["functions"] == ["shown"] and held["in_cache"]
    assert held["bytes"] == held["resident_bytes"] == SIZE
    assert not held["pinned"] and held["uses"] >= 1 and held["verified_ms"] and held["last_used_ms"]
    assert held["templates"] == 1 and held["template_bytes"] > 0
    totals = cache(server)
    assert totals["disk"]["bytes"] >= SIZE and totals["disk"]["budget_bytes"] is None
    assert totals["disk"]["free_bytes"] > 0 and totals["memory"]["machine_bytes"] > 0
    assert totals["template"]["bytes"] >= held["template_bytes"]
    told = server.cli("cache").stdout
    assert digest[:12] in told and "shown" in told and "100 %" in told
    assert json.loads(server.cli("cache", "--json").stdout)["data"]
    server.remove("shown")


def test_pin_unpin_and_evict_by_any_name(server: Server, models: Models) -> None:
    url, digest, _ = models.one(b"pinned")
    deployed(server, "holder", url)
    refused = server.cli("cache", "evict", url)
    assert refused.returncode == 1 and "holder" in refused.stderr
    answer = server.http.delete(f"/v1/admin/cache/{digest}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "blob_in_use")

    assert server.cli("cache", "pin", "holder").returncode == 0
    assert row(server, digest)["pinned"]
    server.remove("holder")
    refused = server.cli("cache", "evict", digest[:12])
    assert refused.returncode == 1 and "pin" in refused.stderr and blob(server, digest).exists()
    assert server.cli("cache", "unpin", digest[:12]).returncode == 0
    assert server.cli("cache", "evict", digest[:12]).returncode == 0
    assert not blob(server, digest).exists() and row(server, digest) is None
    assert server.cli("cache", "evict", digest[:12]).returncode == 3


def test_routes_refuse_what_is_no_digest(server: Server) -> None:
    for path in ("absent", "0" * 63, "..%2f..%2fetc", "0" * 64):
        answer = server.post(f"/v1/admin/cache/{path}/pin")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    assert server.get("/v1/admin/cache/absent").status_code == 405


def test_budget_evicts_the_least_used_and_keeps_pins_across_a_restart(
    tmp_path: Path, models: Models
) -> None:
    (often, _, _), (seldom, unused, _), (third, _, _) = (
        models.one(mark) for mark in (b"often", b"seldom", b"third")
    )
    with Server("--cache-budget", str(2 * SIZE + SIZE // 2), folder=tmp_path) as server:
        deployed(server, "often", often)
        deployed(server, "seldom", seldom)
        for _ in range(3):
            server.chat("often", max_tokens=1)
            at_zero(server, "often")
        for name in ("often", "seldom"):
            server.remove(name)
        deployed(server, "third", third)
        assert not blob(server, unused).exists()
        names = {name for one in cache(server)["data"] for name in one["names"]}
        assert names == {often, third}
        assert "glowplug_cache_evicted_total 1" in server.get("/metrics").text
        assert server.cli("cache", "pin", often).returncode == 0
        server.terminate()
        server.wait_exit()
        server.start()
        pinned = [one for one in cache(server)["data"] if one["pinned"]]
        assert [one["names"] for one in pinned] == [[often]] and pinned[0]["uses"] == 3


def test_what_does_not_fit_is_refused_and_fits_once_there_is_room(
    tmp_path: Path, models: Models
) -> None:
    (first, digest, _), (second, _, _) = models.one(b"first"), models.one(b"second")
    with Server("--cache-budget", str(SIZE + SIZE // 2), folder=tmp_path) as server:
        deployed(server, "first", first)
        server.deploy(fake("second", model=second))
        answer = server.chat("second", max_tokens=1)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "no_cache_space")
        assert "--cache-budget" in error["message"] and int(answer.headers["retry-after"]) >= 1
        assert blob(server, digest).exists()
        assert server.chat("first", max_tokens=1).status_code == 200
        server.remove("first")
        wait_until(
            lambda: server.chat("second", max_tokens=1).status_code == 200, 15, "there is room"
        )
        assert not blob(server, digest).exists()


def test_full_disk_refuses_clearly_and_recovers(tmp_path: Path, models: Models) -> None:
    url, digest, _ = models.one(b"small")
    folder = tmp_path / "server"
    folder.mkdir()
    with (
        small_disk(tmp_path / "small", SIZE * 3) as disk,
        Server(folder=folder, cache=disk) as server,
    ):
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * (SIZE * 5 // 2))
        server.deploy(fake("small", model=url))
        answer = server.chat("small", max_tokens=1)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "no_cache_space"), answer.text
        assert "free" in error["message"]
        assert sum(f.stat().st_size for f in (disk / "models/partial").iterdir()) < SIZE
        ballast.unlink()
        wait_until(lambda: server.chat("small", max_tokens=1).status_code == 200, 15, "room again")
        assert blob(server, digest).exists()


@pytest.mark.parametrize("template", ["off", "on"])
def test_file_changed_under_the_server_is_found_before_the_next_start(
    tmp_path: Path, models: Models, template: str
) -> None:
    url, digest, body = models.one(b"changed")
    with Server("--spares", "0", folder=tmp_path) as server:
        deployed(server, "f", url, template=template)
        assert server.chat("f", max_tokens=1).status_code == 200
        at_zero(server, "f")
        for change in (flip, lambda path: os.truncate(path, SIZE - 100), os.unlink):
            before = models.origins[0].asked
            with nothing_left(server):
                change(blob(server, digest))
                answer = server.chat("f", max_tokens=1)
                assert answer.status_code == 200, answer.text
                at_zero(server, "f")
            assert models.origins[0].asked == before + 1
            assert blob(server, digest).read_bytes() == body
        assert [one for one in server.decisions("f") if one["decision"] == "model-lost"]


def test_file_changed_behind_a_spare_is_found_before_it_is_handed_over(
    tmp_path: Path, models: Models
) -> None:
    url, digest, body = models.one(b"spared")
    with Server(folder=tmp_path) as server:
        deployed(server, "f", url, template="on")
        assert server.chat("f", max_tokens=1).status_code == 200
        for change in (flip, lambda path: os.truncate(path, SIZE - 100), os.unlink):
            at_zero(server, "f")
            spare = lambda: server.function("f")["template"].get("spares")  # noqa: E731
            wait_until(spare, 10, "a spare is ready")
            before = models.origins[0].asked
            change(blob(server, digest))
            answer = server.chat("f", max_tokens=1)
            assert (answer.status_code, answer.headers[TIER]) == (200, "remote"), answer.text
            assert models.origins[0].asked == before + 1
            assert blob(server, digest).read_bytes() == body


def test_scrub_finds_a_flipped_bit_and_the_next_call_fetches(
    tmp_path: Path, models: Models
) -> None:
    url, digest, body = models.one(b"scrubbed")
    with Server(folder=tmp_path) as server:
        deployed(server, "f", url)
        assert server.cli("cache", "verify").stdout.split()[1] == "verified"
        flip(blob(server, digest))
        found = server.cli("cache", "verify", "f")
        assert found.returncode == 1 and "damaged" in found.stdout
        quarantined = server.cache_dir / "models/quarantine" / blob(server, digest).name
        assert quarantined.exists() and not blob(server, digest).exists()
        assert "glowplug_cache_damaged_total 1" in server.get("/metrics").text
        wait_until(lambda: "decision=quarantine functions=f" in server.log(), 5, "it is logged")
        lost = [one for one in server.decisions("f") if one["decision"] == "model-lost"]
        assert len(lost) == 1 and "damaged" in lost[0]["reason"]
        assert server.function("f")["tier"] == "remote"
        answer = server.chat("f", max_tokens=1)
        assert (answer.status_code, answer.headers[TIER]) == (200, "remote")
        assert blob(server, digest).read_bytes() == body and models.origins[0].asked == 2


def test_file_thrown_out_of_memory_is_tier_disk_until_it_is_read(
    tmp_path: Path, models: Models
) -> None:
    url, digest, _ = models.one(b"thrown out")
    with Server(folder=tmp_path) as server:
        deployed(server, "f", url)
        assert server.function("f")["tier"] == "memory"

        def out() -> bool:
            with blob(server, digest).open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return row(server, digest)["resident_bytes"] < SIZE / 2

        try:
            wait_until(out, 5, "it is out of the page cache")
        except AssertionError:
            pytest.skip("this file system keeps its files in memory")
        wait_until(lambda: server.function("f")["tier"] == "disk", 20, "the look sees it")
        assert server.chat("f", max_tokens=1).headers[TIER] == "disk"  # the fake engine reads none
        at_zero(server, "f")
        blob(server, digest).read_bytes()
        assert server.chat("f", max_tokens=1).headers[TIER] == "memory"
