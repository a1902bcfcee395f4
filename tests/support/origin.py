"""A web server on this machine that has one model file."""

from __future__ import annotations

import http.server
import threading


class Origin:
    """Serves one model file; each answer waits for `may_answer`."""

    def __init__(self, body: bytes) -> None:
        self.paths: list[str] = []
        self.may_answer = threading.Event()
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                origin.paths.append(self.path)
                origin.may_answer.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # a killed client's connection
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def asked(self) -> int:
        return len(self.paths)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/whole.gguf"

    def close(self) -> None:
        self.may_answer.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
