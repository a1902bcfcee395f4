"""Jobs as a client sees them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from .server import Server

OVER = ("completed", "failed", "cancelled", "expired")


def prompt(text: str = "Say something.", tokens: int = 4) -> dict[str, Any]:
    return {"prompt": text, "max_tokens": tokens}


def send(server: Server, function: str, request: dict[str, Any] | None = None, **more: Any) -> str:
    """POST /v1/jobs; the job's id."""
    reply = server.post("/v1/jobs", {"function": function, "request": request or prompt()} | more)
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def invoke_event(server: Server, function: str, tokens: int = 4, **headers: str) -> httpx.Response:
    return server.post(
        f"/v1/functions/{function}/invoke",
        {"body": prompt(tokens=tokens)},
        headers={"X-Invocation-Type": "Event"} | headers,
    )


def look(server: Server, job: str, wait: int = 0) -> dict[str, Any]:
    reply = server.get(f"/v1/jobs/{job}" + (f"?wait={wait}" if wait else ""))
    assert reply.status_code == 200, reply.text
    return reply.json()


def over(server: Server, job: str, seconds: float = 30) -> dict[str, Any]:
    """The job once it is over."""
    until = time.monotonic() + seconds
    while (seen := look(server, job, wait=5))["status"] not in OVER:
        assert time.monotonic() < until, seen
    return seen


def all_jobs(server: Server, **query: Any) -> list[dict[str, Any]]:
    """Every page of the list, the newest first."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = server.get("/v1/jobs", params={"limit": 100} | query | after).json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}
