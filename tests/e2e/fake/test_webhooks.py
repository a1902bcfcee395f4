"""Contract lines 58 and 59, fault rows 49 and 50: webhooks to a receiver that takes them, and to those that do not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Iterator

import openai
import pytest
from support.receiver import Receiver, unwrap
from support.server import Server, fake, wait_until
from support.webhooks import BASE, add, send


@pytest.fixture
def receivers() -> Iterator[Any]:
    made: list[Receiver] = []

    def make(*answers: Any) -> Receiver:
        made.append(Receiver(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hooks")
    config = folder / "config.yaml"
    config.write_text("webhooks: {allow: [127.0.0.0/8], allow_http: true}\n")
    with Server("--config", str(config), folder=folder) as server:
        yield server


def deliveries(server: Server, endpoint: dict[str, Any]) -> list[dict[str, Any]]:
    return server.get(f"{BASE}/{endpoint['id']}/deliveries").json()["data"]


def first(server: Server, endpoint: dict[str, Any], attempts: int = 1) -> dict[str, Any]:
    """The newest delivery, once it has had so many attempts."""

    def look() -> dict[str, Any] | None:
        rows = deliveries(server, endpoint)
        return rows[0] if rows and rows[0]["attempts"] >= attempts else None

    return wait_until(look, 20, f"attempt {attempts}")


def test_line_58_the_stock_sdk_verifies(hooks: Server, receivers: Any) -> None:
    receiver = receivers()
    endpoint = add(hooks, receiver.url)
    event_id = send(hooks, endpoint)
    wait_until(lambda: receiver.seen, 10, "a delivery")
    event = unwrap(endpoint["signing_secret"], receiver.seen[0])
    assert event.id == event_id and event.type == "webhook.test" and event.object == "event"
    assert event.data.id == endpoint["id"] and abs(event.created_at - time.time()) < 60
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(endpoint["signing_secret"], (receiver.seen[0][0], receiver.seen[0][1] + b" "))
    assert first(hooks, endpoint)["status"] == "delivered"


def test_line_58_retry_has_the_same_id_and_a_new_time(hooks: Server, receivers: Any) -> None:
    receiver = receivers(500, 200)
    endpoint = add(hooks, receiver.url)
    send(hooks, endpoint)
    assert first(hooks, endpoint, 2)["status"] == "delivered"
    (before, body), (after, again) = receiver.seen
    assert before["webhook-id"] == after["webhook-id"] and body == again
    assert int(after["webhook-timestamp"]) - int(before["webhook-timestamp"]) >= 4
    for seen in receiver.seen:
        unwrap(endpoint["signing_secret"], seen)


def test_line_58_both_secrets_sign_during_rotation(hooks: Server, receivers: Any) -> None:
    receiver = receivers()
    endpoint = add(hooks, receiver.url)
    rotated = hooks.post(f"{BASE}/{endpoint['id']}/rotate-secret", {"grace_period": "1h"}).json()
    assert rotated["signing_secret"] != endpoint["signing_secret"]
    send(hooks, endpoint)
    wait_until(lambda: receiver.seen, 10, "a delivery")
    unwrap(endpoint["signing_secret"], receiver.seen[0])
    unwrap(rotated["signing_secret"], receiver.seen[0])
    hooks.post(f"{BASE}/{endpoint['id']}/rotate-secret", {"grace_period": "0s"})
    send(hooks, endpoint)
    wait_until(lambda: len(receiver.seen) == 2, 10, "another delivery")
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(rotated["signing_secret"], receiver.seen[1])


def test_line_58_redirects_are_not_followed(hooks: Server, receivers: Any) -> None:
    target = receivers()
    receiver = receivers((302, {"location": target.url}))
    endpoint = add(hooks, receiver.url)
    send(hooks, endpoint)
    row = first(hooks, endpoint)
    assert (row["status"], row["last_status"]) == ("pending", 302)
    assert not target.seen


def test_line_58_gone_disables(hooks: Server, receivers: Any) -> None:
    receiver = receivers(410)
    endpoint = add(hooks, receiver.url)
    send(hooks, endpoint)
    assert first(hooks, endpoint)["status"] == "dead"
    shown = next(e for e in hooks.get(BASE).json()["data"] if e["id"] == endpoint["id"])
    assert not shown["enabled"] and "410" in shown["disabled_reason"]
    assert "signing_secret" not in shown
    refused = hooks.post(f"{BASE}/{endpoint['id']}/test")
    assert refused.status_code == 400 and "disabled" in refused.json()["error"]["message"]
    receiver.answers = [200]
    assert hooks.post(f"{BASE}/{endpoint['id']}/enable").status_code == 200
    replayed = hooks.post(f"{BASE}/deliveries/{deliveries(hooks, endpoint)[0]['id']}/replay")
    assert replayed.status_code == 202
    wait_until(lambda: first(hooks, endpoint)["status"] == "delivered", 10, "the replay")


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "https://[::1]/",
        "https://2852039166/",
        "http://hook.invalid/",
        "ftp://127.0.0.1/",
        "https://user:pass@example.com/",
    ],
)
def test_line_59_what_is_inside_is_refused(hooks: Server, url: str) -> None:
    reply = hooks.post(BASE, {"url": url})
    # http to a name is judged by whom it leads to, at each attempt
    if url == "http://hook.invalid/":
        assert reply.status_code == 201
        row = (send(hooks, reply.json()), first(hooks, reply.json()))[1]
        assert row["status"] == "pending" and row["last_status"] is None
    else:
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "url", reply.text


def test_line_59_loopback_is_refused_where_nothing_allows_it(server: Server, receivers: Any) -> None:
    receiver = receivers()
    for url in (receiver.url, receiver.url.replace("http:", "https:")):
        assert server.post(BASE, {"url": url}).status_code == 400
    endpoint = add(server, receiver.url.replace("http:", "https:").replace("127.0.0.1", "localhost"))
    send(server, endpoint)
    row = first(server, endpoint)
    assert "loopback" in row["last_error"] and not receiver.seen


def test_row_49_bad_targets_hold_up_nobody(hooks: Server, receivers: Any) -> None:
    hanging = receivers("hang")
    others = [receivers(answer) for answer in (500, "vanish", "huge")]
    endpoints = [add(hooks, one.url) for one in (hanging, *others)]
    down = add(hooks, "http://127.0.0.1:9/")
    for _ in range(4):
        for endpoint in (*endpoints, down):
            send(hooks, endpoint)
    good = receivers()
    endpoint = add(hooks, good.url)
    began = time.monotonic()
    send(hooks, endpoint)
    wait_until(lambda: good.seen, 10, "the good one's delivery")
    assert time.monotonic() - began < 5
    # The oldest one: after its failure the endpoint rests, and what came later waits.
    wait_until(lambda: deliveries(hooks, down)[-1]["attempts"], 10, "an attempt at the closed port")
    assert deliveries(hooks, down)[-1]["last_status"] is None
    wait_until(lambda: others[2].answers == ["cut"], 10, "the huge answer is cut")
    assert len(hanging.seen) <= 2
    for one in (*endpoints, down):
        hooks.http.delete(f"{BASE}/{one['id']}")


def test_line_59_a_jobs_own_address_is_checked_when_it_is_accepted(hooks: Server) -> None:
    name = hooks.deploy(fake("hooked"))
    body = {"function": name, "request": {"prompt": "hi", "max_tokens": 2}}
    for url in ("https://169.254.169.254/", "https://[::ffff:10.0.0.1]/", "http://10.0.0.1/"):
        reply = hooks.post("/v1/jobs", body | {"webhook": url})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == "webhook", reply.text


def test_a_job_tells_its_own_address_and_whoever_listens(hooks: Server, receivers: Any) -> None:
    own, listener = receivers(), receivers()
    endpoint = add(hooks, listener.url, event_types=["job.completed"])
    secret = hooks.post(f"{BASE}/jobs/rotate-secret", {"grace_period": "0s"}).json()["signing_secret"]
    name = hooks.deploy(fake("told"))
    body = {"function": name, "request": {"prompt": "hi", "max_tokens": 2}, "webhook": own.url}
    job = hooks.post("/v1/jobs", body).json()["id"]
    wait_until(lambda: own.seen and listener.seen, 10, "both deliveries")
    for key, seen in ((secret, own.seen[0]), (endpoint["signing_secret"], listener.seen[0])):
        event = json.loads(seen[1])
        assert (event["type"], event["data"]["id"]) == ("job.completed", job)
        unwrap(key, seen)
    hooks.http.delete(f"{BASE}/{endpoint['id']}")


def test_attempts_and_deliveries_are_counted(hooks: Server, receivers: Any) -> None:
    def count(name: str) -> float:
        line = next(one for one in hooks.get("/metrics").text.splitlines() if one.startswith(name))
        return float(line.split()[-1])

    delivered = 'glowplug_webhook_attempts_total{outcome="delivered"}'
    again = 'glowplug_webhook_attempts_total{outcome="again"}'
    before = count(delivered), count(again)
    endpoint = add(hooks, receivers(500, 200).url)
    send(hooks, endpoint)
    assert first(hooks, endpoint, 2)["status"] == "delivered"
    assert count(delivered) >= before[0] + 1 and count(again) >= before[1] + 1
    wait_until(
        lambda: count('glowplug_webhook_deliveries{status="delivered"}') >= 1, 15, "it is counted"
    )
    hooks.http.delete(f"{BASE}/{endpoint['id']}")


def test_row_50_lost_reply_is_delivered_again_with_the_same_id(
    hooks: Server, receivers: Any
) -> None:
    receiver = receivers("vanish", 200)
    endpoint = add(hooks, receiver.url)
    event_id = send(hooks, endpoint)
    wait_until(lambda: first(hooks, endpoint, 2)["status"] == "delivered", 20, "the second try")
    assert [head["webhook-id"] for head, _ in receiver.seen] == [event_id, event_id]


def test_killed_server_goes_on(tmp_path: Path, receivers: Any) -> None:
    receiver = receivers(500, 200)
    config = tmp_path / "config.yaml"
    config.write_text("webhooks: {allow: [127.0.0.1], allow_http: true}\n")
    with Server("--config", str(config), folder=tmp_path) as server:
        endpoint = add(server, receiver.url)
        event_id = send(server, endpoint)
        first(server, endpoint)
        server.kill()
        server.start()
        wait_until(lambda: len(receiver.seen) == 2, 20, "the retry")
        assert {head["webhook-id"] for head, _ in receiver.seen} == {event_id}
        unwrap(endpoint["signing_secret"], receiver.seen[1])


def test_cli(hooks: Server, receivers: Any) -> None:
    receiver = receivers()
    made = json.loads(
        hooks.cli("webhooks", "add", receiver.url, "--events", "job.completed", "--json").stdout
    )
    assert made["event_types"] == ["job.completed"]
    listed = json.loads(hooks.cli("webhooks", "--json").stdout)
    assert made["id"] in {one["id"] for one in listed}
    assert hooks.cli("webhooks", "test", made["id"]).returncode == 0
    row = first(hooks, made)
    assert row["id"] in hooks.cli("webhooks", "deliveries", made["id"]).stdout
    assert hooks.cli("webhooks", "replay", row["id"]).returncode == 0
    wait_until(lambda: len(receiver.seen) == 2, 10, "the replay")
    rotated = hooks.cli("webhooks", "rotate", made["id"], "--grace", "0s")
    assert rotated.stdout.split()[1].startswith("whsec_")
    assert hooks.cli("webhooks", "rm", made["id"]).returncode == 0
    assert hooks.cli("webhooks", "rm", made["id"]).returncode == 3
    assert hooks.cli("webhooks", "add", receiver.url, "--events", "job.done").returncode == 1


def test_no_secret_in_the_log(hooks: Server, receivers: Any) -> None:
    receiver = receivers(500)
    endpoint = add(hooks, receiver.url)
    send(hooks, endpoint)
    first(hooks, endpoint)
    assert endpoint["signing_secret"][6:] not in hooks.log()
