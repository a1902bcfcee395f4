"""Server-sent events as OpenAI's and Anthropic's streams use them."""

from __future__ import annotations

import json
from typing import Any, Iterable

DONE = "[DONE]"


def events(text: str | bytes) -> list[tuple[str, str]]:
    """(event name, data) of each event; comments are dropped."""
    if isinstance(text, bytes):
        text = text.decode()
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        name, data = "", []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
        if data:
            found.append((name, "\n".join(data)))
    return found


def chunks(text: str | bytes) -> list[dict[str, Any]]:
    """The JSON chunks of an OpenAI stream, [DONE] left out."""
    return [json.loads(data) for _, data in events(text) if data != DONE]


def text_of(items: Iterable[dict[str, Any]], index: int = 0) -> str:
    """The content of one choice, from chat or plain completion chunks."""
    pieces = []
    for chunk in items:
        for choice in chunk.get("choices", []):
            if choice["index"] == index:
                pieces.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
    return "".join(pieces)
