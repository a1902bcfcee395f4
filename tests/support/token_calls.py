"""Calls whose prompts are lists of tokens, so that one can go on exactly where another's answer ended."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from .model_kinds import PIECES
from .server import Server

ROUNDING = 0.01  # between the same logarithms of chances, computed in steps of other lengths


def tokens(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(PIECES, k=count)


class Answer(NamedTuple):
    tokens: list[int]
    chances: list[float]  # logarithms
    margin: float  # by which the closest of its choices was made
    cached: int  # tokens of the prompt

    @property
    def is_sure(self) -> bool:
        """No choice of it hangs on rounding."""
        return self.margin > 5 * ROUNDING

    def assert_is(self, other: Answer) -> None:
        """Whatever was cached: token for token, and each as likely."""
        assert self.tokens == other.tokens
        assert self.chances == pytest.approx(other.chances, abs=ROUNDING)


def ask(server: Server, name: str, prompt: list[int], **fields) -> Answer:
    body = {"model": name, "prompt": prompt, "max_tokens": 8, "temperature": 0, "logprobs": 2, "ignore_eos": True}
    reply = server.post("/v1/completions", body | fields)
    assert reply.status_code == 200, reply.text
    usage, shown = reply.json()["usage"], reply.json()["choices"][0]["logprobs"]["content"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(prompt), len(shown))
    best = [[other["logprob"] for other in one["top_logprobs"]] for one in shown]
    return Answer(
        tokens=[one["id"] for one in shown],
        chances=[one["logprob"] for one in shown],
        margin=min(first - second for first, second in best),
        cached=usage["prompt_tokens_details"]["cached_tokens"],
    )
