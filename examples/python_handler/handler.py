"""A handler as a process function: glowplug starts this program on the first call and stops it when idle.

It listens on the port it is given, says it is ready at GET /health, and answers POST /invoke with what handler()
returns. The text comes from another function, asked over OpenAI's interface at GLOWPLUG_URL. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = os.environ.get("MODEL", "smollm2")
TIMEOUT_SECONDS = 120


def complete(prompt: str, max_tokens: int) -> dict:
    """One chat completion of the function named by MODEL."""
    request = urllib.request.Request(
        os.environ["GLOWPLUG_URL"] + "/v1/chat/completions",
        data=json.dumps(
            {
                "model": MODEL,
                "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": prompt}],
            }
        ).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Bearer " + os.environ.get("GLOWPLUG_API_KEY", "none"),
        },
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
        return json.load(reply)


def handler(event: dict) -> dict:
    """The function itself: takes {"body": …}, an object or JSON in a string, and answers in the same form."""
    body = event.get("body")
    as_text = isinstance(body, str)
    try:
        asked = json.loads(body) if as_text else body
        prompt, max_tokens = asked["prompt"], int(asked.get("max_tokens", 256))
    except (TypeError, KeyError, ValueError):
        return {"statusCode": 400, "body": {"error": "body must hold `prompt`"}}
    try:
        answer = complete(prompt, max_tokens)
    except urllib.error.HTTPError as error:
        return {"statusCode": error.code, "body": {"error": error.read().decode(errors="replace")}}
    except OSError as error:
        return {"statusCode": 502, "body": {"error": f"{os.environ['GLOWPLUG_URL']}: {error}"}}
    result = {
        "text": answer["choices"][0]["message"]["content"],
        "model": answer["model"],
        "usage": answer["usage"],
    }
    return {"statusCode": 200, "body": json.dumps(result) if as_text else result}


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(
            200 if self.path == "/health" else 404,
            {"status": "ok" if self.path == "/health" else "not found"},
        )

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/invoke":
            self.answer(404, {"error": f"no route {self.path}"})
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            self.answer(400, {"statusCode": 400, "body": {"error": str(error)}})
            return
        self.answer(200, handler(event if isinstance(event, dict) else {}))

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Requests are glowplug's to log."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Door).serve_forever()


if __name__ == "__main__":
    main()
