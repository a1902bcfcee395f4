"""Contract lines 32 and 33, and a smoke of chat, stream and embeddings, with the vendors' own clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import anthropic
import jsonschema
import openai
import pytest
import schemas
from support import sse
from support.server import Server, fake, wait_until

NODE_SUITE = Path(__file__).resolve().parent / "node"
KEY = "not-checked-on-loopback"


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def claude(server: Server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def embedder(server: Server) -> str:
    return server.deploy(fake("embedder", task="embed"))


def test_openai_python_chat(client: openai.OpenAI, echo: str) -> None:
    answer = client.chat.completions.create(
        model=echo, max_tokens=5, messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None and answer.usage.completion_tokens == 5
    assert answer._request_id and answer._request_id.startswith("req_")


def test_openai_python_stream(client: openai.OpenAI, echo: str) -> None:
    request = {
        "model": echo,
        "max_tokens": 8,
        "temperature": 0,
        "messages": [{"role": "user", "content": "hi"}],
    }
    whole = client.chat.completions.create(**request).choices[0].message.content
    pieces, usage = [], None
    for chunk in client.chat.completions.create(
        **request, stream=True, stream_options={"include_usage": True}
    ):
        pieces += [choice.delta.content or "" for choice in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(pieces) == whole
    assert usage is not None and usage.completion_tokens == 8


def test_openai_python_models_and_errors(client: openai.OpenAI, echo: str) -> None:
    assert echo in [model.id for model in client.models.list()]
    assert client.models.retrieve(echo).id == echo
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("absent")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(
            model=echo, temperature=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert bad.value.param == "temperature"


def test_line_32_base64_and_float_embeddings_agree(
    client: openai.OpenAI, server: Server, embedder: str
) -> None:
    texts = ["one", "two", "three", "Grüße 🙂"]
    default = client.embeddings.create(
        model=embedder, input=texts
    )  # the SDK asks for base64 by itself
    floats = server.post(
        "/v1/embeddings", {"model": embedder, "input": texts, "encoding_format": "float"}
    )
    assert floats.status_code == 200, floats.text
    jsonschema.validate(floats.json(), schemas.EMBEDDINGS)
    assert [row.index for row in default.data] == [0, 1, 2, 3]
    assert [row["index"] for row in floats.json()["data"]] == [0, 1, 2, 3]
    for packed, plain in zip(default.data, floats.json()["data"], strict=True):
        assert packed.embedding == pytest.approx(plain["embedding"], rel=1e-6, abs=1e-9)


def test_line_32_order_is_kept(client: openai.OpenAI, embedder: str) -> None:
    texts = ["alpha", "beta", "gamma", "delta", "epsilon"]
    together = [row.embedding for row in client.embeddings.create(model=embedder, input=texts).data]
    for text, vector in zip(texts, together, strict=True):
        alone = client.embeddings.create(model=embedder, input=text).data[0].embedding
        assert alone == pytest.approx(vector, rel=1e-3, abs=1e-5), text


def test_line_32_dimensions_are_refused(server: Server, embedder: str) -> None:
    reply = server.post("/v1/embeddings", {"model": embedder, "input": "one", "dimensions": 7})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == "dimensions"


def test_line_32_a_generating_function_has_no_embeddings(server: Server, echo: str) -> None:
    reply = server.post("/v1/embeddings", {"model": echo, "input": "one"})
    assert reply.status_code == 400, reply.text


@pytest.mark.parametrize("value", [[], "", 7, [""], {"a": 1}])
def test_line_32_bad_input_names_the_param(server: Server, embedder: str, value: object) -> None:
    reply = server.post("/v1/embeddings", {"model": embedder, "input": value})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == "input"


def test_line_33_anthropic_answer(claude: anthropic.Anthropic, echo: str) -> None:
    answer = claude.messages.create(
        model=echo, max_tokens=6, messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.type == "message" and answer.role == "assistant"
    assert answer.content[0].type == "text" and answer.content[0].text
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == 6


def test_line_33_anthropic_stream_order(claude: anthropic.Anthropic, echo: str) -> None:
    with claude.messages.stream(
        model=echo, max_tokens=6, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and text == final.content[0].text
    assert final.stop_reason == "max_tokens" and final.usage.output_tokens == 6


def test_line_33_anthropic_events_on_the_wire(server: Server, echo: str) -> None:
    body = {
        "model": echo,
        "max_tokens": 6,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }
    with server.http.stream("POST", "/v1/messages", json=body) as reply:
        events = sse.events(reply.read())
    names = [name for name, _ in events if name != "ping"]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert names[2:-3] and set(names[2:-3]) == {"content_block_delta"}
    assert all(data != sse.DONE for _, data in events)
    assert all(json.loads(data)["type"] == name for name, data in events)
    delta = json.loads(dict(events)["message_delta"])
    assert delta["delta"]["stop_reason"] == "max_tokens" and delta["usage"]["output_tokens"] == 6


def test_line_33_anthropic_errors(claude: anthropic.Anthropic, server: Server, echo: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(
            model="absent", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
        )
    body = missing.value.response.json()
    assert body["type"] == "error" and body["error"]["type"] == "not_found_error"
    reply = server.post(
        "/v1/messages", {"model": echo, "messages": [{"role": "user", "content": "hi"}]}
    )
    assert reply.status_code == 400, "max_tokens is required"
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_line_33_overload_is_529(claude: anthropic.Anthropic, server: Server) -> None:
    name = server.deploy(
        fake(
            "narrow",
            slots=1,
            tokens_per_second=20,
            scale={"min": 0, "max": 1},
            limits={"queue": 1, "queue_timeout": "20s"},
        )
    )
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 400}
    stop = threading.Event()

    def hold() -> None:
        try:
            with openai.OpenAI(
                base_url=server.url + "/v1", api_key=KEY, max_retries=0
            ).chat.completions.create(**body, stream=True) as stream:
                for _ in stream:
                    if stop.is_set():
                        return
        except openai.APIError:
            pass

    threads = [threading.Thread(target=hold, daemon=True) for _ in range(2)]
    try:
        threads[0].start()
        wait_until(lambda: server.function(name)["in_flight"] == 1, 10, "the first call runs")
        threads[1].start()
        wait_until(lambda: server.function(name)["waiting"] == 1, 10, "the second call waits")
        with pytest.raises(anthropic.APIStatusError) as refused:
            claude.messages.create(
                model=name, max_tokens=1, messages=[{"role": "user", "content": "hi"}]
            )
        assert refused.value.status_code == 529
        assert refused.value.response.json()["error"]["type"] == "overloaded_error"
        plain = server.post("/v1/chat/completions", body)
        assert plain.status_code == 503, plain.text
        assert 1 <= int(plain.headers["retry-after"]) <= 60
    finally:
        stop.set()
        server.remove(name)
        for thread in threads:
            thread.join(timeout=20)


def node_program() -> str:
    """The node of this virtual environment, or a reason to skip."""
    program = Path(sys.prefix) / "bin/node"
    if not program.exists() or not (NODE_SUITE / "node_modules/openai/package.json").exists():
        pytest.skip(f"node or the openai package is missing; run: ./dev setup ({NODE_SUITE})")
    return str(program)


def test_openai_node_smoke(server: Server, echo: str, embedder: str) -> None:
    node = node_program()
    done = subprocess.run(
        [node, "smoke.mjs"],
        cwd=NODE_SUITE,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"BASE_URL": server.url + "/v1", "CHAT": echo, "EMBED": embedder},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "chat": True,
        "stream": True,
        "embeddings": True,
        "error": True,
    }
