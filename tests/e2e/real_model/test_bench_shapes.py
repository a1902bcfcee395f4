"""The model files that the benchmarks make: the built-in engine loads those of bench/shapes.py and answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
import pytest
from support.server import Server, llama

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

import common  # noqa: E402
import shapes  # noqa: E402


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_random_weights_load_and_answer(server: Server, tmp_path: Path, kind: str) -> None:
    file = shapes.shape_file("tiny", kind, tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == [file.name]
    name = server.deploy(llama(f"tiny-{kind.lower().replace('_', '-')}", file, context=512))
    body = {"model": name, "prompt": "once upon a time", "max_tokens": 4, "logprobs": 2, "ignore_eos": True}
    reply = server.post("/v1/completions", body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["completion_tokens"] == 4
    shown = reply.json()["choices"][0]["logprobs"]
    values = [entry["logprob"] for entry in shown["content"]] if "content" in shown else shown["token_logprobs"]
    assert all(-20 < value < 0 for value in values), shown  # numbers, and spread over the vocabulary


def test_file_that_is_there_is_kept(tmp_path: Path) -> None:
    there = tmp_path / "shape-tiny-Q4_0.gguf"
    there.write_bytes(b"kept")
    assert shapes.shape_file("tiny", "Q4_0", tmp_path).read_bytes() == b"kept"


@pytest.mark.parametrize("name, billions", [("1B", 1.2), ("4B", 4.5), ("8B", 8.0)])
def test_shapes_have_the_parameters_that_their_names_say(name: str, billions: float) -> None:
    sizes = [size for _, size in shapes.tensors(shapes.SHAPES[name], tokens=128_256)]
    total = sum(size[0] * (size[1] if len(size) == 2 else 1) for size in sizes)
    assert abs(total / 1e9 - billions) < 0.1, total


def test_copies_differ_in_one_byte_each(tmp_path: Path) -> None:
    model = shapes.shape_file("tiny", "Q4_0", tmp_path)
    whole = numpy.fromfile(model, numpy.uint8)
    for copy in common.named_copies(model, 3, tmp_path):
        (changed,) = numpy.flatnonzero(whole != numpy.fromfile(copy, numpy.uint8))
        assert whole[changed:].tobytes().startswith(b"random weights, shape tiny")


def test_phases_are_read_from_server_timing() -> None:
    answer = common.Answer(0.1, {"usage": {}}, {"server-timing": "queue;dur=0.0, fork;dur=14.7, prefill;dur=9"})
    assert (answer.phase_ms("fork"), answer.phase_ms("load"), answer.cached) == (14.7, None, 0)
