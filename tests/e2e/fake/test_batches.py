"""Contract line 57 with the vendor's own client: files and batches, good and bad lines, cancel, a killed server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import openai
import pytest
from support.disks import fill, small_disk
from support.receiver import Receiver, unwrap
from support.server import GLOWPLUG, Server, fake, wait_until

OVER = {"completed", "failed", "expired", "cancelled"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return client_of(server)


def client_of(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)


def line(custom_id: str, model: str, url: str = CHAT, **more: object) -> str:
    body = {
        "model": model,
        "max_tokens": 3,
        "messages": [{"role": "user", "content": custom_id}],
    } | more
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def upload(client: openai.OpenAI, lines: list[str]) -> str:
    content = ("\n".join(lines) + "\n").encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    assert file.bytes == len(content) and file.filename == "in.jsonl"
    return file.id


def create(client: openai.OpenAI, lines: list[str]) -> openai.types.Batch:
    return client.batches.create(
        input_file_id=upload(client, lines),
        endpoint=CHAT,
        completion_window="24h",
        metadata={"for": "a test"},
    )


def wait_for(client: openai.OpenAI, batch_id: str, seconds: float = 60) -> openai.types.Batch:
    def over() -> openai.types.Batch | None:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status in OVER else None

    return wait_until(over, seconds, f"{batch_id} is over")


def rows(client: openai.OpenAI, file_id: str | None) -> dict[str, dict]:
    if file_id is None:
        return {}
    found = [json.loads(text) for text in client.files.content(file_id).text.splitlines()]
    by_id = {row["custom_id"]: row for row in found}
    assert len(by_id) == len(found), "a line is told twice"
    return by_id


def test_line_57_good_and_bad_bodies_sum_to_the_total(client: openai.OpenAI, echo: str) -> None:
    lines = [line(f"id-{i}", echo, **({"temperature": 9} if i % 4 == 0 else {})) for i in range(20)]
    batch = wait_for(client, create(client, lines).id)
    assert batch.status == "completed" and batch.metadata == {"for": "a test"}
    assert batch.completed_at is not None and batch.in_progress_at is not None
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (20, 15, 5)
    good, bad = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    assert set(good) | set(bad) == {f"id-{i}" for i in range(20)}
    assert set(bad) == {f"id-{i}" for i in range(0, 20, 4)}
    for row in good.values():
        assert row["error"] is None and row["response"]["status_code"] == 200
        assert row["response"]["body"]["choices"][0]["message"]["content"]
    for row in bad.values():
        assert row["response"]["status_code"] == 400
        assert row["response"]["body"]["error"]["param"] == "temperature"
    assert batch.usage is not None and batch.usage.output_tokens == 45


def test_line_57_faulty_lines_fail_the_batch_with_their_numbers(
    client: openai.OpenAI, echo: str
) -> None:
    lines = [line("a", echo), line("a", echo), line("b", echo, url="/v1/embeddings"), "{bad"]
    batch = wait_for(client, create(client, [*lines, line("c", "absent")]).id)
    assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
    assert [(fault.line, fault.param) for fault in batch.errors.data] == [
        (2, "custom_id"),
        (3, "url"),
        (4, None),
        (5, "body.model"),
    ]
    assert batch.output_file_id is None and batch.error_file_id is None


def test_line_57_cancel_keeps_what_is_done(client: openai.OpenAI, server: Server) -> None:
    name = server.deploy(fake("slow-batch", slots=1, tokens_per_second=20, scale={"max": 1}))
    batch = create(client, [line(f"id-{i}", name) for i in range(300)])
    wait_until(
        lambda: client.batches.retrieve(batch.id).request_counts.completed >= 2, 30, "two are done"
    )
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    over = wait_for(client, batch.id)
    assert over.status == "cancelled"
    good, bad = rows(client, over.output_file_id), rows(client, over.error_file_id)
    assert 2 <= len(good) < 300 and len(good) + len(bad) == 300
    assert client.batches.cancel(batch.id).status == "cancelled"
    assert batch.id in [one.id for one in client.batches.list(limit=5)]


def test_files_are_listed_got_and_removed(client: openai.OpenAI) -> None:
    file = client.files.create(
        file=("a.txt", b"hello"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert client.files.retrieve(file.id).expires_at == file.created_at + 3600
    assert file.id in [one.id for one in client.files.list(purpose="user_data")]
    assert client.files.content(file.id).read() == b"hello"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert refused.value.param == "input_file_id"


@pytest.mark.parametrize(
    ("field", "value"),
    [("endpoint", "/v1/audio/speech"), ("completion_window", "1h"), ("metadata", {"k": "x" * 513})],
)
def test_odd_batches_name_the_field(server: Server, field: str, value: object) -> None:
    body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"} | {field: value}
    reply = server.post("/v1/batches", body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == field


def test_a_killed_server_finishes_its_batch(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        name = server.deploy(fake("survivor", slots=4, tokens_per_second=200))
        client = client_of(server)
        batch = create(client, [line(f"id-{i}", name) for i in range(400)])
        wait_until(
            lambda: client.batches.retrieve(batch.id).request_counts.completed >= 20, 30, "it runs"
        )
        server.kill()
        server.start()
        client = client_of(server)
        over = wait_for(client, batch.id, 120)
        assert over.status == "completed" and over.request_counts.completed == 400
        assert len(rows(client, over.output_file_id)) == 400


def test_batch_command_waits_and_shows(server: Server, echo: str, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(line(f"id-{i}", echo) for i in range(3)))
    command = [str(GLOWPLUG), "--url", server.url, "--json"]
    done = subprocess.run(
        [*command, "batch", str(path), "--wait"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(done.stdout)
    assert shown["status"] == "completed"
    content = subprocess.run(
        [*command, "files", "get", shown["output_file_id"]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(content.stdout.splitlines()) == 3


def configured(folder: Path, text: str) -> Server:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(text)
    return Server("--config", str(folder / "config.yaml"), folder=folder)


def test_the_stock_sdk_runs_a_batch_and_hears_of_its_end(tmp_path: Path) -> None:
    receiver = Receiver()
    try:
        with configured(tmp_path, "webhooks: {allow: [127.0.0.1], allow_http: true}\n") as server:
            client = client_of(server)
            made = server.post(
                "/v1/webhook-endpoints",
                {"url": receiver.url, "event_types": ["batch.completed", "batch.cancelled"]},
            ).json()
            name = server.deploy(fake("batched"))
            bad = {f"bad-{i}": {"top_p": 7} for i in range(5)}
            lines = [line(f"good-{i}", name) for i in range(50)]
            lines += [line(custom_id, name, **more) for custom_id, more in bad.items()]
            over = wait_for(client, create(client, lines).id)
            counts = over.request_counts
            assert over.status == "completed" and counts is not None
            assert (counts.total, counts.completed, counts.failed) == (55, 50, 5)
            assert set(rows(client, over.output_file_id)) == {f"good-{i}" for i in range(50)}
            assert set(rows(client, over.error_file_id)) == set(bad)
            wait_until(lambda: receiver.seen, 10, "batch.completed")
            event = unwrap(made["signing_secret"], receiver.seen[0])
            assert (event.type, event.data.id) == ("batch.completed", over.id)

            slow = server.deploy(fake("slowly", slots=1, tokens_per_second=5, scale={"max": 1}))
            other = create(client, [line(f"id-{i}", slow) for i in range(30)])
            wait_until(
                lambda: client.batches.retrieve(other.id).status == "in_progress", 20, "it runs"
            )
            client.batches.cancel(other.id)
            assert wait_for(client, other.id).status == "cancelled"
            wait_until(lambda: len(receiver.seen) == 2, 10, "batch.cancelled")
            event = unwrap(made["signing_secret"], receiver.seen[1])
            assert (event.type, event.data.id) == ("batch.cancelled", other.id)
            metrics = server.get("/metrics").text
            assert 'glowplug_batches_ended_total{status="completed"} 1' in metrics
            assert 'glowplug_batches{status="cancelled"} 1' in metrics
    finally:
        receiver.close()


def test_line_51_the_same_key_is_the_same_batch(tmp_path: Path) -> None:
    with Server(folder=tmp_path) as server:
        name = server.deploy(fake("keyed"))
        file = upload(client_of(server), [line("a", name)])
        body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        key = {"Idempotency-Key": "once"}
        made = server.post("/v1/batches", body, headers=key)
        again = server.post("/v1/batches", body, headers=key)
        assert made.status_code == again.status_code == 200
        assert again.json()["id"] == made.json()["id"]
        assert "idempotent-replayed" not in made.headers
        assert again.headers["idempotent-replayed"] == "true"
        server.kill()
        server.start()
        later = server.post("/v1/batches", body, headers=key)
        assert later.json()["id"] == made.json()["id"], later.text
        assert later.headers["idempotent-replayed"] == "true"
        other = server.post("/v1/batches", body | {"metadata": {"a": "b"}}, headers=key)
        assert other.status_code == 422, other.text
        assert other.json()["error"]["code"] == "idempotency_key_reused"
        bare = server.post("/v1/batches", body)
        assert bare.json()["id"] != made.json()["id"]
        assert len(server.get("/v1/batches").json()["data"]) == 2


def test_bounds_are_settings_and_faults_name_them(tmp_path: Path) -> None:
    with configured(tmp_path, "batch_lines: 3\nfiles_budget: 64KiB\n") as server:
        client = client_of(server)
        name = server.deploy(fake("bounded"))
        assert wait_for(client, create(client, [line(str(i), name) for i in range(3)]).id).status == (
            "completed"
        )
        over = wait_for(client, create(client, [line(str(i), name) for i in range(4)]).id)
        assert over.status == "failed" and over.errors is not None and over.errors.data
        assert "more than 3" in over.errors.data[0].message
        assert "batch_lines" in over.errors.data[0].message
        with pytest.raises(openai.InternalServerError) as refused:
            client.files.create(file=("big", b"x" * 70_000), purpose="user_data")
        assert refused.value.status_code == 507 and "files_budget" in str(refused.value)
        assert "glowplug_files_budget_bytes 65536" in server.get("/metrics").text


def test_full_disk_refuses_an_upload_and_takes_it_once_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with small_disk(tmp_path / "data" / "files", 1 << 20) as disk, Server(folder=tmp_path) as server:
        client = client_of(server)
        fill(disk / "other", left=64 * 1024)
        before = sorted(path.name for path in disk.iterdir())
        with pytest.raises(openai.InternalServerError) as refused:
            client.files.create(file=("in", b"x" * 500_000), purpose="user_data")
        assert refused.value.status_code == 503 and refused.value.code == "disk_full"
        assert "retry-after" in refused.value.response.headers
        wait_until(
            lambda: sorted(path.name for path in disk.iterdir()) == before, 5, "nothing of it stays"
        )
        assert client.files.list().data == []
        (disk / "other").unlink()
        kept = client.files.create(file=("in", b"x" * 500_000), purpose="user_data")
        assert client.files.content(kept.id).read() == b"x" * 500_000


def run_small(command: list[str], out: Path) -> None:
    """Runs it with 64 MiB of memory of its own; what it writes is in `out`."""
    bounded = ["sh", "-c", 'ulimit -d 65536 && exec "$@"', "sh", *command]
    with out.open("wb") as stdout:
        done = subprocess.run(bounded, stdout=stdout, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 0, done.stderr


def test_commands_hold_no_whole_file(server: Server, tmp_path: Path) -> None:
    path, said, copy = (tmp_path / name for name in ("large", "said", "copy"))
    path.write_bytes(bytes(range(256)) * (150 * 4096))  # 150 MiB
    command = [str(GLOWPLUG), "--url", server.url, "files"]
    run_small([*command, "upload", str(path), "--purpose", "user_data"], said)
    file = said.read_text().strip()
    run_small([*command, "get", file], copy)
    assert copy.read_bytes() == path.read_bytes()
    client_of(server).files.delete(file)
