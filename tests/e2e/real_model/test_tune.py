"""`glowplug tune` and the engine settings on SmolLM2."""

from __future__ import annotations

import json

import pytest
from support.server import Server, llama

# About a minute on two idle cores, mostly the one tune; several on busy ones.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def tuned(server: Server, model: str, smol: str) -> dict:
    """One tune, as the command line gives it; the server is idle by then."""
    server.cli("stop", smol)
    name = server.deploy(llama("tuned", model))
    server.wait_state(name, "cold", seconds=60)
    done = server.cli("tune", name, "--json", seconds=300)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_trials_have_figures_and_one_is_chosen(tuned: dict) -> None:
    own = [trial for trial in tuned["trials"] if "file_type" not in trial]
    for trial in own:
        figures = trial["figures"]
        assert figures["prefill"]["low"] <= figures["prefill"]["median"] <= figures["prefill"]["high"]
        assert figures["decode"]["median"] > 0 and figures["load_ms"] > 0
        assert figures["private_bytes"] > 1e6
    packed = {trial["figures"]["repacked"] for trial in own}
    assert packed == {True, False}, "repacking on and off were tried"
    plain, halved = (
        min(t["figures"]["private_bytes"] for t in own if t["settings"]["kv"] == kv)
        for kv in ("auto", "q8_0")
    )
    assert halved < plain, "a quantised cache takes less"


def test_a_file_of_another_type_is_measured_on_a_stand_in(tuned: dict) -> None:
    others = {trial["file_type"]: trial for trial in tuned["trials"] if "file_type" in trial}
    assert set(others) == {"q4_0", "q8_0"}
    for trial in others.values():
        assert trial["figures"]["prefill"]["median"] > 0, trial


@pytest.mark.parametrize(
    "tuning", [{"kv": "q8_0"}, {"repack": "off", "batch": 128}, {"kv": "f16", "repack": "on"}]
)
def test_each_setting_answers(server: Server, model: str, tuning: dict) -> None:
    name = server.deploy(llama("settings", model, tuning=tuning, context=4096))
    reply = server.chat(name, max_tokens=8)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"].strip()
    server.remove(name)
