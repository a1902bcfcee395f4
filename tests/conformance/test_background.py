"""Responses in the background, with the stock OpenAI client (contract lines 34 and 51)."""

from __future__ import annotations

import threading
import time

import openai
import pytest
from support.server import Server, fake, wait_until

KEY = "not-checked-on-loopback"
OVER = ("completed", "incomplete", "failed", "cancelled")
REQUIRED = ("id", "object", "created_at", "model", "output", "parallel_tool_calls", "tool_choice", "tools", "status")


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def slow(server: Server) -> str:
    """One place, a second for ten tokens."""
    return server.deploy(fake("slow", slots=1, tokens_per_second=10, scale={"min": 0, "max": 1}))


def over(client: openai.OpenAI, response_id: str, seconds: float = 20):
    until = time.monotonic() + seconds
    while (seen := client.responses.retrieve(response_id)).status not in OVER:
        assert time.monotonic() < until, seen
        time.sleep(0.02)
    return seen


def events(client: openai.OpenAI, response_id: str, **more: int) -> list:
    return list(client.responses.retrieve(response_id, stream=True, **more))


def test_background_is_queued_then_what_a_synchronous_caller_gets(
    client: openai.OpenAI, echo: str
) -> None:
    request = {"model": echo, "input": "Hello there", "max_output_tokens": 6, "temperature": 0}
    said = client.responses.create(**request)
    first = client.responses.create(**request, background=True, metadata={"run": "7"})
    assert first.status == "queued" and first.background and first.id.startswith("resp_")
    assert first.output == [] and first.error is None and first.metadata == {"run": "7"}
    seen = over(client, first.id)
    assert seen.id == first.id and seen.created_at == first.created_at
    assert seen.status == said.status and seen.output_text == said.output_text != ""
    assert seen.incomplete_details == said.incomplete_details
    assert seen.usage.output_tokens == said.usage.output_tokens == 6
    assert seen.usage.input_tokens == said.usage.input_tokens
    for response in (first, seen):
        assert all(getattr(response, name) is not None for name in REQUIRED), response
    [item] = client.responses.input_items.list(first.id).data
    assert item.content[0].text == "Hello there"


def test_line_34_stream_and_resume_after_each_event(client: openai.OpenAI, echo: str) -> None:
    live = list(client.responses.create(
        model=echo, input="Hello", max_output_tokens=5, background=True, stream=True
    ))
    assert [event.type for event in live[:2]] == ["response.created", "response.queued"]
    assert live[0].response.status == "queued"
    assert [event.sequence_number for event in live] == list(range(len(live)))
    assert live[-1].type in ("response.completed", "response.incomplete")
    text = "".join(event.delta for event in live if event.type == "response.output_text.delta")
    response = client.responses.retrieve(live[0].response.id)
    assert text == response.output_text != "" and live[-1].response == response
    assert events(client, response.id) == live
    for after in range(len(live)):
        assert events(client, response.id, starting_after=after) == live[after + 1:], after


def test_line_34_stream_of_one_that_still_waits_goes_on_to_its_end(
    client: openai.OpenAI, slow: str
) -> None:
    ahead = client.responses.create(model=slow, input="x", max_output_tokens=5, background=True)
    waits = client.responses.create(model=slow, input="x", max_output_tokens=3, background=True)
    assert client.responses.retrieve(waits.id).status == "queued"
    seen = events(client, waits.id)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.type for event in seen[:3]] == [
        "response.created", "response.queued", "response.in_progress"
    ]
    assert seen[-1].response.usage.output_tokens == 3
    assert over(client, ahead.id).usage.output_tokens == 5


def test_cancel_stops_it_and_is_harmless_again(
    client: openai.OpenAI, server: Server, slow: str
) -> None:
    running, waits = (
        client.responses.create(model=slow, input="x", max_output_tokens=200, background=True)
        for _ in range(2)
    )
    wait_until(lambda: client.responses.retrieve(running.id).status == "in_progress", 5, "it runs")
    for _ in range(2):
        assert client.responses.cancel(waits.id).status == "cancelled"
        assert client.responses.cancel(running.id).status == "cancelled"
    wait_until(lambda: server.function(slow)["in_flight"] == 0, 1, "the slot is free")
    assert events(client, running.id)[-1].type == "response.cancelled"
    assert client.responses.retrieve(running.id).output == []


