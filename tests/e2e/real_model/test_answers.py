"""What SmolLM2 answers through the gateway: contract lines 15, 18, 19, 20, 22, 25, 26, 27, 32, 33 and 60."""

from __future__ import annotations

import json

import anthropic
import jsonschema
import openai
import pytest
from support import sse
from support.server import Server, llama

KEY = "not-checked-on-loopback"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FORCED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def tools(server: Server, model: str) -> str:
    return server.deploy(llama("tools", model, chat_template="tools"))


def test_chat(client: openai.OpenAI, smol: str) -> None:
    answer = client.chat.completions.create(
        model=smol,
        max_tokens=40,
        temperature=0,
        messages=[
            {"role": "user", "content": "What is the capital of France? Answer in one word."}
        ],
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_line_19_and_20_stream(client: openai.OpenAI, smol: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=smol,
            max_tokens=30,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            messages=[{"role": "user", "content": "Count from one to ten."}],
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {smol}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.finish_reason for k in chunks for c in k.choices if c.finish_reason] in (
        ["length"],
        ["stop"],
    )
    assert (
        chunks[-1].choices == []
        and chunks[-1].usage is not None
        and chunks[-1].usage.completion_tokens > 1
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert sum(bool(c.delta.content) for k in chunks for c in k.choices) > 5, (
        "the answer did not come piece by piece"
    )


def test_line_18_stream_equals_non_stream_from_the_same_state(server: Server, smol: str) -> None:
    content = "Name three colours."
    server.chat(smol, content, max_tokens=24)  # both of the following find the same prefix cached
    whole = server.chat(smol, content, max_tokens=24).json()["choices"][0]["message"]["content"]
    with server.stream(smol, content, max_tokens=24) as reply:
        assert sse.text_of(sse.chunks(reply.read())) == whole


def test_line_22_length(server: Server, smol: str) -> None:
    body = server.chat(smol, "Tell me a long story about a fox.", max_tokens=5).json()
    assert (body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]) == (
        "length",
        5,
    )


@pytest.mark.parametrize("stream", [False, True])
def test_line_25_json_schema(server: Server, smol: str, stream: bool) -> None:
    request = {
        "model": smol,
        "max_tokens": 120,
        "temperature": 0,
        "stream": stream,
        "messages": [{"role": "user", "content": "Invent a person."}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "person", "strict": True, "schema": PERSON},
        },
    }
    reply = server.post("/v1/chat/completions", request)
    assert reply.status_code == 200, reply.text
    if stream:
        chunks = sse.chunks(reply.text)
        text = sse.text_of(chunks)
        finish = [c["finish_reason"] for k in chunks for c in k["choices"] if c["finish_reason"]][0]
    else:
        text, finish = (
            reply.json()["choices"][0]["message"]["content"],
            reply.json()["choices"][0]["finish_reason"],
        )
    assert finish == "stop", (finish, text)
    jsonschema.validate(json.loads(text), PERSON)


def test_line_25_json_cut_by_length_says_so(server: Server, smol: str) -> None:
    reply = server.post(
        "/v1/chat/completions",
        {
            "model": smol,
            "max_tokens": 3,
            "messages": [{"role": "user", "content": "Invent a person."}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "strict": True, "schema": PERSON},
            },
        },
    )
    assert reply.json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("choice", [FORCED, "required"])
def test_line_26_forced_tool_call(client: openai.OpenAI, tools: str, choice: object) -> None:
    answer = client.chat.completions.create(
        model=tools,
        max_tokens=120,
        temperature=0,
        tools=[WEATHER],
        tool_choice=choice,
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
    )
    assert answer.choices[0].finish_reason == "tool_calls", answer.choices[0]
    call = answer.choices[0].message.tool_calls[0]
    assert call.id and call.type == "function" and call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])


def test_line_26_forced_tool_call_streamed(client: openai.OpenAI, tools: str) -> None:
    pieces: dict[int, str] = {}
    names, finishes = {}, []
    for chunk in client.chat.completions.create(
        model=tools,
        max_tokens=120,
        temperature=0,
        tools=[WEATHER],
        tool_choice=FORCED,
        stream=True,
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
    ):
        for choice in chunk.choices:
            finishes += [choice.finish_reason] if choice.finish_reason else []
            for call in choice.delta.tool_calls or []:
                pieces[call.index] = pieces.get(call.index, "") + (call.function.arguments or "")
                names[call.index] = names.get(call.index) or call.function.name
    assert finishes == ["tool_calls"]
    assert sorted(pieces) == list(range(len(pieces))) and pieces
    for index, arguments in pieces.items():
        assert names[index] == "get_weather"
        jsonschema.validate(json.loads(arguments), WEATHER["function"]["parameters"])


