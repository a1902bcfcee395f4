"""Webhook endpoints of a server, by its API."""

from __future__ import annotations

from typing import Any

from .server import Server

BASE = "/v1/webhook-endpoints"


def add(server: Server, url: str, **more: Any) -> dict[str, Any]:
    reply = server.post(BASE, {"url": url} | more)
    assert reply.status_code == 201, reply.text
    return reply.json()


def send(server: Server, endpoint: dict[str, Any]) -> str:
    """A test event; its id."""
    reply = server.post(f"{BASE}/{endpoint['id']}/test")
    assert reply.status_code == 202, reply.text
    return reply.json()["event_id"]
