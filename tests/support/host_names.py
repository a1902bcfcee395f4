"""Names of hosts for one server, led elsewhere at will while it runs.

A small library is preloaded into the server (host_names.c), so that neither the machine's own names nor a resolver are
touched, and a change is there at the next question.
"""

from __future__ import annotations

from pathlib import Path

from .preload import built, preloaded


class HostNames:
    def __init__(self, folder: Path) -> None:
        self._library, self._file = built("host_names", folder), folder / "host_names"
        self._names: dict[str, str] = {}
        self._write()

    @property
    def env(self) -> dict[str, str]:
        return preloaded(self._library, HOST_NAMES=self._file)

    def lead(self, name: str, address: str) -> None:
        self._names[name] = address
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text("".join(f"{name} {address}\n" for name, address in self._names.items()))
        new.replace(self._file)
