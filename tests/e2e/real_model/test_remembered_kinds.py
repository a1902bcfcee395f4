"""Prompts that outlive their replica, with models of several kinds of memory: every answer that starts from a copy is
compared with that of a replica that has seen nothing else.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Callable

import pytest
from support import model_kinds
from support.server import Server, llama, wait_until
from support.token_calls import Answer, ask, tokens

NAME = "kept"
BEGINNING, ENDING = tokens(1, 400), 3  # tokens
KINDS = list(model_kinds.KINDS)
# A copy of these cannot be cut: it is of use where a prompt goes on from its end.
UNCUT = ("lfm2", "mamba")
SALTS = map("fresh {}".format, itertools.count())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: model_kinds.write(kind, folder) for kind in KINDS}.__getitem__


@pytest.fixture
def server(tmp_path: Path):
    with Server(folder=tmp_path) as running:
        yield running
        running.kill()  # a stop makes copies, which nobody needs any more


def deploy(server: Server, file: Path, **more) -> None:
    fields = {"context": 1024, "slots": 2, "keep_alive": 0, "scale": {"max": 8}}
    server.deploy(llama(NAME, file, **(fields | more)))


def fresh(server: Server, prompt: list[int]) -> Answer:
    """Of a replica of a cache domain of its own, which has computed nothing yet and leaves no copy."""
    answer = ask(server, NAME, prompt, cache_salt=next(SALTS), store=False)
    assert answer.cached == 0
    return answer


def ended(server: Server, beginning: list[int]) -> tuple[list[int], Answer]:
    """A prompt with this beginning, and what a replica that has seen nothing else surely answers."""
    for seed in range(100):
        prompt = beginning + tokens(seed, ENDING)
        if (answer := fresh(server, prompt)).is_sure:
            return prompt, answer
    raise AssertionError("every answer hangs on rounding")


def of_a_cut_copy(kind: str, shared: int) -> int:
    """Tokens that a prompt has of a copy which it begins like, but for the copy's end."""
    return 0 if kind in UNCUT else shared


def states(server: Server) -> int:
    return len(list((server.data_dir / "prompts" / "states").glob("*.state")))


def to_zero(server: Server, kept: int) -> None:
    wait_until(lambda: server.function(NAME)["replicas"] == 0, 20, "no replica")
    wait_until(lambda: states(server) == kept, 20, f"{kept} prompts kept")


