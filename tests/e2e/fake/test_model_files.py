"""Contract line 61: broken model files are refused with a reason, and the engine never sees them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from support import gguf_corpus
from support.server import Server, llama

FOLDER = tempfile.TemporaryDirectory(prefix="glowplug-gguf-")
BROKEN = gguf_corpus.broken(Path(FOLDER.name))


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_line_61_broken_file_is_refused(server: Server, echo: str, fault: str) -> None:
    name = "broken-" + fault.replace("_", "-")
    before = set(server.replica_pids())
    reply = server.put(llama(name, BROKEN[fault]))
    if reply.status_code < 300:
        call = server.chat(name, max_tokens=1)
        assert 400 <= call.status_code < 600 and call.status_code != 404, call.text
        reason = server.wait_state(name, "failed", 5)["reason"]
    else:
        assert reply.status_code in (400, 422), reply.text
        reason = reply.json()["error"]["message"]
    assert len(reason) > 10, reason
    assert not any(decision["decision"] == "start" for decision in server.decisions(name)), (
        "the engine was started"
    )
    assert set(server.replica_pids()) <= before
    assert server.chat(echo, max_tokens=1).status_code == 200
    server.remove(name)
    print(f"{fault}: {reason}")
