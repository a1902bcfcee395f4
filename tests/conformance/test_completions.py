"""Contract lines 17 to 26: what a completion and its stream consist of, exact on the fake engine."""

from __future__ import annotations

import concurrent.futures
import json

import jsonschema
import pytest
import schemas
from support import sse
from support.server import Server, wait_until

CHAT = "/v1/chat/completions"
# Names as an attentive client sees them; the fake engine's answer depends on the prompt alone.
PROMPTS = ["Say something.", "Count to ten.", "Grüße, 世界! 🙂🧠👩‍👩‍👧", ""]


def collect(server: Server, name: str, content: str = "Say something.", **more) -> list[dict]:
    with server.stream(name, content, **more) as reply:
        assert reply.status_code == 200, reply.read()
        assert reply.headers["content-type"].startswith("text/event-stream")
        text = reply.read()
    assert sse.events(text)[-1][1] == sse.DONE, text[-300:]
    return sse.chunks(text)


def metered(server: Server, request: str) -> dict | None:
    reply = server.get(f"/v1/admin/usage/{request}")
    return reply.json() if reply.status_code == 200 else None


def check_usage(usage: dict) -> None:
    jsonschema.validate(usage, schemas.USAGE)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 0


def test_line_17_chat_completion_shape(server: Server, echo: str) -> None:
    reply = server.chat(echo, max_tokens=12)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    jsonschema.validate(body, schemas.CHAT_COMPLETION)
    check_usage(body["usage"])
    assert body["model"] == echo
    assert body["choices"][0]["message"]["content"]


def test_line_17_text_completion_shape(server: Server, echo: str) -> None:
    reply = server.post(
        "/v1/completions", {"model": echo, "prompt": "Once", "max_tokens": 5, "temperature": 0}
    )
    assert reply.status_code == 200, reply.text
    jsonschema.validate(reply.json(), schemas.TEXT_COMPLETION)
    check_usage(reply.json()["usage"])


def test_line_17_headers_of_an_answer(server: Server, echo: str) -> None:
    reply = server.chat(echo, max_tokens=2)
    for name in (
        "x-request-id",
        "openai-processing-ms",
        "openai-version",
        "date",
        "x-glowplug-function",
        "x-glowplug-revision",
        "server-timing",
        "x-glowplug-cold-start",
        "x-glowplug-overhead-ms",
    ):
        assert reply.headers.get(name), f"{name} is missing: {dict(reply.headers)}"
    assert reply.headers["x-glowplug-function"] == echo
    float(reply.headers["openai-processing-ms"])
    float(reply.headers["x-glowplug-overhead-ms"])


def test_line_17_models_list(server: Server, echo: str) -> None:
    reply = server.get("/v1/models")
    jsonschema.validate(reply.json(), schemas.MODELS)
    assert echo in [entry["id"] for entry in reply.json()["data"]]
    assert server.get(f"/v1/models/{echo}").json()["id"] == echo


@pytest.mark.parametrize("content", PROMPTS)
def test_line_18_stream_equals_non_stream(server: Server, echo: str, content: str) -> None:
    whole = server.chat(echo, content, max_tokens=40).json()["choices"][0]
    chunks = collect(server, echo, content, max_tokens=40)
    assert sse.text_of(chunks) == whole["message"]["content"]
    finishes = [
        c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]
    ]
    assert finishes == [whole["finish_reason"]]


def test_line_18_text_stream_equals_non_stream(server: Server, echo: str) -> None:
    body = {"model": echo, "prompt": "Once upon", "max_tokens": 20, "temperature": 0, "seed": 1}
    whole = server.post("/v1/completions", body).json()["choices"][0]["text"]
    with server.http.stream("POST", "/v1/completions", json=body | {"stream": True}) as reply:
        assert sse.text_of(sse.chunks(reply.read())) == whole