def kill(server: Server) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_that_goes_on_where_the_kept_one_ends(server: Server, file, kind: str) -> None:
    deploy(server, file(kind))
    prompt = BEGINNING
    answer = ask(server, NAME, prompt)
    for before in (lambda _: None, kill):
        kept = len(prompt) + len(answer.tokens) - 1  # nobody has computed what comes after the last one
        prompt, reference = ended(server, prompt + answer.tokens)
        to_zero(server, 1)
        before(server)
        answer = ask(server, NAME, prompt)
        assert answer.cached == kept >= 0.95 * len(prompt)
        answer.assert_is(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_that_parts_from_the_kept_one(server: Server, file, kind: str) -> None:
    deploy(server, file(kind))
    ask(server, NAME, BEGINNING)
    for turn, before in enumerate((lambda _: None, kill)):
        beginning = BEGINNING[: -20 - turn]
        prompt, reference = ended(server, beginning)
        to_zero(server, 1 + turn)
        before(server)
        answer = ask(server, NAME, prompt)
        assert answer.cached == of_a_cut_copy(kind, len(beginning))
        answer.assert_is(reference)


# A cache in rows, one whose V stands in columns, one of blocks.
LAYOUTS = {
    "rows": {"context": 2048},
    "columns": {"context": 4096},
    "blocks": {"context": 2048, "tuning": {"kv": "q8_0"}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_question_after_a_beginning_of_many_windows(server: Server, tmp_path: Path, layout: str) -> None:
    """From zero, and after a kill; then a third one in the slot that was given the copy."""
    deploy(server, model_kinds.write("gemma3", tmp_path, head=32), **LAYOUTS[layout])
    beginning = tokens(220, 1500)
    assert len(beginning) > 20 * model_kinds.WINDOW
    ask(server, NAME, beginning + tokens(221, 30))
    prompts = [ended(server, beginning + tokens(222 + turn, 20)) for turn in range(3)]
    for turn, before in enumerate((lambda _: None, kill, None)):
        if before:
            to_zero(server, 1 + turn)
            before(server)
        prompt, reference = prompts[turn]
        answer = ask(server, NAME, prompt, keep_alive="1m" if turn == 1 else 0)
        assert answer.cached == len(beginning) >= 0.95 * len(prompt)
        answer.assert_is(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_that_parts_from_a_restored_one_in_its_slot(server: Server, file, kind: str) -> None:
    """Which the same replica has gone on with meanwhile."""
    deploy(server, file(kind))
    kept = [*BEGINNING, *ask(server, NAME, BEGINNING).tokens]
    beginning = kept[:-20]
    prompt, reference = ended(server, beginning)
    to_zero(server, 1)
    gone_on = ask(server, NAME, kept + tokens(200, 30), keep_alive="1m")
    assert gone_on.cached == len(kept) - 1
    answer = ask(server, NAME, prompt)
    assert answer.cached == of_a_cut_copy(kind, len(beginning))
    answer.assert_is(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_with_a_learned_beginning_or_with_a_part_of_it(server: Server, file, kind: str) -> None:
    """It is in each slot of a fork from its template, whoever needs all of it or less."""
    deploy(server, file(kind))
    beginning = BEGINNING[:300]
    prompts = [ended(server, beginning), ended(server, beginning[:-20])]
    for turn in range(3):
        ask(server, NAME, beginning + tokens(210 + turn, 20))
        to_zero(server, 1 + turn)
    ask(server, NAME, beginning + tokens(213, 20))
    wait_until(lambda: server.function(NAME)["template"].get("learned"), 20, "a template that has learned")
    for (prompt, reference), cached in zip(prompts, (300, of_a_cut_copy(kind, 280)), strict=True):
        wait_until(lambda: server.function(NAME)["replicas"] == 0, 20, "no replica")
        answer = ask(server, NAME, prompt, store=False)
        assert answer.cached == cached
        answer.assert_is(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_answer_hangs_on_the_whole_prompt(server: Server, file, kind: str) -> None:
    """Otherwise the tests above compare nothing."""
    deploy(server, file(kind))
    prompt, answer = ended(server, BEGINNING)
    answer.assert_is(fresh(server, prompt))
    with pytest.raises(AssertionError):
        answer.assert_is(fresh(server, tokens(201, 100) + prompt[100:]))


def test_answer_hangs_on_the_window(server: Server, file, tmp_path: Path) -> None:
    deploy(server, file("gemma3"))
    prompt, answer = ended(server, BEGINNING)
    server.remove(NAME)  # else the old revision answers until the new one is ready
    deploy(server, model_kinds.write("gemma3", tmp_path, window=2 * model_kinds.WINDOW))
    with pytest.raises(AssertionError):
        answer.assert_is(fresh(server, prompt))


def test_model_without_attention_answers_as_converters_write_it(server: Server, tmp_path: Path) -> None:
    deploy(server, model_kinds.write("mamba", tmp_path, heads=0))
    ask(server, NAME, BEGINNING)


def test_prompt_not_to_be_stored_is_gone_at_zero(server: Server, file) -> None:
    deploy(server, file("llama"))
    secret, other = BEGINNING, tokens(202, len(BEGINNING))
    ask(server, NAME, secret, store=False)
    wait_until(lambda: server.function(NAME)["replicas"] == 0, 20, "no replica")
    assert ask(server, NAME, secret, store=False).cached == 0
    ask(server, NAME, other)
    server.terminate()  # which ends once all that is kept is written
    server.wait_exit()
    assert states(server) == 1
    server.start()
    assert ask(server, NAME, secret).cached == 0
    assert ask(server, NAME, other).cached == len(other) - 1


def test_more_conversations_than_slots_all_go_on_after_zero(server: Server, file) -> None:
    """What two of them overwrite is copied before."""
    deploy(server, file("llama"), slots=4, keep_alive="1m")
    talks = [tokens(seed, 300) for seed in range(300, 306)]
    for talk in talks:
        answer = ask(server, NAME, talk, max_tokens=100)
        assert answer.cached == 0
        talk += answer.tokens
    nexts = [ended(server, talk) for talk in talks]
    server.post(f"/v1/functions/{NAME}/stop")
    to_zero(server, len(talks))
    for talk, (prompt, reference) in zip(talks, nexts, strict=True):
        answer = ask(server, NAME, prompt)
        assert answer.cached == len(talk) - 1
        answer.assert_is(reference)
