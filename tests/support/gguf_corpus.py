"""Broken model files, each with one fault, written from the GGUF layout: header, metadata, tensor table, data.

`broken(folder)` writes one file per fault and returns name → path; `whole(folder)` writes the file that they
were derived from, which has no fault in its layout.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

U32, F32, STRING, ARRAY, U64 = 4, 6, 8, 9, 10
ALIGNMENT = 32


def _string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == U32:
        return struct.pack("<I", value)
    if kind == U64:
        return struct.pack("<Q", value)
    if kind == F32:
        return struct.pack("<f", value)
    if kind == STRING:
        return _string(value)
    item, items = value
    return struct.pack("<IQ", item, len(items)) + b"".join(_value(item, x) for x in items)


def _metadata() -> dict[str, tuple[int, Any]]:
    tokens = ["<unk>", "<s>", "</s>", "<0x41>"] + [f"t{i}" for i in range(28)]
    return {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, "tiny"),
        "general.alignment": (U32, ALIGNMENT),
        "llama.block_count": (U32, 1),
        "llama.context_length": (U32, 64),
        "llama.embedding_length": (U32, 32),
        "llama.feed_forward_length": (U32, 64),
        "llama.attention.head_count": (U32, 2),
        "llama.attention.head_count_kv": (U32, 2),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "llama.rope.dimension_count": (U32, 16),
        "llama.vocab_size": (U32, len(tokens)),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.scores": (ARRAY, (F32, [0.0] * len(tokens))),
        "tokenizer.ggml.token_type": (ARRAY, (U32, [2, 3, 3, 6] + [1] * 28)),
        "tokenizer.ggml.bos_token_id": (U32, 1),
        "tokenizer.ggml.eos_token_id": (U32, 2),
    }


_TENSORS = {
    "token_embd.weight": [32, 32],
    "output_norm.weight": [32],
    "output.weight": [32, 32],
    "blk.0.attn_norm.weight": [32],
    "blk.0.attn_q.weight": [32, 32],
    "blk.0.attn_k.weight": [32, 32],
    "blk.0.attn_v.weight": [32, 32],
    "blk.0.attn_output.weight": [32, 32],
    "blk.0.ffn_norm.weight": [32],
    "blk.0.ffn_gate.weight": [32, 64],
    "blk.0.ffn_up.weight": [32, 64],
    "blk.0.ffn_down.weight": [64, 32],
}


def build(
    metadata: dict[str, tuple[int, Any]] | None = None,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    first_dims: list[int] | None = None,
    first_offset: int | None = None,
    first_type: int = 0,
    first_dim_count: int | None = None,
) -> bytes:
    metadata = metadata or _metadata()
    head = magic + struct.pack(
        "<IQQ",
        version,
        len(_TENSORS) if tensor_count is None else tensor_count,
        len(metadata) if key_count is None else key_count,
    )
    for key, (kind, value) in metadata.items():
        head += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    offset, data = 0, b""
    for position, (name, dims) in enumerate(_TENSORS.items()):
        first = position == 0
        elements = 1
        for dim in dims:
            elements *= dim
        shown = first_dims if first and first_dims else dims
        count = first_dim_count if first and first_dim_count is not None else len(shown)
        head += (
            _string(name)
            + struct.pack("<I", count)
            + b"".join(struct.pack("<Q", dim) for dim in shown)
        )
        head += struct.pack(
            "<IQ",
            first_type if first else 0,
            first_offset if first and first_offset is not None else offset,
        )
        block = b"\0" * (elements * 4)
        block += b"\0" * (-len(block) % ALIGNMENT)
        data, offset = data + block, offset + len(block)
    return head + b"\0" * (-len(head) % ALIGNMENT) + data


def _with(**changes: tuple[int, Any]) -> dict[str, tuple[int, Any]]:
    return _metadata() | {key.replace("__", "."): value for key, value in changes.items()}


def whole(folder: Path) -> Path:
    path = folder / "whole.gguf"
    path.write_bytes(build())
    return path


def broken(folder: Path) -> dict[str, Path]:
    good = build()
    bad_token = _metadata()
    tokens = list(bad_token["tokenizer.ggml.tokens"][1][1])
    tokens[3] = "<0xZZ>"
    bad_token["tokenizer.ggml.tokens"] = (ARRAY, (STRING, tokens))
    files = {
        "empty": b"",
        "not_gguf": b"PK\x03\x04" + good[4:],
        "future_version": build(version=99),
        "truncated_header": good[:20],
        "truncated_metadata": good[:200],
        "truncated_data": good[:-4096],
        "giant_key_count": build(key_count=1 << 60),
        "giant_tensor_count": build(tensor_count=1 << 60),
        "giant_string": b"GGUF"
        + struct.pack("<IQQ", 3, 1, 1)
        + struct.pack("<Q", 1 << 62)
        + b"x" * 64,
        "giant_array": build(_with(extra__list=(ARRAY, (U32, [])))).replace(
            b"extra.list" + struct.pack("<IIQ", ARRAY, U32, 0),
            b"extra.list" + struct.pack("<IIQ", ARRAY, U32, 1 << 61),
        ),
        "dimension_overflow": build(first_dims=[1 << 40, 1 << 40]),
        "too_many_dimensions": build(first_dim_count=1000),
        "offset_past_end": build(first_offset=1 << 40),
        "offset_unaligned": build(first_offset=1),
        "unknown_tensor_type": build(first_type=9999),
        "block_count_100000": build(_with(llama__block_count=(U32, 100_000))),
        "head_count_zero": build(_with(llama__attention__head_count=(U32, 0))),
        "alignment_zero": build(_with(general__alignment=(U32, 0))),
        "alignment_three": build(_with(general__alignment=(U32, 3))),
        "bad_byte_token": build(bad_token),
        "no_architecture": build(
            {k: v for k, v in _metadata().items() if k != "general.architecture"}
        ),
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / f"{name}.gguf"
        paths[name].write_bytes(data)
    return paths
