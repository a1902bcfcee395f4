"""Twenty kills of the server, its replicas and both while clients hand over jobs; tests/chaos/kill_jobs.py has more."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.kill_jobs import campaign


@pytest.mark.parametrize("seed", [1])
def test_every_job_ends_once_whatever_is_killed(tmp_path: Path, seed: int) -> None:
    outcome = campaign(tmp_path, kills=20, seed=seed)
    print(outcome.words())
    assert not outcome.violations, "\n".join(outcome.violations[:20])
    assert len(outcome.history.calls) > 100, outcome.words()
    assert outcome.history.ended()["completed"] > 0, outcome.words()