def test_line_26_a_forced_name_picks_among_tools(client: openai.OpenAI, tools: str) -> None:
    other = json.loads(json.dumps(WEATHER))
    other["function"]["name"] = "get_time"
    answer = client.chat.completions.create(
        model=tools,
        max_tokens=120,
        temperature=0,
        tools=[WEATHER, other],
        tool_choice={"type": "function", "function": {"name": "get_time"}},
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_time"]


def test_line_26_tool_results_go_back(client: openai.OpenAI, tools: str) -> None:
    answer = client.chat.completions.create(
        model=tools,
        max_tokens=30,
        temperature=0,
        messages=[
            {"role": "user", "content": "What is the weather in Rome?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny, 24 degrees"},
        ],
        tools=[WEATHER],
        tool_choice="none",
    )
    assert answer.choices[0].message.content


def test_tools_on_a_template_that_drops_them_are_refused(server: Server, smol: str) -> None:
    reply = server.chat(smol, max_tokens=5, tools=[WEATHER])
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == "tools" and "chat_template" in error["message"], error


def test_line_27_logprobs(server: Server, smol: str) -> None:
    choice = server.chat(smol, "Say hello.", max_tokens=8, logprobs=True, top_logprobs=3).json()[
        "choices"
    ][0]
    rows = choice["logprobs"]["content"]
    assert b"".join(bytes(row["bytes"]) for row in rows).decode() == choice["message"]["content"]
    for row in rows:
        values = [top["logprob"] for top in row["top_logprobs"]]
        assert len(values) <= 3 and values == sorted(values, reverse=True)


def test_line_15_prompt_over_context(server: Server, smol: str) -> None:
    reply = server.chat(smol, "word " * 3_000, max_tokens=8)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == "context_length_exceeded"
    assert "maximum context length" in reply.json()["error"]["message"]
    assert server.chat(smol, max_tokens=2).status_code == 200


def test_line_15_prompt_and_answer_together_over_context(server: Server, smol: str) -> None:
    reply = server.chat(smol, "word " * 1_900, max_tokens=300)
    if reply.status_code == 400:
        assert reply.json()["error"]["code"] == "context_length_exceeded"
    else:
        assert reply.status_code == 200 and reply.json()["usage"]["total_tokens"] <= 2048


@pytest.mark.parametrize(
    "more",
    [
        {"n_discard": -1},
        {"id_slot": 77},
        {"lora": [{"id": 9, "scale": 1}]},
        {"grammar": "root ::= ("},
        {"samplers": [7]},
        {"cache_prompt": "x"},
    ],
)
def test_line_16_engine_fields_do_not_reach_it(server: Server, smol: str, more: dict) -> None:
    assert server.chat(smol, max_tokens=2).status_code == 200
    pids = set(server.replica_pids())
    assert server.chat(smol, max_tokens=4, **more).status_code in (200, 400)
    assert server.chat(smol, max_tokens=2).status_code == 200
    assert pids <= set(server.replica_pids()), "a replica did not survive the request"


def test_line_21_stop_string(server: Server, smol: str) -> None:
    content = "Count from one to twenty in words."
    whole = server.chat(smol, content, max_tokens=40).json()["choices"][0]["message"]["content"]
    stop = whole[12:20]
    choice = server.chat(smol, content, max_tokens=40, stop=stop).json()["choices"][0]
    assert stop not in choice["message"]["content"] and choice["finish_reason"] == "stop"
    with server.stream(smol, content, max_tokens=40, stop=[stop]) as reply:
        assert stop not in sse.text_of(sse.chunks(reply.read()))


def test_line_23_multibyte_characters_stay_whole(server: Server, smol: str) -> None:
    with server.stream(smol, "Repeat exactly: 🙂🧠 世界 Grüße 🙂🧠 世界", max_tokens=60) as reply:
        raw = reply.read()
    for event in raw.split(b"\n\n"):
        event.decode("utf-8")
    for chunk in sse.chunks(raw):
        for choice in chunk["choices"]:
            (choice["delta"].get("content") or "").encode("utf-8")


def test_line_24_three_choices(server: Server, smol: str) -> None:
    body = server.chat(smol, "Say a word.", max_tokens=5, n=3, temperature=1).json()
    assert sorted(choice["index"] for choice in body["choices"]) == [0, 1, 2]
    assert body["usage"]["completion_tokens"] <= 15


def test_line_32_embeddings(client: openai.OpenAI, server: Server, model: str) -> None:
    name = server.deploy(llama("vectors", model, task="embed"))
    texts = ["a cat sat on the mat", "a dog lay on the rug", "quarterly revenue rose"]
    default = client.embeddings.create(model=name, input=texts)
    floats = client.embeddings.create(model=name, input=texts, encoding_format="float")
    assert [row.index for row in default.data] == [0, 1, 2]
    for packed, plain in zip(default.data, floats.data, strict=True):
        assert len(packed.embedding) == 576
        assert packed.embedding == pytest.approx(plain.embedding, rel=1e-3, abs=1e-4)
    assert default.data[0].embedding != default.data[2].embedding
    refused = server.post("/v1/embeddings", {"model": name, "input": "x", "dimensions": 64})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "dimensions"
    server.remove(name)


def test_line_33_anthropic(server: Server, smol: str) -> None:
    claude = anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=60)
    # Greedy, because an answer that opens with an emoji has no input_tokens (README, limits).
    with claude.messages.stream(
        model=smol,
        max_tokens=20,
        extra_body={"temperature": 0},
        messages=[{"role": "user", "content": "Name three colours."}],
    ) as stream:
        assert "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.stop_reason in ("end_turn", "max_tokens")
    assert final.usage.output_tokens > 0 and final.usage.input_tokens > 0


def test_line_60_handler_event(server: Server, smol: str) -> None:
    event = {"body": json.dumps({"prompt": "Once upon a time", "max_tokens": 12})}
    envelope = server.post(f"/v1/functions/{smol}/invoke", event).json()
    body = json.loads(envelope["body"])
    assert envelope["statusCode"] == 200 and body["text"].startswith("Once upon a time")
    assert "<|im_" not in body["text"] and body["usage"]["completion_tokens"] > 0
