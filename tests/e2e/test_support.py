"""What tests and benches lean on, where it could let a failure pass."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import leaks, processes  # noqa: E402
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


class Keeper:
    """A process that keeps so many bytes with each round."""

    SOURCE = "kept = []\nwhile line := input():\n kept.append(b'x' * int(line))\n print(flush=True)"

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("\n", timeout=10)

    @property
    def pid(self) -> int:
        return self._process.pid

    def keep(self, count: int) -> None:
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


def test_process_that_lives_on_and_one_that_has_ended():
    with Keeper() as keeper, pytest.raises(AssertionError, match="has not ended within 0.05 s"):
        processes.seconds_until_end(keeper.pid, 0.05)
    assert processes.seconds_until_end(keeper.pid, 0.05) == (0.0, 0.0)


def test_bytes_that_are_reserved_for_nobody_are_found():
    metrics = "\n".join(f'{leaks.RESERVED}{{kind="{kind}"}} {of}' for kind, of in (("replica", 30), ("template", 70)))
    accelerator, cpu = {"type": "T4", "reserved_bytes": 500}, {"type": "CPU", "reserved_bytes": 100}
    assert leaks.reserved_for_nobody([accelerator, cpu], metrics) == 0
    assert leaks.reserved_for_nobody([accelerator, cpu | {"reserved_bytes": 116}], metrics) == 16


def test_memory_that_grows_with_every_round_is_found():
    with Keeper() as keeper, pytest.raises(AssertionError, match="bytes more after 20 rounds"):
        leaks.stays_within(keeper.pid, lambda: keeper.keep(64 << 10), warm_up=5, rounds=20, grows_by=1 << 20)


def test_memory_that_is_taken_once_is_none_that_grows():
    sizes = iter([8 << 20])
    with Keeper() as keeper:
        leaks.stays_within(keeper.pid, lambda: keeper.keep(next(sizes, 1)), warm_up=5, rounds=20, grows_by=1 << 20)
