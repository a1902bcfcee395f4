"""cmake/fetch_sdist.py against a package index on this machine: what it accepts, what it refuses, what it says."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "cmake/fetch_sdist.py"
BODY = b"not really an archive " * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()
FILE = "some_pkg-1.2.tar.gz"
JSON = "application/vnd.pypi.simple.v1+json"


class Index:
    """Answers from `pages` (path → list of (status, headers, body), the last one again and again)."""

    def __init__(self) -> None:
        self.pages: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[tuple[str, str | None]] = []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                index.asked.append((self.path, self.headers["Authorization"]))
                turns = index.pages.get(self.path, [(404, {}, b"")])
                status, headers, body = turns.pop(0) if len(turns) > 1 else turns[0]
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def page(self, body: str, content_type: str) -> None:
        self.pages["/simple/some-pkg/"] = [(200, {"Content-Type": content_type}, body.encode())]

    def json(self, *urls: str) -> None:
        self.page(json.dumps({"files": [{"filename": "x", "url": url} for url in urls]}), JSON)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def index() -> Iterator[Index]:
    running = Index()
    running.pages["/files/" + FILE] = [(200, {}, BODY)]
    yield running
    running.close()


def fetch(
    index: Index, folder: Path, sha256: str = DIGEST, account: str = "", **more: str
) -> subprocess.CompletedProcess:
    settings = {
        "PIP_INDEX_URL": f"http://{account}{index.address}/simple/",
        "PIP_CONFIG_FILE": os.devnull,
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, str(PROGRAM), "Some.Pkg==1.2", sha256, str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, env=settings | more, timeout=60
    )


def test_json_index_gives_the_archive_and_progress(index: Index, tmp_path: Path) -> None:
    index.json("../../files/some_pkg-1.1.tar.gz", "../../files/" + FILE + "#sha256=0")
    done = fetch(index, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == BODY
    assert "100 %" in done.stderr


def test_html_index_and_redirect_give_the_archive(index: Index, tmp_path: Path) -> None:
    index.page(f'<a href="../../moved/{FILE}#sha256=0">x</a>', "text/html; charset=utf-8")
    index.pages["/moved/" + FILE] = [(302, {"Location": "/files/" + FILE}, b"")]
    done = fetch(index, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == BODY


def test_account_of_the_index_goes_in_a_header_and_in_no_message(
    index: Index, tmp_path: Path
) -> None:
    index.json("../../files/" + FILE)
    done = fetch(index, tmp_path, account="me:secret@")
    assert done.returncode == 0, done.stderr
    assert [header for _, header in index.asked] == ["Basic bWU6c2VjcmV0"] * 2
    assert "secret" not in done.stderr


def test_configuration_file_of_pip_names_the_index(index: Index, tmp_path: Path) -> None:
    index.json("../../files/" + FILE)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = http://{index.address}/simple\n")
    done = fetch(index, tmp_path, PIP_INDEX_URL="", PIP_CONFIG_FILE=str(configuration))
    assert done.returncode == 0, done.stderr


def test_wrong_digest_keeps_nothing(index: Index, tmp_path: Path) -> None:
    index.json("../../files/" + FILE)
    done = fetch(index, tmp_path, sha256="0" * 64)
    assert done.returncode == 1
    assert f"has the SHA-256 {DIGEST}" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_cut_answer_and_busy_server_are_tried_again(index: Index, tmp_path: Path) -> None:
    index.json("../../files/" + FILE)
    cut = (200, {"Content-Length": str(len(BODY) + 9)}, BODY)
    index.pages["/files/" + FILE] = [(503, {}, b""), cut, (200, {}, BODY)]
    done = fetch(index, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"ended after {len(BODY)} of" in done.stderr


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"files": [{"url": "../../files/some_pkg-1.20.tar.gz"}]}', "lists no"),
        ('{"files": [{"url": "file:///etc/some_pkg-1.2.tar.gz"}]}', "neither http nor https"),
        ("{", "Expecting"),
        ("[]", "no index gives"),
    ],
)
def test_useless_page_is_one_clear_line(
    index: Index, tmp_path: Path, body: str, reason: str
) -> None:
    index.page(body, JSON)
    done = fetch(index, tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_package_names_the_status(index: Index, tmp_path: Path) -> None:
    done = fetch(index, tmp_path)
    assert done.returncode == 1
    assert "HTTP 404" in done.stderr and len(done.stderr.splitlines()) == 1
