"""Two tenants at once, with planted secrets, while replicas go to zero and the server is killed: no answer, no count of
cached tokens and no file gives one what is the other's.

Both ask about the same documents, each in an order of its own: who asks about one for the first time finds none of it
computed, whatever the other has.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator

import httpx
import pytest
from support.server import Server, llama, wait_until

PRIME = " ".join(f"Rule {i}: be kind." for i in range(30))  # some 230 tokens
DOCUMENTS = [  # some 270 tokens each
    " ".join(f"{plant} number {i} grows in row {i % 7}." for i in range(26)) for plant in ("Oak", "Fern")
]
SHORTER = 400  # of a document, in characters: what follows the prime
DECLARED, LEARNED = "declared", "learned"  # functions: one has PRIME in its manifest, one finds out what prompts share
LEARNED_AFTER = 3  # prompts of one beginning
SAME_TOKENS = 48  # that any two prompts may have in common: the chat template with what it says of itself
DOCUMENT_TOKENS = 256


class Tenant:
    def __init__(self, order: list[str]) -> None:
        self.salt, self.secret = secrets.token_hex(12), f"{100_000 + secrets.randbelow(900_000)}"
        self.order = order
        self.planted = " ".join([self.secret] * 3)  # so in prompts
        self.answers: list[dict] = []
        self.crossed: list[str] = []
        self._asked: set[tuple[str, str]] = set()

    def calls(self, rounds: range) -> Iterator[tuple[str, str, int]]:
        for number in rounds:
            for document in self.order:
                for function in (DECLARED, LEARNED):
                    yield function, document, number

    def body(self, function: str, document: str, number: int) -> dict:
        opening = [{"role": "system", "content": PRIME}] if function == DECLARED else []
        shown = document[:SHORTER] if function == DECLARED else document
        text = f'{shown} Question {number}. Say this again: "{self.planted}"'
        return {
            "model": function,
            "messages": [*opening, {"role": "user", "content": text}],
            "max_tokens": 12,
            "temperature": 0,
            "cache_salt": self.salt,
        }

    def take(self, function: str, document: str, answer: dict, primed: int) -> None:
        """Keeps an answer, and what it has of the other's."""
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        first = (function, document) not in self._asked
        self._asked.add((function, document))
        text = answer["choices"][0]["message"]["content"]
        self.answers.append({"function": function, "first": first, "cached": cached, "text": text})
        most = (primed if function == DECLARED else 0) + SAME_TOKENS
        if first and cached > most:
            self.crossed.append(f"{cached} tokens cached of a prompt of {function} that it never sent")


@pytest.fixture
def tenants() -> list[Tenant]:
    return [Tenant(DOCUMENTS), Tenant(DOCUMENTS[::-1])]


def call(server: Server, body: dict) -> httpx.Response:
    return httpx.post(server.url + "/v1/chat/completions", json=body, timeout=100)


class Mixed:
    """Both tenants' calls at once; a call that the killed server has cut is made again."""

    def __init__(self, server: Server, tenants: list[Tenant], primed: int) -> None:
        self.server, self.tenants, self.primed = server, tenants, primed
        self.up = threading.Event()
        self.up.set()

    def answered(self) -> int:
        return sum(len(tenant.answers) for tenant in self.tenants)

    def run(self, tenant: Tenant, rounds: range) -> None:
        for function, document, number in tenant.calls(rounds):
            answer = self.ask(tenant.body(function, document, number))
            tenant.take(function, document, answer, self.primed)

    def ask(self, body: dict) -> dict:
        for _ in range(5):
            assert self.up.wait(60)
            try:
                reply = call(self.server, body)
            except httpx.TransportError:
                continue
            assert reply.status_code == 200, reply.text
            return reply.json()
        raise AssertionError("cut five times")

    def while_they_ask(self, rounds: range, *events: Callable[[], None]) -> None:
        """The events, spread over the calls."""
        before = self.answered()
        total = sum(len(list(tenant.calls(rounds))) for tenant in self.tenants)
        with ThreadPoolExecutor(len(self.tenants)) as pool:
            runs = [pool.submit(self.run, tenant, rounds) for tenant in self.tenants]
            for i, event in enumerate(events):
                due = before + total * (i + 1) // (len(events) + 1)
                wait_until(lambda: self.answered() >= due or any(run.done() for run in runs), 200, "more answers")
                event()
            for run in runs:
                run.result()

    def to_zero(self) -> None:
        for function in (DECLARED, LEARNED):
            self.server.post(f"/v1/functions/{function}/stop")

    def kill(self) -> None:
        self.up.clear()
        self.server.kill()
        self.server.start()
        self.up.set()


