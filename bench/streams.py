"""Endless answers that run beside something else, and the gaps between their tokens meanwhile. Shared by the
measurements of what a long prompt does to its neighbours."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from common import Answer, answered, post, tcp

STREAMS = 4
TOKENS_OF_AN_ITEM = 3


def message(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


class Stream:
    """One endless answer: the moment of each of its tokens."""

    def __init__(self, url: str, name: str, number: int, tokens: int) -> None:
        self.times: list[float] = []
        self.stopping = False
        self.connection = tcp(url)
        body = {"model": name, "stream": True, "max_tokens": tokens, "temperature": 0.8, "ignore_eos": True}
        body["messages"] = message(f"Story {number}: tell me a very long story about a fox.")
        self.reply = post(self.connection, "/v1/chat/completions", body)
        if self.reply.status != 200:
            raise SystemExit(f"{url}: {self.reply.status} {self.reply.read()[:300]!r}")
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self) -> None:
        try:
            for line in self.reply:
                if line.startswith(b"data: {"):
                    self.times.append(time.perf_counter())
        except (OSError, ValueError):
            if not self.stopping:
                raise

    def stop(self) -> None:
        if not self.thread.is_alive():
            raise SystemExit("a stream ended before it was stopped; give it more tokens")
        self.stopping = True
        self.connection.sock.shutdown(2)
        self.thread.join()
        self.connection.close()


def running_streams(url: str, name: str, tokens: int) -> list[Stream]:
    """Streams that all have had some tokens."""
    streams = [Stream(url, name, number, tokens) for number in range(STREAMS)]
    while any(len(stream.times) < 8 for stream in streams):
        time.sleep(0.005)
    return streams


def long_prompt(name: str, tokens: int, mark: str) -> dict:
    """A call of about so many tokens (with the vocabulary of SmolLM2) that no cache has seen, for one token."""
    words = mark + "".join(f" item {i % 10}" for i in range(tokens // TOKENS_OF_AN_ITEM))
    return {"model": name, "max_tokens": 1, "temperature": 0, "messages": message(words)}


class Beside(NamedTuple):
    """What went on while a long prompt was read."""

    gaps_ms: list[float]  # of the streams, those that overlap the reading
    prompt_tokens: int
    decoded: int  # tokens that the streams got meanwhile
    seconds: float

    @property
    def prompt_rate(self) -> float:
        return self.prompt_tokens / self.seconds


def read_beside(url: str, name: str, prompt: dict, stream_tokens: int) -> Beside:
    streams = running_streams(url, name, stream_tokens)
    began = time.perf_counter()
    answer: Answer = answered(url, prompt)
    ended = began + answer.seconds
    for stream in streams:
        stream.stop()
    pairs = [pair for stream in streams for pair in zip(stream.times, stream.times[1:])]
    return Beside(
        [(after - before) * 1000 for before, after in pairs if began <= after and before <= ended],
        answer.usage["prompt_tokens"],
        sum(began <= moment <= ended for stream in streams for moment in stream.times),
        answer.seconds,
    )
