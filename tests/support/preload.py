"""A small library of this folder, preloaded into one server: what that sees of the machine is set at will."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def built(name: str, folder: Path) -> Path:
    """NAME.c of this folder as a library in `folder`."""
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


def preloaded(library: Path, **settings: Path) -> dict[str, str]:
    """For Server(env=…)."""
    sanitizer = os.environ.get("ASAN_OPTIONS", "")  # it wants to be the first library otherwise
    return {
        "LD_PRELOAD": str(library),
        "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0",
    } | {name: str(value) for name, value in settings.items()}