def test_deleted_is_gone_also_while_it_runs(
    client: openai.OpenAI, server: Server, echo: str, slow: str
) -> None:
    done = over(client, client.responses.create(model=echo, input="x", background=True).id)
    runs = client.responses.create(model=slow, input="x", max_output_tokens=200, background=True)
    wait_until(lambda: client.responses.retrieve(runs.id).status == "in_progress", 5, "it runs")
    for response in (done, runs):
        client.responses.delete(response.id)
        for ask in (client.responses.retrieve, client.responses.cancel, client.responses.delete,
                    client.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                ask(response.id)
    wait_until(lambda: server.function(slow)["in_flight"] == 0, 1, "the slot is free")


def test_what_cannot_be_is_a_400_that_says_why(client: openai.OpenAI, echo: str) -> None:
    with pytest.raises(openai.BadRequestError) as unstored:
        client.responses.create(model=echo, input="x", background=True, store=False)
    assert unstored.value.param == "store" and "stored until then" in unstored.value.message
    with pytest.raises(openai.BadRequestError) as previous:
        client.responses.create(model=echo, input="x", previous_response_id="resp_1")
    assert previous.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as hot:
        client.responses.create(model=echo, input="x", background=True, temperature=9)
    assert hot.value.param == "temperature"
    said = client.responses.create(model=echo, input="x")  # in the foreground: not stored
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(said.id)


def test_failure_is_a_failed_response(client: openai.OpenAI, server: Server) -> None:
    name = server.deploy(fake("resp-poison", fault="crash_on_prompt:poison"))
    seen = over(client, client.responses.create(model=name, input="poison", background=True).id, 60)
    assert seen.status == "failed" and seen.error is not None and seen.error.message
    last = events(client, seen.id)[-1]
    assert last.type == "response.failed" and last.response == seen
    server.remove(name)


def test_input_items_are_paged(client: openai.OpenAI, echo: str) -> None:
    asked = [{"role": "user", "content": f"number {i}"} for i in range(5)]
    made = client.responses.create(model=echo, input=asked, background=True)
    page = client.responses.input_items.list(made.id, limit=2, order="asc")
    assert len(page.data) == 2
    assert [item.content for item in page] == [one["content"] for one in asked]
    newest = client.responses.input_items.list(made.id, limit=1)
    assert newest.data[0].content == "number 4" and newest.has_more


def test_line_51_key_gives_the_same_response(client: openai.OpenAI, echo: str) -> None:
    def send(text: str):
        return client.responses.with_raw_response.create(
            model=echo, input=text, background=True, extra_headers={"Idempotency-Key": "background"}
        )

    first = send("x")
    seen = over(client, first.parse().id)
    again = send("x")
    assert again.headers["idempotent-replayed"] == "true" and again.parse() == seen
    with pytest.raises(openai.UnprocessableEntityError):
        send("y")


def test_line_51_stock_retry_of_a_call_under_way_gets_its_answer(server: Server, slow: str) -> None:
    """The second call is refused with 409 while the first runs; the SDK tries again by itself."""
    stock = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, timeout=30, max_retries=5)
    calls = server.function(slow)["calls"]
    answers: list = []

    def ask() -> None:
        raw = stock.chat.completions.with_raw_response.create(
            model=slow,
            max_tokens=10,
            messages=[{"role": "user", "content": "retried"}],
            extra_headers={"Idempotency-Key": "stock-retry"},
        )
        answers.append((raw.retries_taken, raw.headers.get("idempotent-replayed"), raw.parse()))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    wait_until(lambda: server.function(slow)["in_flight"] == 1, 5, "the first one runs")
    threads[1].start()
    for thread in threads:
        thread.join(30)
    (_, fresh, one), (retries, replayed, two) = sorted(answers, key=lambda answer: answer[0])
    assert fresh is None and replayed == "true" and retries >= 1
    assert one == two and server.function(slow)["calls"] == calls + 1


def test_respond_async_on_responses_is_a_job(server: Server, echo: str) -> None:
    reply = server.post(
        "/v1/responses",
        {"model": echo, "input": "x", "max_output_tokens": 3},
        headers={"Prefer": "wait=10"},
    )
    assert reply.status_code == 200 and reply.headers["preference-applied"] == "wait", reply.text
    job = server.get(reply.headers["location"]).json()
    assert job["path"] == "/v1/responses" and job["result"]["body"] == reply.json()
