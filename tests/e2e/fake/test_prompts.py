"""What is remembered of prompts: primes, copies that outlive a replica, and that nobody else sees any of it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from support.disks import fill, small_disk
from support.leaks import nothing_left
from support.load import at_once
from support.server import Server, fake, wait_until

LONG = " ".join(f"fact{i}" for i in range(600))


def ask(server: Server, text: str, *, system: str = "", **fields) -> dict:
    messages = [{"role": "system", "content": system}] if system else []
    answer = server.post(
        "/v1/chat/completions",
        {
            "model": "chat",
            "messages": messages + [{"role": "user", "content": text}],
            "max_tokens": 4,
        }
        | fields,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def cached(answer: dict) -> int:
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def to_zero(server: Server) -> None:
    server.post("/v1/functions/chat/stop")
    wait_until(lambda: server.function("chat")["replicas"] == 0, 10, "no replica")


def kept(server: Server) -> list[Path]:
    return sorted((server.data_dir / "prompts" / "states").glob("*.state"))


def wait_kept(server: Server, count: int) -> list[Path]:
    return wait_until(lambda: len(kept(server)) == count and kept(server), 10, f"{count} prompts kept")


def primed(server: Server) -> bool:
    template = server.function("chat").get("template") or {}
    return template.get("primes", 0) > 0 and template.get("state") == "ready"


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def bare(tmp_path):
    """A server without spares, so that nothing comes and goes by itself."""
    with Server("--spares", "0", folder=tmp_path) as running:
        yield running


@pytest.mark.parametrize("template", ["on", "off"])
def test_conversation_after_zero_goes_on_where_it_was(server: Server, template: str) -> None:
    server.deploy(fake("chat", template=template))
    assert cached(ask(server, LONG)) == 0
    to_zero(server)
    wait_kept(server, 1)
    again = ask(server, LONG + " and now?")
    assert cached(again) >= 0.95 * again["usage"]["prompt_tokens"]


@pytest.mark.parametrize("stream", [True, False])
def test_restored_prompt_is_a_phase_of_its_own(server: Server, stream: bool) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, LONG)
    to_zero(server)
    wait_kept(server, 1)
    timings = [server.chat("chat", LONG, stream=stream).headers["server-timing"] for _ in range(2)]
    assert "restore;dur=" in timings[0]
    assert "restore" not in timings[1]


def test_another_question_after_a_shared_beginning_finds_it(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, "first question", system=LONG)
    to_zero(server)
    wait_kept(server, 1)
    other = ask(server, "something else entirely", system=LONG)
    assert cached(other) == 600


def learned(server: Server) -> int:
    return (server.function("chat").get("template") or {}).get("learned", 0)


def test_beginning_that_prompts_share_is_learned_for_their_domain_alone(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    for question in ("one", "two", "three"):
        ask(server, question, system=LONG)
    to_zero(server)
    wait_kept(server, 1)  # in the slot of the last one
    ask(server, "four", system=LONG)
    wait_until(lambda: learned(server) == 1, 10, "a template with what they share")
    to_zero(server)
    reply = server.post(
        "/v1/chat/completions",
        {
            "model": "chat",
            "messages": [
                {"role": "system", "content": LONG},
                {"role": "user", "content": "something else"},
            ],
            "max_tokens": 4,
        },
    )
    assert cached(reply.json()) == 600
    assert reply.headers["x-glowplug-start-tier"] == "template"
    assert "restore" not in reply.headers["server-timing"], "it is there from the fork on"
    assert cached(ask(server, "five", system=LONG, cache_salt="blue")) == 0
    assert "prompts of one cache domain" in str(server.decisions("chat"))


def test_prompts_not_to_be_stored_teach_nothing(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    for question in ("one", "two", "three"):
        ask(server, question, system=LONG, store=False)
    to_zero(server)
    ask(server, "four", system=LONG, store=False)
    to_zero(server)
    assert cached(ask(server, "five", system=LONG, store=False)) == 0
    assert learned(server) == 0


def test_kill_of_the_server_loses_nothing_that_was_kept(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, LONG)
    to_zero(server)
    wait_kept(server, 1)
    server.kill()
    server.start()
    assert cached(ask(server, LONG + " and now?")) == 600


def test_idle_replica_is_copied_before_it_stops(server: Server) -> None:
    server.deploy(fake("chat"))
    ask(server, LONG)
    wait_kept(server, 1)  # after 5 s; the replica is still there
    assert server.function("chat")["replicas"] == 1
    server.kill()
    server.start()
    assert cached(ask(server, LONG + " and now?")) == 600


def test_ten_conversations_on_four_slots_all_find_theirs(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    prompts = [" ".join(f"talk{talk}word{i}" for i in range(300)) for talk in range(10)]
    for first in range(0, 10, 4):
        for prompt in prompts[first : first + 4]:
            ask(server, prompt)
        to_zero(server)
        wait_kept(server, min(10, first + 4))
    assert [cached(ask(server, prompt + " next")) for prompt in prompts] == [300] * 10


def test_ten_conversations_without_a_pause_on_four_slots_all_find_theirs(server: Server) -> None:
    # Copies for a slot's sake take a twentieth of the time at most: of calls of 1 s all are made, in 50 ms each.
    server.deploy(fake("chat", template="on", tokens_per_second=4))
    prompts = [" ".join(f"talk{talk}word{i}" for i in range(300)) for talk in range(10)]
    for prompt in prompts:
        ask(server, prompt)
    # Copies of what was overwritten come back while the replica serves on.
    wait_kept(server, 6)
    assert cached(ask(server, prompts[0] + " next")) == 300
    to_zero(server)
    wait_kept(server, 10)
    assert [cached(ask(server, prompt + " next")) for prompt in prompts[1:]] == [300] * 9


def test_cache_salt_keeps_callers_apart(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, LONG, cache_salt="red")
    for salt in ({}, {"cache_salt": "blue"}):
        assert cached(ask(server, LONG, **salt)) == 0
    assert cached(ask(server, LONG, cache_salt="red")) == 599  # the last token is computed again
    to_zero(server)
    wait_kept(server, 3)
    fresh = ask(server, LONG + " green", cache_salt="green")
    assert cached(fresh) == 0
    assert cached(ask(server, LONG + " red", cache_salt="red")) == 600


def test_shared_function_has_one_memory_for_everybody(server: Server) -> None:
    server.deploy(fake("chat", share="function"))
    ask(server, LONG, cache_salt="red")
    assert cached(ask(server, LONG, cache_salt="blue")) == 599
    assert "share" in server.log()


def test_prompt_that_is_not_to_be_stored_leaves_no_copy(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, LONG, store=False)
    to_zero(server)
    assert kept(server) == []
    assert cached(ask(server, LONG)) == 0


def test_short_prompt_leaves_no_copy(server: Server) -> None:
    server.deploy(fake("chat"))
    ask(server, "hello there")
    to_zero(server)
    assert kept(server) == []


def test_files_show_no_word_of_a_prompt_and_no_salt(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, LONG, cache_salt="pepper-and-salt")
    to_zero(server)
    wait_kept(server, 1)
    for file in server.data_dir.joinpath("prompts").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"fact" not in content and b"pepper" not in content, file
    assert os.stat(server.data_dir / "prompts" / "master.key").st_mode & 0o777 == 0o600


def flip_in_header(state: Path) -> None:
    flip(state, 40)


def flip_in_contents(state: Path) -> None:
    flip(state, -40)


def cut_short(state: Path) -> None:
    os.truncate(state, state.stat().st_size // 2)


def flip(state: Path, at: int) -> None:
    content = bytearray(state.read_bytes())
    content[at] ^= 1
    state.write_bytes(content)


def refused_copies(server: Server) -> float:
    counts = re.findall(
        r"^glowplug_prompt_copies_refused_total(?:{.*})? (\S+)$", server.get("/metrics").text, re.M
    )
    assert counts, "it is not counted"
    return sum(map(float, counts))


@pytest.mark.parametrize("damage", [flip_in_header, flip_in_contents, cut_short])
def test_copy_damaged_while_no_server_ran_is_named_counted_and_computed_again(
    bare: Server, damage
) -> None:
    """A running server has the copy in its memory too, and would not read the file."""
    bare.deploy(fake("chat", template="on"))
    ask(bare, LONG)
    to_zero(bare)
    [state] = wait_kept(bare, 1)
    bare.terminate()
    assert bare.wait_exit() == 0
    damage(state)
    before = len(bare.log())
    bare.start()
    with nothing_left(bare):
        assert cached(ask(bare, LONG + " now")) == 0
        bare.remove("chat")
        wait_until(lambda: not bare.template_pids(), 5, "nothing runs")
    named = [line for line in bare.log()[before:].splitlines() if state.stem in line]
    assert any(
        re.search(rf"prompt={state.stem} is (damaged|refused)[^:]*: .*\w", line) for line in named
    ), named
    assert refused_copies(bare) == 1
    assert not state.exists()


def test_copy_of_another_context_does_not_fit(server: Server) -> None:
    server.deploy(fake("chat", template="on"))
    ask(server, LONG)
    to_zero(server)
    wait_kept(server, 1)
    server.deploy(fake("chat", template="on", context=4096))
    assert cached(ask(server, LONG + " now")) == 0


def test_folder_that_cannot_be_written_keeps_nothing_and_answers(bare: Server) -> None:
    bare.deploy(fake("chat", template="on"))
    ask(bare, "hello")
    to_zero(bare)
    states = bare.data_dir / "prompts" / "states"
    states.rmdir()
    states.write_text("in the way")
    with nothing_left(bare):
        ask(bare, LONG)
        to_zero(bare)
        wait_until(lambda: "is not kept" in bare.log(), 10, "a word about it")
        assert ask(bare, LONG)["usage"]["prompt_tokens"] == 600
        to_zero(bare)


@pytest.mark.parametrize("what,left", [("key", 0), ("states", 0), ("states", 16384)])
def test_full_disk_keeps_nothing_answers_and_keeps_again_once_there_is_room(
    tmp_path: Path, what: str, left: int
) -> None:
    """It fills before the tenant has a key, before the state has a byte, and within the state."""
    words = 12_000  # of four bytes each when they are kept
    prompt = " ".join(f"item{i}" for i in range(words))
    server = Server("--spares", "0", folder=tmp_path)
    server.data_dir.mkdir()
    # A disk of its own: on a full one the state file gives way, and what it leaves would be room for prompts.
    with small_disk(server.data_dir / "prompts", 4 << 20) as disk, server:
        server.deploy(fake("chat", template="on", tokens_per_second=50, context=16384))
        ask(server, "hello" if what == "key" else LONG)
        to_zero(server)
        before = wait_kept(server, 1) if what == "states" else []
        with nothing_left(server):
            fill(disk / "ballast", left=left)
            with server.stream("chat", prompt, max_tokens=10) as reply:
                lines = reply.iter_lines()
                next(lines)
                server.post("/v1/functions/chat/stop")
                assert [line for line in lines if line][-1] == "data: [DONE]"
            lost = rf"replica=\d+ a prompt is not kept: .*prompts/{what}.*No space left on device"
            wait_until(lambda: re.search(lost, server.log()), 10, "a word about it")
            assert "item" not in server.log()
            assert kept(server) == before
            assert ask(server, prompt)["usage"]["prompt_tokens"] == words
            to_zero(server)
        assert server.get("/readyz").status_code == 200
        (disk / "ballast").unlink()
        ask(server, prompt)
        to_zero(server)
        wait_kept(server, len(before) + 1)
        assert cached(ask(server, prompt + " now")) == words


def test_without_a_prompt_cache_nothing_is_written() -> None:
    with Server("--prompt-cache", "off") as server:
        server.deploy(fake("chat", template="on"))
        ask(server, LONG)
        to_zero(server)
        assert not (server.data_dir / "prompts").exists()
        assert cached(ask(server, LONG)) == 0


def test_primed_prompt_is_there_for_four_first_calls_at_once(server: Server) -> None:
    server.deploy(fake("chat", template="on", prime=[LONG]))
    ask(server, "hello", system=LONG)
    wait_until(lambda: primed(server), 10, "a primed template")
    to_zero(server)
    answers = at_once(4, lambda i: ask(server, f"question {i}", system=LONG))
    assert [cached(answer) for answer in answers] == [600] * 4


def test_prime_is_shared_by_callers_who_share_nothing_else(server: Server) -> None:
    server.deploy(fake("chat", template="on", prime=[LONG]))
    ask(server, "hello", system=LONG)
    wait_until(lambda: primed(server), 10, "a primed template")
    assert cached(ask(server, "mine", system=LONG, cache_salt="red")) == 600
    assert cached(ask(server, "mine", system=LONG, cache_salt="blue")) == 600


def test_more_primes_than_slots_are_all_found(server: Server) -> None:
    primes = [" ".join(f"prime{p}word{i}" for i in range(100)) for p in range(6)]
    server.deploy(fake("chat", template="on", prime=primes))
    ask(server, "hello")
    wait_until(lambda: primed(server), 10, "a primed template")
    to_zero(server)
    assert [cached(ask(server, "x", system=prime)) for prime in primes] == [100] * 6


def test_prime_longer_than_the_context_is_said_and_calls_are_answered(bare: Server) -> None:
    ready = lambda: (bare.function("chat").get("template") or {}).get("state") == "ready"  # noqa: E731
    bare.deploy(fake("chat", template="on", context=512))
    assert ask(bare, "hello")["usage"]["prompt_tokens"] == 1
    to_zero(bare)
    assert ready()
    with nothing_left(bare):
        bare.deploy(fake("chat", template="on", context=512, prime=[LONG]))
        assert ask(bare, "hello")["usage"]["prompt_tokens"] == 1
        reason = wait_until(lambda: bare.function("chat")["reason"], 10, "a reason")
        assert "600 tokens" in reason and "512" in reason
        to_zero(bare)
        assert ask(bare, "hello")["usage"]["prompt_tokens"] == 1
        to_zero(bare)
    assert ready()


def test_killed_primed_template_leaves_its_replicas_and_comes_back(server: Server) -> None:
    server.deploy(fake("chat", template="on", prime=[LONG]))
    ask(server, "hello", system=LONG)
    wait_until(lambda: primed(server), 10, "a primed template")
    to_zero(server)
    ask(server, "hello", system=LONG)
    os.kill(server.pid_of(server.function("chat")["template"]["id"]), signal.SIGKILL)
    assert cached(ask(server, "more", system=LONG)) == 600
    to_zero(server)
    assert ask(server, "hello", system=LONG)["usage"]["prompt_tokens"] == 601


@pytest.mark.parametrize("salt", ["", 5, "s" * 257])
def test_salt_that_is_none_is_refused(server: Server, salt) -> None:
    server.deploy(fake("chat"))
    answer = server.post(
        "/v1/chat/completions",
        {
            "model": "chat",
            "messages": [{"role": "user", "content": "x"}],
            "cache_salt": salt,
        },
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "cache_salt"
