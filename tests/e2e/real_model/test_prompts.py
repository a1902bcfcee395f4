"""Prompts that outlive their replica, with the real engine."""

from __future__ import annotations

from support.server import Server, llama, wait_until

SYSTEM = " ".join(f"Rule {i}: be brief." for i in range(230))  # some 1,500 tokens


def ask(server: Server, messages: list[dict], **fields) -> dict:
    answer = server.post(
        "/v1/chat/completions",
        {"model": "chat", "messages": messages, "max_tokens": 4, "temperature": 0} | fields,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def cached_share(answer: dict) -> float:
    usage = answer["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"] / usage["prompt_tokens"]


def to_zero(server: Server, kept: int) -> None:
    server.post("/v1/functions/chat/stop")
    wait_until(lambda: server.function("chat")["replicas"] == 0, 20, "no replica")
    states = server.data_dir / "prompts" / "states"
    wait_until(lambda: len(list(states.glob("*.state"))) == kept, 20, f"{kept} prompts kept")


def test_long_conversation_goes_on_after_zero_and_after_a_kill(model) -> None:
    with Server() as server:
        server.deploy(llama("chat", model))
        talk = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hello?"}]
        first = ask(server, talk)
        assert first["usage"]["prompt_tokens"] > 1400
        to_zero(server, 1)
        talk += [first["choices"][0]["message"], {"role": "user", "content": "And now?"}]
        assert cached_share(ask(server, talk)) >= 0.95
        to_zero(server, 1)
        server.kill()
        server.start()
        talk += [{"role": "user", "content": "Still there?"}]
        assert cached_share(ask(server, talk)) >= 0.95