def test_line_19_stream_shape(server: Server, echo: str) -> None:
    chunks = collect(server, echo, max_tokens=12)
    for chunk in chunks:
        jsonschema.validate(chunk, schemas.CHAT_CHUNK)
    for field in ("id", "created", "model"):
        assert len({chunk[field] for chunk in chunks}) == 1, field
    assert chunks[0]["model"] == echo
    assert chunks[0]["choices"][0]["delta"].get("role") == "assistant"
    assert all(
        "role" not in c["delta"] or c["delta"]["role"] in (None, "assistant")
        for chunk in chunks
        for c in chunk["choices"]
    )
    finishes = [
        c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]
    ]
    assert len(finishes) == 1, finishes
    last = [chunk for chunk in chunks if chunk["choices"]][-1]
    assert last["choices"][0]["finish_reason"], "finish_reason is not on the last chunk"


def test_line_19_connection_is_reusable_after_the_stream(server: Server, echo: str) -> None:
    body = json.dumps(
        {
            "model": echo,
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "max_tokens": 5,
        }
    ).encode()
    with server.raw() as client:
        for _ in range(3):
            reply = client.request("POST", CHAT, body)
            assert reply.status == 200 and reply.complete
            assert reply.body.rstrip().endswith(b"data: [DONE]")
        assert client.request("GET", "/healthz").status == 200


