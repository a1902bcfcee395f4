"""A disk of a few kilobytes, and how it is filled: what a full one does to a server cannot be shown on a large one."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """`folder`, made and mounted as a file system of `size` bytes; skips where this machine mounts none."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this machine mounts no tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path, *, left: int = 0) -> None:
    """Writes into `file` until the disk has no more than `left` bytes."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(b"\0" * 4096)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        out.truncate(out.tell() - left)
