"""Stands in for vLLM and SGLang: their sleep routes and chat, no model. Standard library only.

It holds no device memory; it keeps count of what would be there (weights, cache) and refuses what the real ones
refuse: a chat while asleep, a chat on weights that were dropped and not read again, the vLLM routes without development
mode and --enable-sleep-mode, the SGLang ones without --enable-memory-saver. SGLang ends itself when asked to release
memory under a running request, as the real one does. What a route of vLLM starts
is over --delay seconds after its answer; SGLang answers then.

--log names a file that gets a line for each request and for each end of a transition. Faults: sleep500, wake500, never
(is never asleep), hang (no answer to a wake), dies (exits once asleep), dies_waking.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WEIGHTS, CACHE = "weights", "kv_cache"


class Engine:
    """What is in device memory, and what is on its way there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.there = {WEIGHTS, CACHE}
        self.dropped = False  # level 2: the weights are not what they were
        self.stale_prefixes = False
        self.running = 0

    def note(self, line: str) -> None:
        with self.lock, open(self.options.log, "a") as log:
            log.write(line + "\n")

    def asleep(self) -> bool:
        return len(self.there) < 2

    def later(self, what: str, change) -> threading.Thread:
        def work() -> None:
            time.sleep(self.options.delay)
            with self.lock:
                change()
            self.note(f"{what} pid={os.getpid()}")
            if self.options.fault == "dies" and what == "asleep":
                os._exit(3)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def fall(self, drops: bool) -> threading.Thread | None:
        def change() -> None:
            self.there.clear()
            self.dropped |= drops
            self.stale_prefixes |= drops

        return None if self.options.fault == "never" else self.later("asleep", change)

    def wake(self, tags: set[str]) -> threading.Thread:
        if self.options.fault == "dies_waking":
            os._exit(4)
        return self.later("awake " + "+".join(sorted(tags)), lambda: self.there.update(tags))

    def why_not(self) -> str:
        """Why a chat cannot be answered; empty when it can."""
        if self.asleep():
            return "asleep"
        if self.dropped:
            return "the weights were dropped and not read again"
        return "prefixes of a dropped cache" if self.stale_prefixes else ""


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def do_GET(self) -> None:
        self.route("GET", b"")

    def do_POST(self) -> None:
        self.route("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def route(self, method: str, body: bytes) -> None:
        parts = urlsplit(self.path)
        self.tags = set(parse_qs(parts.query).get("tags", []))
        self.query, self.body = parse_qs(parts.query), body
        if parts.path != "/health":
            self.engine.note(f"{method} {self.path}")
        known = {
            "GET /health": lambda: self.answer(200, {}),
            "POST /v1/chat/completions": self.chat,
        } | (self.vllm() if self.engine.options.kind == "vllm" else self.sglang())
        known.get(f"{method} {parts.path}", lambda: self.answer(404, {"detail": "Not Found"}))()

    # vLLM ---------------------------------------------------------------------------------------------------------

    def vllm(self) -> dict:
        options = self.engine.options
        if os.environ.get("VLLM_SERVER_DEV_MODE") != "1" or not options.enable_sleep_mode:
            return {}
        return {
            "POST /sleep": self.vllm_sleep,
            "POST /wake_up": self.vllm_wake,
            "GET /is_sleeping": lambda: self.answer(200, {"is_sleeping": self.engine.asleep()}),
            "POST /collective_rpc": self.vllm_reload,
            "POST /reset_prefix_cache": self.vllm_forget,
        }

    def vllm_sleep(self) -> None:
        if self.engine.options.fault == "sleep500":
            return self.answer(500, {"error": "no room for the weights"})
        self.engine.fall(drops=self.query["level"] == ["2"])
        return self.answer(200, None)

    def vllm_wake(self) -> None:
        if self.engine.options.fault == "wake500":
            return self.answer(500, {"error": "CUDA out of memory"})
        if self.engine.options.fault == "hang":
            threading.Event().wait()
        self.engine.wake(self.tags or {WEIGHTS, CACHE})
        return self.answer(200, None)

    def vllm_reload(self) -> None:
        if json.loads(self.body) != {"method": "reload_weights"}:
            return self.answer(400, {"error": "unknown method"})
        # Calls to the engine are queued behind the wake that was asked for before.
        deadline = time.monotonic() + 5
        while WEIGHTS not in self.engine.there and time.monotonic() < deadline:
            time.sleep(0.005)
        if WEIGHTS not in self.engine.there:
            return self.answer(500, {"error": "no memory for the weights"})
        self.engine.dropped = False
        return self.answer(200, {"results": [None]})

    def vllm_forget(self) -> None:
        self.engine.stale_prefixes = False
        self.answer(200, None)

    # SGLang -------------------------------------------------------------------------------------------------------

    def sglang(self) -> dict:
        if not self.engine.options.enable_memory_saver:
            return {}
        return {
            "POST /release_memory_occupation": self.sglang_release,
            "POST /resume_memory_occupation": self.sglang_resume,
            "GET /health_generate": self.sglang_health,
        }

    def sglang_release(self) -> None:
        json.loads(self.body)  # an object, may be empty; without one it is a 422 there
        if self.engine.running:
            os._exit(5)
        if self.engine.options.fault == "sleep500":
            return self.answer(500, {"error": {"message": "cannot release"}})
        # SGLang answers once its scheduler has done it; vLLM may answer before.
        if falling := self.engine.fall(drops=not self.engine.options.enable_weights_cpu_backup):
            falling.join()
        return self.answer(200, None)

    def sglang_resume(self) -> None:
        json.loads(self.body)
        if self.engine.options.fault == "wake500":
            return self.answer(400, {"error": {"message": "cannot resume"}})
        self.engine.wake({WEIGHTS, CACHE}).join()
        return self.answer(200, None)

    def sglang_health(self) -> None:
        self.answer(503 if self.engine.asleep() else 200, None)

    # Chat ---------------------------------------------------------------------------------------------------------

    def chat(self) -> None:
        asked = json.loads(self.body)
        if why := self.engine.why_not():
            return self.answer(503, {"error": {"message": why, "type": "server_error"}})
        with self.engine.lock:
            self.engine.running += 1
        try:
            self.stream(asked) if asked.get("stream") else self.answer(200, self.completion("hello"))
        finally:
            with self.engine.lock:
                self.engine.running -= 1
        return None

    def completion(self, text: str) -> dict:
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "stand-in",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def stream(self, asked: dict) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(asked.get("max_tokens", 3)):
            if why := self.engine.why_not():
                raise RuntimeError(why)  # slept under: the stream breaks off
            delta = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
            self.event(delta)
            time.sleep(self.engine.options.token_seconds)
        self.event({"index": 0, "delta": {}, "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, choice: dict) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "stand-in"}
        self.wfile.write(f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n".encode())
        self.wfile.flush()

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """--log has what the tests look at."""


class Listener(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=["vllm", "sglang"], required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--token-seconds", type=float, default=0.01)
    parser.add_argument("--fault", default="")
    parser.add_argument("--enable-sleep-mode", action="store_true")
    parser.add_argument("--enable-memory-saver", action="store_true")
    parser.add_argument("--enable-weights-cpu-backup", action="store_true")
    options = parser.parse_args()
    Door.engine = Engine(options)
    Door.engine.note(f"start pid={os.getpid()}")
    Listener(("127.0.0.1", options.port), Door).serve_forever()


if __name__ == "__main__":
    main()
