"""Contract lines 1, 2, 3, 7, 8, 9, 13, 14, 15 and 16: what a refused request gets, and what it cannot do."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest
from support import processes
from support.server import Server

CHAT = "/v1/chat/completions"
BODY_LIMIT = 8 * 1024 * 1024


def chat_body(model: str, **more) -> dict:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4} | more


def check_error(status: int, headers, body: dict) -> dict:
    """The shape of line 1; returns the error."""
    assert re.fullmatch(r"req_\S+", headers.get("x-request-id", "")), dict(headers)
    assert set(body) == {"error"}, body
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and error["type"]
    assert error["code"] is None or isinstance(error["code"], str), error
    assert error["param"] is None or isinstance(error["param"], str), error
    assert status >= 400
    return error


@pytest.mark.parametrize("path", [CHAT, "/v1/functions/echo/stop", "/v1/functions/echo/invoke"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_page_of_another_site_cannot_post(
    server: Server, echo: str, path: str, kind: str | None
) -> None:
    headers = {"Origin": "https://elsewhere.example"} | ({"Content-Type": kind} if kind else {})
    reply = server.http.post(path, content=json.dumps(chat_body(echo)), headers=headers)
    assert reply.status_code == 415, reply.text
    assert check_error(415, reply.headers, reply.json())["code"] == "unsupported_media_type"


def test_curl_without_a_type_is_understood(server: Server, echo: str) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = server.http.post(CHAT, content=json.dumps(chat_body(echo)), headers=kind)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("GET", "/nothing/here", None, 404),
        ("GET", "/v1/models/absent", None, 404),
        ("GET", "/v1/functions/absent", None, 404),
        ("DELETE", "/v1/functions/absent", None, 404),
        ("POST", "/v1/functions/absent/warm", {}, 404),
        ("POST", "/v1/functions/absent/stop", {}, 404),
        ("GET", "/v1/functions/absent/logs", None, 404),
        ("GET", "/v1/functions/absent/events", None, 404),
        ("DELETE", CHAT, None, 405),
        ("POST", CHAT, [], 400),
        ("POST", CHAT, {"model": "absent", "messages": []}, 404),
        ("POST", CHAT, {"messages": [{"role": "user", "content": "hi"}]}, 400),
        ("POST", "/v1/completions", {"model": "absent", "prompt": "x"}, 404),
        ("POST", "/v1/embeddings", {"model": "absent", "input": "x"}, 404),
    ],
)
def test_line_01_error_shape(
    server: Server, method: str, path: str, body: object, status: int
) -> None:
    reply = server.http.request(method, path, json=body)
    assert reply.status_code == status, reply.text
    check_error(reply.status_code, reply.headers, reply.json())


def test_line_01_every_response_has_its_own_request_id(server: Server, echo: str) -> None:
    replies = [
        server.get("/healthz"),
        server.get("/readyz"),
        server.get("/version"),
        server.get("/v1/models"),
        server.get("/nothing"),
        server.chat(echo, max_tokens=2),
        server.chat("absent"),
    ]
    ids = [reply.headers.get("x-request-id") for reply in replies]
    assert all(ids), ids
    assert len(set(ids)) == len(ids), ids


def test_line_01_unknown_model_is_model_not_found(server: Server) -> None:
    reply = server.chat("absent")
    error = check_error(reply.status_code, reply.headers, reply.json())
    assert (reply.status_code, error["code"]) == (404, "model_not_found")
    assert "absent" in error["message"]


def test_line_02_malformed_json_names_the_position_and_keeps_the_connection(
    server: Server, echo: str
) -> None:
    broken = b'{"model": "echo", "messages": [}'
    with server.raw() as client:
        reply = client.request("POST", CHAT, broken)
        error = check_error(reply.status, reply.headers, reply.json())
        assert (reply.status, error["code"]) == (400, "invalid_json")
        assert re.search(r"\d+", error["message"]), error["message"]
        again = client.request("POST", CHAT, json.dumps(chat_body(echo)).encode())
        assert again.status == 200, again.body


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe{}", b'{"model": NaN}', b'"text"', b"null", b'{"a":1}{"b":2}']
)
def test_line_02_what_is_not_one_json_object_is_400(server: Server, echo: str, body: bytes) -> None:
    with server.raw() as client:
        reply = client.request("POST", CHAT, body)
        assert reply.status == 400, reply.body
        check_error(reply.status, reply.headers, reply.json())
        assert client.request("GET", "/healthz").status == 200


def test_line_03_unknown_route_is_404(server: Server) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert server.http.request(method, "/v1/unknown").status_code == 404


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("GET", CHAT, "POST"),
        ("DELETE", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PATCH", "/v1/functions/echo", "PUT"),
        ("GET", "/v1/functions/echo/invoke", "POST"),
        ("PUT", "/healthz", "GET"),
    ],
)
def test_line_03_wrong_method_is_405_with_allow(
    server: Server, method: str, path: str, allowed: str
) -> None:
    reply = server.http.request(method, path)
    assert reply.status_code == 405, reply.text
    assert allowed in [name.strip() for name in reply.headers.get("allow", "").split(",")]
    check_error(405, reply.headers, reply.json())


def test_line_03_head_and_options_are_sane(server: Server) -> None:
    with server.raw() as client:
        head = client.request("HEAD", "/healthz")
        assert head.status == 200
        assert (
            client.request("GET", "/healthz").status == 200
        )  # nothing of a body was left on the wire
        options = client.request("OPTIONS", CHAT)
        assert options.status in (200, 204, 405), options.status
        assert "POST" in options.headers.get("allow", "")
        assert client.request("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f",
        "a\0b",
        "x" * 10_240,
        "/etc/passwd",
        "Ünïcödé",
    ],
)
def test_line_07_hostile_model_names(server: Server, name: str) -> None:
    series = server.get("/metrics").text.count("\n")
    reply = server.chat(name)
    assert reply.status_code in (400, 404), reply.text
    check_error(reply.status_code, reply.headers, reply.json())
    assert "root:" not in reply.text
    for path in ("/v1/models/", "/v1/functions/"):
        raw_path = (
            path + name.encode().hex()[:400] if "\0" in name or len(name) > 1000 else path + name
        )
        with server.raw() as client:
            answer = client.request("GET", raw_path.encode("utf-8").decode("latin-1"))
            assert answer.status in (400, 404, 414), (raw_path, answer.status)
    assert server.get("/metrics").text.count("\n") <= series + 40, (
        "hostile names made new metric series"
    )


def test_line_07_encoded_dots_in_the_path(server: Server) -> None:
    for path in (
        "/v1/functions/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/functions/..%2fhealthz",
        "/v1/functions/a%00b",
        "/v1/models/" + "x" * 10_240,
    ):
        with server.raw() as client:
            answer = client.request("GET", path)
            assert answer.status in (400, 404, 414), (path, answer.status)
    assert server.get("/healthz").status_code == 200


def test_line_08_announced_giant_body_is_refused_before_it_is_read(server: Server) -> None:
    with server.raw() as client:
        client.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {100 * BODY_LIMIT}\r\n\r\n".encode()
        )
        reply = client.reply()
        assert reply.status == 413, reply.body
        error = check_error(413, reply.headers, reply.json())
        assert error["code"] == "request_too_large"


def test_line_08_chunked_giant_body_is_cut_off_and_memory_stays_bounded(server: Server) -> None:
    server.get("/healthz")
    before = processes.memory_bytes(server.pid, "VmHWM")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with server.raw() as client:
        client.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent, refused = 0, False
        try:
            while sent < 64 * BODY_LIMIT:
                client.send(piece)
                sent += 0x10000
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            refused = True
        if not refused:
            assert client.reply().status == 413
        assert sent < 64 * BODY_LIMIT, "half a gigabyte of body was taken"
    assert processes.memory_bytes(server.pid, "VmHWM") - before < 6 * BODY_LIMIT
    assert server.get("/healthz").status_code == 200


def test_line_08_chunked_body_just_over_the_limit_gets_413(server: Server) -> None:
    with server.raw() as client:
        client.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: {client.host}\r\nContent-Type: application/json\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        client.send(b"%x\r\n" % (BODY_LIMIT + 1) + b" " * (BODY_LIMIT + 1) + b"\r\n")
        assert client.reply().status == 413


def test_line_09_headers_over_64_kib(server: Server) -> None:
    with server.raw() as client:
        client.send(f"GET /healthz HTTP/1.1\r\nHost: {client.host}\r\n".encode())
        try:
            client.send(b"X-Padding: " + b"a" * 70_000 + b"\r\n\r\n")
            reply = client.reply()
            assert reply.status in (400, 431), reply.status
            check_error(reply.status, reply.headers, reply.json())
        except (BrokenPipeError, ConnectionResetError):
            pytest.fail("the connection was reset before the refusal could be read")
        assert client.closed_by_server()


def test_line_10_slow_header_sender_is_cut_off_and_delays_nobody(server: Server) -> None:
    clients = [server.raw() for _ in range(100)]
    try:
        for client in clients:
            client.send(f"GET /healthz HTTP/1.1\r\nHost: {client.host}\r\nX-Slow: ".encode())
        started = time.monotonic()
        assert server.get("/healthz").status_code == 200
        assert time.monotonic() - started < 1
        assert clients[0].closed_by_server(seconds=20)
    finally:
        for client in clients:
            client.close()


def test_line_11_length_and_transfer_encoding_together(server: Server, echo: str) -> None:
    with server.raw() as client:
        client.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            f"\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()
        )
        assert client.reply().status == 400
        assert client.closed_by_server()


def test_line_12_duplicate_model_keys(server: Server, echo: str) -> None:
    body = b'{"model":"echo","model":"other","messages":[{"role":"user","content":"hi"}]}'
    with server.raw() as client:
        reply = client.request("POST", CHAT, body)
        assert reply.status == 400, reply.body
        assert "model" in reply.json()["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/functions/echo/invoke"])
def test_line_13_deep_nesting(server: Server, echo: str, path: str) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    for body in (
        deep,
        b'{"model":"echo","messages":' + deep + b"}",
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ):
        with server.raw() as client:
            reply = client.request("POST", path, body)
            assert reply.status == 400, (reply.status, reply.body[:300])
    assert server.chat(echo, max_tokens=2).status_code == 200


@pytest.mark.parametrize(
    "field, value, more",
    [
        ("temperature", -0.1, {}),
        ("temperature", 2.1, {}),
        ("temperature", "hot", {}),
        ("top_p", -0.1, {}),
        ("top_p", 1.1, {}),
        ("n", 0, {}),
        ("n", -1, {}),
        ("n", 1000, {}),
        ("n", 1.5, {}),
        ("top_logprobs", 21, {"logprobs": True}),
        ("top_logprobs", -1, {"logprobs": True}),
        ("stop", ["a", "b", "c", "d", "e"], {}),
        ("stop", 7, {}),
        ("max_tokens", -1, {}),
        ("max_completion_tokens", -1, {}),
        ("max_tokens", "many", {}),
        ("presence_penalty", 2.5, {}),
        ("frequency_penalty", -2.5, {}),
        ("messages", "hi", {}),
        ("messages", [], {}),
        ("stream", "yes", {}),
    ],
)
def test_line_14_out_of_range_names_the_param(
    server: Server, echo: str, field: str, value: object, more: dict
) -> None:
    reply = server.post(CHAT, chat_body(echo) | more | {field: value})
    assert reply.status_code == 400, f"{field}={value!r}: {reply.status_code} {reply.text[:300]}"
    error = check_error(400, reply.headers, reply.json())
    assert error["param"] == field, error
    assert field in error["message"]


@pytest.mark.parametrize(
    "field, value",
    [
        ("temperature", 0),
        ("temperature", 2),
        ("top_p", 1),
        ("n", 1),
        ("stop", ["a", "b", "c", "d"]),
        ("stop", None),
        ("presence_penalty", -2),
        ("frequency_penalty", 2),
        ("max_tokens", 1),
        ("temperature", None),
    ],
)
def test_line_14_edges_of_the_range_are_allowed(
    server: Server, echo: str, field: str, value: object
) -> None:
    reply = server.post(CHAT, chat_body(echo) | {field: value})
    assert reply.status_code == 200, reply.text


def test_line_15_prompt_over_context(server: Server, echo: str) -> None:
    reply = server.chat(echo, "word " * 5_000, max_tokens=8)
    error = check_error(reply.status_code, reply.headers, reply.json())
    assert (reply.status_code, error["code"]) == (400, "context_length_exceeded")
    assert "maximum context length" in error["message"]


def test_line_15_five_megabytes_are_refused_in_100_ms(server: Server, echo: str) -> None:
    body = json.dumps(
        chat_body(echo, messages=[{"role": "user", "content": "lorem " * 870_000}])
    ).encode()
    assert len(body) > 5_000_000
    took = []
    for _ in range(5):
        with server.raw() as client:
            started = time.monotonic()
            reply = client.request("POST", CHAT, body)
            took.append(time.monotonic() - started)
        assert reply.status == 400, reply.body[:300]
        assert reply.json()["error"]["code"] == "context_length_exceeded"
    assert min(took) < 0.1, took


@pytest.mark.parametrize(
    "more",
    [
        {"n_discard": -1},
        {"id_slot": 0},
        {"id_slot": 10_000},
        {"lora": [{"id": 99, "scale": 1e9}]},
        {"n_keep": -1},
        {"cache_prompt": False, "n_predict": 10**9},
        {"samplers": ["nope"]},
        {"grammar": "root ::= ("},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "look"},
                        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
                    ],
                }
            ]
        },
    ],
)
def test_line_16_engine_fields_are_ignored_or_refused(
    server: Server, echo: str, more: dict
) -> None:
    assert server.chat(echo, max_tokens=2).status_code == 200
    replicas = [replica["id"] for replica in server.function(echo)["replica_list"]]
    reply = server.post(CHAT, chat_body(echo) | more)
    assert reply.status_code in (200, 400), reply.text
    assert "root:" not in reply.text
    assert server.chat(echo, max_tokens=2).status_code == 200
    assert [replica["id"] for replica in server.function(echo)["replica_list"]] == replicas, (
        "the replica did not survive the request"
    )
