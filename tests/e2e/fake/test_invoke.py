"""Contract line 60: the handler event."""

from __future__ import annotations

import json

import pytest
from support.server import Server, fake


@pytest.mark.parametrize("event_body", [{"prompt": "Once upon a time", "max_tokens": 5}])
def test_line_60_object_body_is_answered_with_an_object(
    server: Server, echo: str, event_body: dict
) -> None:
    reply = server.post(f"/v1/functions/{echo}/invoke", {"body": event_body})
    assert reply.status_code == 200, reply.text
    envelope = reply.json()
    assert envelope["statusCode"] == 200
    body = envelope["body"]
    assert isinstance(body, dict)
    assert body["text"].startswith("Once upon a time") and len(body["text"]) > len(
        "Once upon a time"
    )
    assert body["model"] == echo
    assert body["usage"]["completion_tokens"] == 5 and body["usage"]["prompt_tokens"] > 0


def test_line_60_string_body_is_answered_with_a_string(server: Server, echo: str) -> None:
    event = {"body": json.dumps({"prompt": "Once upon a time", "max_tokens": 5})}
    envelope = server.post(f"/v1/functions/{echo}/invoke", event).json()
    assert envelope["statusCode"] == 200
    assert isinstance(envelope["body"], str)
    assert json.loads(envelope["body"])["text"].startswith("Once upon a time")


def test_line_60_messages_give_the_reply_alone(server: Server, echo: str) -> None:
    event = {
        "body": {
            "messages": [{"role": "user", "content": "hello there"}],
            "max_tokens": 5,
            "temperature": 0,
        }
    }
    envelope = server.post(f"/v1/functions/{echo}/invoke", event).json()
    said = server.chat(echo, "hello there", max_tokens=5).json()["choices"][0]["message"]["content"]
    assert envelope["body"]["text"] == said


def test_line_60_continuation_alone(server: Server, echo: str) -> None:
    event = {
        "body": {"prompt": "Once", "max_tokens": 5, "temperature": 0, "return_full_text": False}
    }
    alone = server.post(f"/v1/functions/{echo}/invoke", event).json()["body"]["text"]
    event["body"]["return_full_text"] = True
    assert (
        server.post(f"/v1/functions/{echo}/invoke", event).json()["body"]["text"] == "Once" + alone
    )


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"body": None},
        {"body": "{"},
        {"body": {}},
        {"body": {"max_tokens": 3}},
        {"body": 7},
        {"body": {"prompt": "x", "max_tokens": -1}},
    ],
)
def test_line_60_bad_event_is_400_in_the_envelope(server: Server, echo: str, event: dict) -> None:
    reply = server.post(f"/v1/functions/{echo}/invoke", event)
    assert reply.status_code == 400, reply.text
    envelope = reply.json()
    assert envelope["statusCode"] == 400, envelope
    assert envelope["body"]


@pytest.mark.parametrize("body", [{"max_tokens": 3}, {"prompt": "x", "model": "other"}])
def test_line_60_fault_is_told_in_the_form_that_the_body_came_in(server: Server, echo: str, body: dict) -> None:
    as_object, as_string = (
        server.post(f"/v1/functions/{echo}/invoke", {"body": form}).json()["body"] for form in (body, json.dumps(body))
    )
    assert isinstance(as_object, dict) and isinstance(as_string, str)
    assert json.loads(as_string) == as_object and as_object["error"]["message"]


def test_line_60_another_model_on_the_named_route_is_400(server: Server, echo: str) -> None:
    reply = server.post(f"/v1/functions/{echo}/invoke", {"body": {"prompt": "x", "model": "other"}})
    assert (reply.status_code, reply.json()["statusCode"]) == (400, 400)
    same = server.post(
        f"/v1/functions/{echo}/invoke", {"body": {"prompt": "x", "model": echo, "max_tokens": 2}}
    )
    assert same.json()["statusCode"] == 200


def test_line_60_the_nameless_route_takes_body_model(server: Server, echo: str) -> None:
    reply = server.post("/v1/invoke", {"body": {"prompt": "x", "model": echo, "max_tokens": 2}})
    assert reply.status_code == 200, reply.text
    assert reply.json()["body"]["model"] == echo


def test_line_60_gpt2_is_the_default_and_the_refusal_names_the_command(server: Server) -> None:
    missing = server.post("/v1/invoke", {"body": {"prompt": "x", "max_tokens": 2}})
    assert missing.status_code == 404, missing.text
    assert "glowplug deploy gpt2" in missing.text
    server.deploy(fake("gpt2"))
    try:
        there = server.post("/v1/invoke", {"body": {"prompt": "x", "max_tokens": 2}})
        assert (there.status_code, there.json()["body"]["model"]) == (200, "gpt2")
    finally:
        server.remove("gpt2")


def test_line_60_unknown_function_on_the_named_route(server: Server) -> None:
    reply = server.post("/v1/functions/absent/invoke", {"body": {"prompt": "x"}})
    assert reply.status_code == 404, reply.text
    assert "glowplug deploy" not in reply.text, "there is nothing that could be deployed by that name"


@pytest.mark.parametrize("name", ["smollm2", "gpt2"])
def test_line_60_name_of_the_catalogue_that_is_not_deployed_names_the_command(server: Server, name: str) -> None:
    for path, body in ((f"/v1/functions/{name}/invoke", {}), ("/v1/invoke", {"model": name})):
        reply = server.post(path, {"body": {"prompt": "x"} | body})
        assert (reply.status_code, reply.json()["statusCode"]) == (404, 404), reply.text
        assert f"glowplug deploy {name}" in reply.json()["body"]["error"]["message"]


def test_line_60_a_failing_function_says_so(server: Server, deploy) -> None:
    name = deploy("failing", fault="crash_on_load")
    reply = server.post(f"/v1/functions/{name}/invoke", {"body": {"prompt": "x"}})
    assert 500 <= reply.status_code < 600
    assert reply.json().get("statusCode", reply.status_code) == reply.status_code
