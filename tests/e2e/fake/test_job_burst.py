"""Two thousand calls at once on a function at zero, handed over to be answered later: all are accepted and answered."""

from __future__ import annotations

import time

from support.counts import SumWatch, look
from support.job_callers import Line, Reply, hand_over, read_all, usage_rows
from support.job_history import History
from support.load import at_once
from support.server import Server, fake

CALLS, CALLERS = 2000, 50


def test_burst_on_a_cold_function_drains_without_a_refusal() -> None:
    history = History()
    with Server("--spares", "0") as server:
        server.deploy(fake("burst", load_time="300ms", tokens_per_second=2000, slots=8, scale={"max": 2}))
        lines = [Line(server.url, seconds=60) for _ in range(CALLERS)]

        def send(caller: int) -> list[Reply | None]:
            replies = []
            for number in range(caller, CALLS, CALLERS):
                body = {"body": {"prompt": f"call-{number}. of many", "max_tokens": 2}}
                replies.append(hand_over(lines[caller], history, f"call-{number}.", "burst", body))
            return replies

        with SumWatch(server):  # of jobs, too: what came is queued, runs, or is over
            began = time.monotonic()
            statuses = [reply and reply.status for some in at_once(CALLERS, send) for reply in some]
            accepted = time.monotonic() - began
            assert statuses == [202] * CALLS
            read_all(server.url, history, 60)
        assert look(server).jobs["ended"] == CALLS
        assert history.ended() == {"completed": CALLS}, history.ended()
        wrong = history.violations() + list(history.billed_wrong(usage_rows(server.url, history)))
        assert not wrong, "\n".join(wrong[:20])
        print(f"accepted in {accepted:.2f} s, all over after {time.monotonic() - began:.2f} s")