def test_line_20_include_usage(server: Server, echo: str) -> None:
    chunks = collect(server, echo, max_tokens=7, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    check_usage(chunks[-1]["usage"])
    assert chunks[-1]["usage"]["completion_tokens"] == 7
    for chunk in chunks[:-1]:
        assert "usage" in chunk and chunk["usage"] is None, chunk
    assert all(chunk["choices"] for chunk in chunks[:-1])


@pytest.mark.parametrize(
    "more", [{}, {"stream_options": {"include_usage": False}}, {"stream_options": None}]
)
def test_line_20_no_usage_unless_asked(server: Server, echo: str, more: dict) -> None:
    for chunk in collect(server, echo, max_tokens=5, **more):
        assert not chunk.get("usage")
        assert chunk["choices"]


@pytest.mark.parametrize("include", [True, False])
def test_line_20_stream_is_metered_whether_its_usage_is_shown_or_not(
    server: Server, echo: str, include: bool
) -> None:
    with server.stream(
        echo, "Count me.", max_tokens=6, stream_options={"include_usage": include}
    ) as reply:
        reply.read()
    request = reply.headers["x-request-id"]
    row = wait_until(lambda: metered(server, request), 5, "its receipt")
    whole = server.chat(echo, "Count me.", max_tokens=6).json()["usage"]
    assert row["tokens"]["completion"] == whole["completion_tokens"] == 6, row
    assert row["tokens"]["prompt"] == whole["prompt_tokens"], row


def test_line_20_usage_of_stream_and_non_stream_agree(server: Server, echo: str) -> None:
    whole = server.chat(echo, max_tokens=9).json()["usage"]
    usage = collect(server, echo, max_tokens=9, stream_options={"include_usage": True})[-1]["usage"]
    for field in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[field] == whole[field]


def test_line_21_stop_string_never_leaks(server: Server, echo: str) -> None:
    whole = server.chat(echo, "Tell me a long story.", max_tokens=40).json()["choices"][0][
        "message"
    ]["content"]
    assert len(whole) > 24, whole
    tried = 0
    for start in (5, 9, 14, len(whole) // 2):
        stop = whole[start : start + 9]  # cuts through words, so it spans tokens
        before = whole[: whole.index(stop)]
        if not before:
            continue
        tried += 1
        choice = server.chat(echo, "Tell me a long story.", max_tokens=40, stop=stop).json()[
            "choices"
        ][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (before, "stop"), stop
        chunks = collect(
            server, echo, "Tell me a long story.", max_tokens=40, stop=[stop, "never-said"]
        )
        assert sse.text_of(chunks) == before, stop
        assert [c["finish_reason"] for k in chunks for c in k["choices"] if c["finish_reason"]] == [
            "stop"
        ]
    assert tried >= 2


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_line_22_length(server: Server, echo: str, field: str) -> None:
    body = server.chat(echo, "Tell me a long story.", **{field: 3}).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3


def test_line_23_multibyte_characters_stay_whole(server: Server, echo: str) -> None:
    """Reads the raw bytes of each event: every one is valid UTF-8 by itself and holds no replacement character."""
    content = (
        "emoji 🙂🧠👩‍👩‍👧 世界你好 Grüße ✓ " * 8
    )  # the word makes the fake engine answer with them
    body = json.dumps(
        {
            "model": echo,
            "messages": [{"role": "user", "content": content}],
            "stream": True,
            "max_tokens": 200,
            "temperature": 0,
        },
        ensure_ascii=False,
    ).encode()
    with server.raw() as client:
        reply = client.request("POST", CHAT, body)
    assert reply.status == 200, reply.body
    for event in reply.body.split(b"\n\n"):
        assert "\N{REPLACEMENT CHARACTER}" not in event.decode("utf-8")
    for chunk in sse.chunks(reply.body):
        for choice in chunk["choices"]:
            text = choice["delta"].get("content") or ""
            text.encode("utf-8")  # fails on a lone surrogate
            assert "\N{REPLACEMENT CHARACTER}" not in text
    assert any(ord(letter) > 0xFFFF for letter in sse.text_of(sse.chunks(reply.body))), (
        "no wide character was sent"
    )


def test_line_24_three_choices(server: Server, echo: str) -> None:
    one = server.chat(echo, max_tokens=6).json()["usage"]
    body = server.chat(echo, max_tokens=6, n=3).json()
    assert sorted(choice["index"] for choice in body["choices"]) == [0, 1, 2]
    assert all(choice["finish_reason"] for choice in body["choices"])
    assert body["usage"]["completion_tokens"] == 3 * one["completion_tokens"]
    check_usage(body["usage"])


def test_line_24_three_choices_streamed(server: Server, echo: str) -> None:
    chunks = collect(server, echo, max_tokens=6, n=3, stream_options={"include_usage": True})
    finished = sorted(
        c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]
    )
    assert finished == [0, 1, 2]
    assert chunks[-1]["usage"]["completion_tokens"] == 18
    for index in range(3):
        assert sse.text_of(chunks, index)


def test_line_24_more_choices_than_slots_is_refused(server: Server, deploy) -> None:
    name = deploy("two-slots", slots=2)
    reply = server.chat(name, n=3, max_tokens=2)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == "n"


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "person", "strict": True, "schema": SCHEMA},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def test_line_25_json_schema_parses_and_validates(server: Server, echo: str) -> None:
    choice = server.chat(echo, response_format=FORMAT, max_tokens=100).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    assert (
        sse.text_of(collect(server, echo, response_format=FORMAT, max_tokens=100))
        == choice["message"]["content"]
    )
    assert (
        server.chat(echo, response_format=FORMAT, max_tokens=2).json()["choices"][0][
            "finish_reason"
        ]
        == "length"
    )


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_line_26_forced_tool_call(server: Server, echo: str, choice: object) -> None:
    more = {"tools": [TOOL], "tool_choice": choice, "max_tokens": 100}
    whole = server.chat(echo, **more)
    assert whole.status_code == 200, whole.text
    answer = whole.json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    call = answer["message"]["tool_calls"][0]
    assert call["id"] and call["type"] == "function" and call["function"]["name"] == "get_weather"
    jsonschema.validate(json.loads(call["function"]["arguments"]), TOOL["function"]["parameters"])
    pieces: dict[int, str] = {}
    chunks = collect(server, echo, **more)
    for piece in (
        c for k in chunks for ch in k["choices"] for c in ch["delta"].get("tool_calls") or []
    ):
        pieces[piece["index"]] = pieces.get(piece["index"], "") + (
            piece["function"].get("arguments") or ""
        )
    assert sorted(pieces) == list(range(len(pieces))) and pieces
    assert json.loads(pieces[0]) == json.loads(call["function"]["arguments"])
    assert [c["finish_reason"] for k in chunks for c in k["choices"] if c["finish_reason"]] == [
        "tool_calls"
    ]


def test_concurrent_answers_do_not_mix(server: Server, echo: str) -> None:
    """Not a line of its own: what a caller gets is the answer to its own prompt, whatever else runs."""
    prompts = [f"Prompt number {i}." for i in range(24)]
    alone = {
        prompt: server.chat(echo, prompt, max_tokens=16).json()["choices"][0]["message"]["content"]
        for prompt in prompts
    }
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda p: server.chat(echo, p, max_tokens=16).json(), prompts))
    assert [body["choices"][0]["message"]["content"] for body in together] == [
        alone[p] for p in prompts
    ]
