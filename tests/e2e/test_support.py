"""What tests and benches lean on, where it could let a failure pass."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.load import Highest  # noqa: E402


def test_the_highest_of_what_was_seen():
    values = iter([3, 9, 4])
    with Highest(lambda: next(values, 0)) as most:
        deadline = time.monotonic() + 10
        while most.seen < 9 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert most.seen == 9


def test_a_look_that_fails_fails_the_block():
    def look() -> float:
        raise RuntimeError("nobody answers")

    with pytest.raises(RuntimeError, match="nobody answers"):
        with Highest(look) as most:
            most._thread.join(timeout=10)


def test_what_the_block_raises_is_not_hidden_by_a_look_that_fails():
    def look() -> float:
        raise RuntimeError("nobody answers")

    with pytest.raises(ValueError, match="of the block"):
        with Highest(look) as most:
            most._thread.join(timeout=10)
            raise ValueError("of the block")
