"""Prompts that outlive their replica, with the real engine."""

from __future__ import annotations

import concurrent.futures
import re
from pathlib import Path

from support.server import Server, llama, wait_until

SYSTEM = " ".join(f"Rule {i}: be brief." for i in range(190))  # some 1,600 tokens
RULES = SYSTEM[:2500]  # some 700 tokens
CANARY = {"red": "the vault opens with 48151623", "blue": "the safe opens with 42071912"}


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
        assert first["usage"]["prompt_tokens"] >= 1500
        to_zero(server, 1)
        talk += [first["choices"][0]["message"], {"role": "user", "content": "And now?"}]
        assert cached_share(ask(server, talk)) >= 0.95
        to_zero(server, 1)
        server.kill()
        server.start()
        talk += [{"role": "user", "content": "Still there?"}]
        assert cached_share(ask(server, talk)) >= 0.95


def test_conversations_stay_with_the_replica_that_holds_them(model) -> None:
    """Two replicas of one slot, two conversations in turn: each turn computes only what is new."""
    with Server("--cores", "2") as server:
        server.deploy(llama("chat", model, slots=1, scale={"min": 2, "max": 2}, resources={"threads": 1}))
        wait_until(lambda: server.function("chat")["replicas"] == 2, 60, "two replicas")
        talks = [
            [{"role": "system", "content": f"{i} {RULES}"}, {"role": "user", "content": "Hello?"}]
            for i in range(2)
        ]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:  # at once, so that each has its own
            firsts = list(pool.map(lambda talk: ask(server, talk), talks))
        for talk, first in zip(talks, firsts):
            talk += [first["choices"][0]["message"], {"role": "user", "content": "And now?"}]
        shares = [cached_share(ask(server, talk)) for talk in (talks[1], talks[0], talks[0], talks[1])]
        assert min(shares) >= 0.95, shares


def cached(answer: dict) -> int:
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def holds(pid: int, text: str) -> bool:
    """Whether the process has the text anywhere in its memory but for mapped files."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ (\d+)", line)
            if not found or found[3] != "0":
                continue
            begin, end = (int(found[i], 16) for i in (1, 2))
            try:
                memory.seek(begin)
                if text.encode() in memory.read(end - begin):
                    return True
            except OSError:
                continue  # a page of the kernel's
    return False


def test_two_tenants_secrets_never_cross(model) -> None:
    """Planted secrets, a primed prompt, copies of prompts, zero and restarts: each sees the prime and its own."""
    prime = " ".join(f"Rule {i}: be kind." for i in range(60))
    opening = [{"role": "system", "content": prime}]
    secrets = {salt: [*opening, {"role": "user", "content": f"{text}. " * 30}] for salt, text in CANARY.items()}
    with Server() as server:
        server.deploy(llama("chat", model, prime=[prime], scale={"max": 3}))
        ask(server, [*opening, {"role": "user", "content": "Hello?"}])
        wait_until(
            lambda: (server.function("chat").get("template") or {}).get("primes"), 120, "a primed template"
        )
        to_zero(server, 1)
        primed = cached(ask(server, secrets["red"], cache_salt="red"))
        assert primed > 300, "the prime, and no more than it"
        (red,) = server.replica_pids()
        assert cached(ask(server, secrets["blue"], cache_salt="blue")) <= primed
        (blue,) = set(server.replica_pids()) - {red}
        assert holds(red, CANARY["red"]) and holds(blue, CANARY["blue"]), "else nothing is looked at"
        assert not holds(blue, CANARY["red"]) and not holds(red, CANARY["blue"])
        for pid in server.template_pids() + server.spare_pids():
            assert not any(holds(pid, text) for text in CANARY.values())

        to_zero(server, 3)
        for kept in (server.data_dir / "prompts").rglob("*"):
            if kept.is_file():
                assert not any(text.encode() in kept.read_bytes() for text in CANARY.values()), kept
        for stranger in ("before the restart", "after it"):
            assert cached(ask(server, secrets["red"], cache_salt=stranger)) <= primed
            assert cached_share(ask(server, secrets["red"], cache_salt="red")) >= 0.95
            assert cached_share(ask(server, secrets["blue"], cache_salt="blue")) >= 0.95
            server.post("/v1/functions/chat/stop")
            wait_until(lambda: server.function("chat")["replicas"] == 0, 20, "no replica")
            server.kill()
            server.start()


def test_four_calls_at_once_from_zero_all_have_the_prime(model) -> None:
    prime = " ".join(f"Rule {i}: be kind." for i in range(60))
    opening = [{"role": "system", "content": prime}]
    with Server() as server:
        server.deploy(llama("chat", model, prime=[prime], scale={"max": 1}))
        ask(server, [*opening, {"role": "user", "content": "Hello?"}])
        wait_until(
            lambda: (server.function("chat").get("template") or {}).get("primes"), 120, "a primed template"
        )
        to_zero(server, 1)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = pool.map(
                lambda i: ask(server, [*opening, {"role": "user", "content": f"Question {i}?"}]), range(4)
            )
            assert all(cached(answer) > 300 for answer in asked)


def test_beginning_that_prompts_share_is_there_from_the_fork_on(model) -> None:
    with Server() as server:
        server.deploy(llama("chat", model))

        def question(text: str, **fields) -> dict:
            return ask(server, [{"role": "system", "content": RULES}, {"role": "user", "content": text}], **fields)

        for text in ("What is rule one?", "How many rules are there?", "Name the last rule."):
            question(text)
        to_zero(server, 1)
        question("Is there a rule about time?")
        learned = lambda: (server.function("chat").get("template") or {}).get("learned")  # noqa: E731
        wait_until(learned, 60, "a template with what they share")
        to_zero(server, 2)
        asked = [{"role": "system", "content": RULES}, {"role": "user", "content": "Which rule is the longest?"}]
        reply = server.post(
            "/v1/chat/completions", {"model": "chat", "messages": asked, "max_tokens": 4, "temperature": 0}
        )
        assert cached_share(reply.json()) >= 0.95
        assert reply.headers["x-glowplug-start-tier"] == "template"
        assert "restore" not in reply.headers["server-timing"]
        assert cached(question("And the shortest?", cache_salt="blue")) < 100
