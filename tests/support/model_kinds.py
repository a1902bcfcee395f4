"""Tiny models with random weights that remember a prompt in different ways: all of it, in windows that slide, in states
that every token changes, or in a cache and such states.

An answer hangs on all of the prompt: a head looks at few tokens, wherever they are, and a state forgets slowly. Whoever
restores less than all of it, or something else, is told from whoever computes.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Callable, Iterator

import numpy
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import shapes  # noqa: E402

TOKENS = 512  # the vocabulary's first
PIECES = range(259, TOKENS)  # what is before them are special tokens and single bytes, which no answer holds
WINDOW = 64  # of the sliding kind, in tokens
SHAPE = shapes.SHAPES["tiny"]._replace(layers=4, tied=True)
INNER, STATE, KERNEL, RANK = 2 * SHAPE.width, 16, 4, 4  # of a state-space layer
SEED = 4569

Tensors = Iterator[tuple[str, tuple[int, ...]]]


@functools.cache
def _vocabulary() -> GGUFReader:
    return GGUFReader(shapes.vocabulary_file(SHAPE.vocabulary))


def _describe(writer: GGUFWriter, shape: shapes.Shape) -> None:
    shapes.describe(writer, writer.arch, shape, Type.F32, TOKENS)


def _llama(writer: GGUFWriter, heads: int = 0, head: int = 0) -> Tensors:
    """Everything. Many wide heads make a cache that is large beside what it takes to compute."""
    shape = SHAPE._replace(heads=heads, key_value_heads=heads, head=head) if heads else SHAPE
    _describe(writer, shape)
    yield from shapes.tensors(shape, TOKENS)


def _gemma3(writer: GGUFWriter, window: int = WINDOW, head: int = SHAPE.head) -> Tensors:
    """Every second layer sees a window, the others everything."""
    shape = SHAPE._replace(head=head)
    _describe(writer, shape)
    writer.add_sliding_window(window)
    writer.add_sliding_window_pattern(2)
    yield from shapes.tensors(shape, TOKENS)
    for layer in range(shape.layers):
        for name, size in (
            ("attn_q_norm", shape.head),
            ("attn_k_norm", shape.head),
            ("post_attention_norm", shape.width),
            ("post_ffw_norm", shape.width),
        ):
            yield f"blk.{layer}.{name}.weight", (size,)


def _lfm2(writer: GGUFWriter) -> Tensors:
    """Every second layer is a short convolution with a state, the others attention."""
    heads = [0, SHAPE.key_value_heads] * (SHAPE.layers // 2)
    _describe(writer, SHAPE._replace(key_value_heads=heads))
    writer.add_shortconv_l_cache(KERNEL)
    for name, size in shapes.tensors(SHAPE, TOKENS):
        block, _, part = name.removeprefix("blk.").partition(".")
        of_attention = part.startswith("attn_") and part != "attn_norm.weight"
        if not of_attention or heads[int(block)] > 0:
            yield name.replace("output_norm", "token_embd_norm"), size
    for layer in range(SHAPE.layers):
        if heads[layer] == 0:
            yield f"blk.{layer}.shortconv.conv.weight", (SHAPE.width, KERNEL)
            yield f"blk.{layer}.shortconv.in_proj.weight", (3 * SHAPE.width, SHAPE.width)
            yield f"blk.{layer}.shortconv.out_proj.weight", (SHAPE.width, SHAPE.width)
        else:
            yield f"blk.{layer}.attn_q_norm.weight", (SHAPE.head,)
            yield f"blk.{layer}.attn_k_norm.weight", (SHAPE.head,)


def _mamba(writer: GGUFWriter, heads: int = 1) -> Tensors:
    """States only; converters write that there are 0 heads."""
    _describe(writer, SHAPE._replace(heads=heads, key_value_heads=heads))
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    yield "token_embd.weight", (TOKENS, SHAPE.width)
    for layer in range(SHAPE.layers):
        for name, size in (
            ("attn_norm.weight", (SHAPE.width,)),
            ("ssm_in.weight", (2 * INNER, SHAPE.width)),
            ("ssm_conv1d.weight", (INNER, KERNEL)),
            ("ssm_conv1d.bias", (INNER,)),
            ("ssm_x.weight", (RANK + 2 * STATE, INNER)),
            ("ssm_dt.weight", (INNER, RANK)),
            ("ssm_dt.bias", (INNER,)),
            ("ssm_a", (INNER, STATE)),
            ("ssm_d", (INNER,)),
            ("ssm_out.weight", (SHAPE.width, INNER)),
        ):
            yield f"blk.{layer}.{name}", size
    yield "output_norm.weight", (SHAPE.width,)


KINDS: dict[str, Callable[..., Tensors]] = {"llama": _llama, "gemma3": _gemma3, "lfm2": _lfm2, "mamba": _mamba}


def _weights(name: str, size: tuple[int, ...], chance: numpy.random.Generator) -> numpy.ndarray:
    if name.endswith("ssm_a"):
        values = chance.uniform(-0.05, -0.001, size)  # how fast a state forgets
    elif name.endswith((".attn_q_norm.weight", ".attn_k_norm.weight")):
        values = numpy.full(size, 2.0)  # a head looks at few tokens
    elif name.endswith(".bias"):
        values = numpy.zeros(size)
    else:
        values = shapes.random_weights(size, Type.F32, chance)
    if name == "token_embd.weight":  # which is the output too
        values[: PIECES.start] = 0
    return values.astype(numpy.float32)


def write(kind: str, folder: Path, **more) -> Path:
    """A file of this kind; `more` is what its function above takes, for files that differ in nothing else."""
    file = folder / f"{'-'.join([kind, *map(str, more.values())])}.gguf"
    writer, chance = GGUFWriter(file, kind), numpy.random.default_rng(SEED)
    tensors = list(KINDS[kind](writer, **more))
    shapes.copy_vocabulary(_vocabulary(), writer, TOKENS)
    for name, size in tensors:
        writer.add_tensor(name, _weights(name, size, chance))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
