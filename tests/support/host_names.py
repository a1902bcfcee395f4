"""Names of hosts for one server, led elsewhere at will while it runs.

A small library is preloaded into the server (host_names.c), so that neither the machine's own names nor a resolver are
touched, and a change is there at the next question.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("host_names.c")


class HostNames:
    def __init__(self, folder: Path) -> None:
        self._library, self._file = folder / "host_names.so", folder / "host_names"
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE, "-ldl"], check=True)
        self._names: dict[str, str] = {}
        self._write()

    @property
    def env(self) -> dict[str, str]:
        """For Server(env=…)."""
        sanitizer = os.environ.get("ASAN_OPTIONS", "")  # it wants to be the first library otherwise
        return {
            "LD_PRELOAD": str(self._library),
            "HOST_NAMES": str(self._file),
            "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0",
        }

    def lead(self, name: str, address: str) -> None:
        self._names[name] = address
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text("".join(f"{name} {address}\n" for name, address in self._names.items()))
        new.replace(self._file)
