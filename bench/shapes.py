#!/usr/bin/env python3
"""Writes model files of a given size with random weights: the shapes of Llama models of 1, 4 and 8 billion parameters.

They load, map and compute like the real ones and answer nonsense, so what depends on size alone can be measured where
no such model can be had. The vocabulary is that of a GGUF that holds nothing else, as llama.cpp's sources have them.
Tensors are written one after the other: memory holds one at a time. A file that is there already is kept.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy
from common import mb, report
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.constants import GGML_QUANT_SIZES
from support.server import cache_dir

ARCHITECTURE = "llama"
VOCABULARIES = {"llama-bpe": "ggml-vocab-llama-bpe.gguf", "llama-spm": "ggml-vocab-llama-spm.gguf"}
FILE_TYPES = {
    Type.Q8_0: LlamaFileType.MOSTLY_Q8_0,
    Type.Q4_0: LlamaFileType.MOSTLY_Q4_0,
    Type.F32: LlamaFileType.ALL_F32,
}
PATTERN_BLOCKS = 65_537  # random blocks that a tensor repeats; a prime, so that no two rows of it are alike
SEED = 4569


class Shape(NamedTuple):
    layers: int
    width: int
    inner: int  # of the feed-forward part
    heads: int
    key_value_heads: int
    head: int = 128
    tied: bool = False  # the output is the embedding
    context: int = 131_072
    vocabulary: str = "llama-bpe"


SHAPES = {
    "tiny": Shape(2, 64, 192, 4, 2, head=16, context=2048, vocabulary="llama-spm"),  # for tests
    "1B": Shape(16, 2048, 8192, 32, 8, head=64, tied=True),  # Llama 3.2 1B
    "4B": Shape(32, 3072, 9216, 32, 8),  # Llama 3.1 Minitron 4B, width-pruned
    "8B": Shape(32, 4096, 14336, 32, 8),  # Llama 3.1 8B
}


def vocabulary_file(name: str) -> Path:
    for file in sorted((cache_dir() / "engine").glob(f"source-*/models/{VOCABULARIES[name]}")):
        return file
    raise SystemExit(f"no {VOCABULARIES[name]} in the engine's sources; fetch them with: cmake/engine.sh")


def tensors(shape: Shape, tokens: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and dimensions, rows first, as numpy has them; of one dimension: kept as floats."""
    queries, keys = shape.heads * shape.head, shape.key_value_heads * shape.head
    yield "token_embd.weight", (tokens, shape.width)
    for layer in range(shape.layers):
        for name, size in (
            ("attn_norm", (shape.width,)),
            ("attn_q", (queries, shape.width)),
            ("attn_k", (keys, shape.width)),
            ("attn_v", (keys, shape.width)),
            ("attn_output", (shape.width, queries)),
            ("ffn_norm", (shape.width,)),
            ("ffn_gate", (shape.inner, shape.width)),
            ("ffn_up", (shape.inner, shape.width)),
            ("ffn_down", (shape.width, shape.inner)),
        ):
            yield f"blk.{layer}.{name}.weight", size
    yield "output_norm.weight", (shape.width,)
    if not shape.tied:
        yield "output.weight", (tokens, shape.width)


def random_weights(size: tuple[int, ...], kind: Type, chance: numpy.random.Generator) -> numpy.ndarray:
    """Blocks of one scale and random values; the scale keeps a row's product with a normed vector near one, so that no
    layer grows beyond what a float holds."""
    if len(size) == 1:
        return numpy.ones(size, numpy.float32)
    if kind == Type.F32:
        return chance.standard_normal(size, numpy.float32) / numpy.float32(math.sqrt(size[1]))
    values, block = GGML_QUANT_SIZES[kind]
    of_a_value = {Type.Q8_0: 74.0, Type.Q4_0: 4.6}[kind]  # standard deviation of evenly drawn values, unscaled
    scale = numpy.float16(1 / (of_a_value * math.sqrt(size[1])))
    pattern = chance.integers(0, 256, (PATTERN_BLOCKS, block), numpy.uint8)
    pattern[:, :2] = numpy.frombuffer(scale.tobytes(), numpy.uint8)
    count = size[0] * size[1] // values
    return numpy.resize(pattern, (count, block)).reshape(size[0], -1)


def copy_vocabulary(reader: GGUFReader, writer: GGUFWriter, first: int | None = None) -> None:
    """All of it, or its first tokens."""
    for field in reader.fields.values():
        if not field.name.startswith("tokenizer."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        value = field.contents(slice(first)) if inner is not None else field.contents()
        writer.add_key_value(field.name, value, kind, inner)


def describe(writer: GGUFWriter, name: str, shape: Shape, kind: Type, tokens: int) -> None:
    writer.add_name(f"random weights, shape {name}")
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(tokens)


def write(name: str, file: Path, kind: Type, vocabulary: Path | None = None) -> Path:
    """The file appears under its name once it is whole."""
    if file.exists():
        return file
    shape, chance = SHAPES[name], numpy.random.default_rng(SEED)
    reader = GGUFReader(vocabulary or vocabulary_file(shape.vocabulary))
    tokens = len(reader.fields["tokenizer.ggml.tokens"].data)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    writer = GGUFWriter(partial, ARCHITECTURE)
    describe(writer, name, shape, kind, tokens)
    copy_vocabulary(reader, writer)
    values, block = GGML_QUANT_SIZES[kind]
    for tensor, size in tensors(shape, tokens):
        if len(size) == 1:
            writer.add_tensor_info(tensor, size, numpy.dtype(numpy.float32), size[0] * 4)
        else:
            stored = (size[0], size[1] // values * block)
            writer.add_tensor_info(tensor, stored, numpy.dtype(numpy.uint8), math.prod(stored), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, size in tensors(shape, tokens):
        writer.write_tensor_data(random_weights(size, kind, chance))
    writer.close()
    return partial.rename(file)


def shape_file(name: str, kind: str = "Q4_0", folder: Path | None = None) -> Path:
    """The file of a shape, in the cache folder unless another is named; written when it is missing."""
    return write(name, (folder or cache_dir() / "bench") / f"shape-{name}-{kind}.gguf", Type[kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=["1B", "4B", "8B"], metavar="|".join(SHAPES))
    parser.add_argument("--type", default="Q4_0", choices=[kind.name for kind in FILE_TYPES])
    parser.add_argument("--folder", type=Path, help="default: bench in the cache folder")
    options = parser.parse_args()
    written: dict[str, Any] = {}
    for name in options.shapes:
        file = shape_file(name, options.type, options.folder)
        written[name] = {"file": str(file), "bytes": file.stat().st_size}
    line = "; ".join(f"{name}: {mb(row['bytes'])}, {row['file']}" for name, row in written.items())
    report("shapes", line, {"type": options.type, "shapes": written})


if __name__ == "__main__":
    main()
