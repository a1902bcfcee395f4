"""The checks of what clients were told find each broken promise, and nothing where all is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.job_history import History  # noqa: E402


A, B = "job_000000000000000a", "job_000000000000000b"


def result(marker: str, tokens: int = 3) -> dict:
    usage = {"prompt_tokens": 2, "completion_tokens": tokens}
    return {"statusCode": 200, "body": {"text": f"{marker} tok1", "usage": usage}}


def view(job: str, status: str, **more) -> dict:
    return {"id": job, "status": status} | more


def row(tokens: int = 3, **more) -> dict:
    counts = {"prompt": 2, "completion": tokens}
    made = {"request": "req_a", "job": A, "function": "fast", "terminal": "completed", "tokens": counts}
    return made | more


@pytest.fixture
def history() -> History:
    """One job that was told as queued and as completed, twice."""
    made = History()
    made.accepted(A, "call-a.", "fast", "key-a", "req_a")
    made.told(A, view(A, "queued"), asked=0)
    for _ in range(2):
        made.told(A, view(A, "completed", result=result("call-a.")), asked=0)
    return made


def test_kept_promises_are_no_violations(history: History) -> None:
    history.accepted(A, "call-a.", "fast", "key-a", "req_later")  # its key sent again
    assert history.violations() == []
    assert list(history.missing_in([A])) == list(history.billed_wrong({A: [row()]})) == []
    assert history.ended() == {"completed": 1}


def never_ends(history: History) -> list[str]:
    history.accepted(B, "call-b.", "fast", None, "req_b")
    history.told(B, view(B, "in_progress"), asked=0)
    return history.violations()


def never_shown(history: History) -> list[str]:
    history.accepted(B, "call-b.", "fast", None, "req_b")
    return history.violations()


def another_result(history: History) -> list[str]:
    history.told(A, view(A, "completed", result=result("call-a.", tokens=4)), asked=0)
    return history.violations()


def another_end(history: History) -> list[str]:
    history.told(A, view(A, "cancelled"), asked=0)
    return history.violations()


def begins_again(history: History) -> list[str]:
    history.told(A, view(A, "in_progress"), asked=history.calls[A].told[-1].heard + 1)
    return history.violations()


def somebody_elses_result(history: History) -> list[str]:
    history.accepted(B, "call-b.", "fast", None, "req_b")
    history.told(B, view(B, "completed", result=result("call-a.")), asked=0)
    return history.violations()


def completed_with_nothing(history: History) -> list[str]:
    history.accepted(B, "call-b.", "fast", None, "req_b")
    history.told(B, view(B, "completed"), asked=0)
    return history.violations()


def one_key_two_jobs(history: History) -> list[str]:
    history.accepted(B, "call-a.", "fast", "key-a", "req_b")
    history.told(B, view(B, "completed", result=result("call-a.")), asked=0)
    return history.violations()


def one_job_two_calls(history: History) -> list[str]:
    history.accepted(A, "call-b.", "fast", None, "req_b")
    return history.violations()


def another_job_shown(history: History) -> list[str]:
    history.told(A, view(B, "queued"), asked=0)
    return history.violations()


def listed_twice(history: History) -> list[str]:
    return list(history.missing_in([A, A]))


def not_listed(history: History) -> list[str]:
    return list(history.missing_in([B]))


def not_billed(history: History) -> list[str]:
    return list(history.billed_wrong({A: []}))


def billed_twice(history: History) -> list[str]:
    return list(history.billed_wrong({A: [row(), row()]}))


def billed_for_more(history: History) -> list[str]:
    return list(history.billed_wrong({A: [row(4)]}))


def billed_as_another_end(history: History) -> list[str]:
    return list(history.billed_wrong({A: [row(terminal="cancelled")]}))


def billed_without_its_tokens(history: History) -> list[str]:
    return list(history.billed_wrong({A: [row(tokens={})]}))


def billed_for_another_job(history: History) -> list[str]:
    return list(history.billed_wrong({A: [row(job=B)]}))


@pytest.mark.parametrize(
    "broken",
    [
        never_ends,
        never_shown,
        another_result,
        another_end,
        begins_again,
        somebody_elses_result,
        completed_with_nothing,
        one_key_two_jobs,
        one_job_two_calls,
        another_job_shown,
        listed_twice,
        not_listed,
        not_billed,
        billed_twice,
        billed_for_more,
        billed_as_another_end,
        billed_without_its_tokens,
        billed_for_another_job,
    ],
)
def test_a_broken_promise_is_one_violation(history: History, broken) -> None:
    found = broken(history)
    assert len(found) == 1, found


def test_what_was_asked_for_before_an_end_was_told_may_come_late(history: History) -> None:
    """Two connections: the reply that was sent first is heard last."""
    told = history.calls[A].told
    history.told(A, view(A, "in_progress"), asked=told[1].heard - 1)
    assert history.violations() == []