def files_with(server: Server, words: list[str]) -> list[Path]:
    found = []
    for base in (server.folder, server.run_dir):
        for path in base.rglob("*"):
            try:
                held = path.read_bytes() if path.is_file() else b""
            except OSError:
                continue  # gone meanwhile
            if any(word.encode() in held for word in words):
                found.append(path)
    return found


def template(server: Server, function: str) -> dict:
    return server.function(function).get("template") or {}


def at_rest(server: Server) -> None:
    """No replica, and what they held is on the disk."""
    for function in (DECLARED, LEARNED):
        server.post(f"/v1/functions/{function}/stop")
        wait_until(lambda: server.function(function)["replicas"] == 0, 20, "no replica")


def serve(server: Server, model: str, **more) -> int:
    """Both functions, and how many tokens of the declared prime a stranger finds."""
    for name, primes in ((DECLARED, {"prime": [PRIME]}), (LEARNED, {})):
        server.deploy(llama(name, model, slots=2, scale={"max": 2}, resources={"threads": 1}, **primes, **more))
    hello = Tenant([]).body(DECLARED, "Hello.", 0)
    assert call(server, hello).status_code == 200
    wait_until(lambda: template(server, DECLARED).get("primes"), 120, "a primed template")
    server.post(f"/v1/functions/{DECLARED}/stop")
    wait_until(lambda: server.function(DECLARED)["replicas"] == 0, 20, "no replica")
    greeted = call(server, hello | {"cache_salt": "a stranger"}).json()
    return greeted["usage"]["prompt_tokens_details"]["cached_tokens"]


def assert_nothing_crossed(tenants: list[Tenant]) -> None:
    for own in tenants:
        assert own.crossed == []
        foreign = [word for other in tenants if other is not own for word in (other.secret, other.salt)]
        assert not [one["text"] for one in own.answers if any(word in one["text"] for word in foreign)]


@pytest.mark.timeout(400)
def test_line_71_no_secret_and_no_cached_token_crosses_under_mixed_load(model, tenants, tmp_path) -> None:
    with Server("--spares", "0", folder=tmp_path) as server:
        primed = serve(server, model)
        assert primed > 150, "the declared prime is shared by all"
        mixed = Mixed(server, tenants, primed)
        mixed.while_they_ask(range(LEARNED_AFTER), mixed.to_zero, mixed.kill, mixed.to_zero)
        at_rest(server)
        wait_until(lambda: template(server, LEARNED).get("learned"), 120, "a template of one tenant's document")
        mixed.tenants.append(Tenant(DOCUMENTS))  # who has sent nothing yet
        mixed.while_they_ask(range(LEARNED_AFTER, LEARNED_AFTER + 1), mixed.to_zero)

        assert_nothing_crossed(tenants)
        answers = [one for tenant in tenants for one in tenant.answers]
        assert any(tenant.secret in one["text"] for tenant in tenants for one in tenant.answers), (
            "the model says what it was told, else nothing is looked at"
        )
        again = [one["cached"] for one in answers if one["function"] == LEARNED and not one["first"]]
        assert max(again) >= DOCUMENT_TOKENS, "each finds its own"

        at_rest(server)
        assert list(server.data_dir.glob("prompts/states/*.state")), "copies were kept"
        words = [word for tenant in tenants for word in (tenant.planted, tenant.salt)]
        assert files_with(server, words + [document[:60] for document in DOCUMENTS]) == []
