"""A receiver of webhooks that records what comes and answers as it is told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai


class Receiver:
    """Records what comes; `answers` are used up one by one, the last one stays."""

    def __init__(self, *answers: Any, address: str = "127.0.0.1", port: int = 0) -> None:
        self.answers = list(answers) or [200]
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                receiver.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                receiver.give(self, answer)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer((address, port), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://{address}:{self._http.server_port}/hook"

    def give(self, handler: BaseHTTPRequestHandler, answer: Any) -> None:
        if answer == "hang":
            self.released.wait(60)
        elif answer == "vanish":
            handler.close_connection = True
        elif answer == "huge":
            handler.send_response(200)
            handler.send_header("content-length", str(10**9))
            handler.end_headers()
            try:
                for _ in range(1000):
                    handler.wfile.write(b"x" * 10**6)
            except OSError:
                self.answers = ["cut"]
        elif isinstance(answer, tuple):
            handler.send_response(answer[0])
            for name, value in answer[1].items():
                handler.send_header(name, value)
            handler.send_header("content-length", "0")
            handler.end_headers()
        else:
            handler.send_response(answer if isinstance(answer, int) else 200)
            handler.send_header("content-length", "0")
            handler.end_headers()

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


def unwrap(secret: str, seen: tuple[dict[str, str], bytes]) -> Any:
    """What the stock client makes of it; raises where the signature is none of `secret`."""
    return openai.OpenAI(api_key="x").webhooks.unwrap(seen[1], seen[0], secret=secret)
