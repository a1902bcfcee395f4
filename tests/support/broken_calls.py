"""System calls of a running server that fail, take long or kill it, as strace injects them: what a broken or slow disk,
or an end at the worst moment, does to it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from .server import wait_until

SYNCS = "fsync,fdatasync"
REPLIES = "sendto,sendmsg"
WRITES = "write,pwrite64,writev,pwritev,ftruncate,fallocate"


class Injected:
    """What strace has done so far."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def count(self) -> int:
        """Calls that were tampered with."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return text.count("(INJECTED") + text.count("(DELAYED")


@contextlib.contextmanager
def tampered(pid: int, calls: str, how: str, *, path: Path | None = None) -> Iterator[Injected]:
    """`how` in strace's words: error=EIO:when=3, delay_enter=2000000, signal=SIGKILL:when=5. The count of `when` begins
    here, for each thread by itself. With `path` only calls on that file are meant. The process may end meanwhile."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with tempfile.TemporaryDirectory(prefix="glowplug-strace-") as folder:
        log = Path(folder) / "log"
        command = ["strace", "-f", "-qq", "-o", str(log), "-p", str(pid)]
        command += ["-e", f"trace={calls}", "-e", f"inject={calls}:{how}"]
        command += ["-P", str(path)] if path else []
        with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
            try:
                wait_until(lambda: tracer.poll() is not None or _traced(pid, tracer.pid), 10, f"strace has {pid}")
                if tracer.poll() is not None:
                    pytest.skip(f"strace cannot trace: {tracer.stderr.read()[-200:]!r}")
                yield Injected(log)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    tracer.send_signal(signal.SIGINT)
                tracer.wait(timeout=20)


def _traced(pid: int, by: int) -> bool:
    """All its threads."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if f"TracerPid:\t{by}\n" not in (task / "status").read_text():
                return False
    return True
