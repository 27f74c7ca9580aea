"""GGUF: numbers as the package `gguf` decodes them, headers without weights, and damaged files told as such."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import random_blocks, write_blocks, write_gguf

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.module_loading import Piece, Weights
from latentloom.nodes.families.packing.gguf_types import BLOCKS, TYPES

ROWS, COLUMNS = 12, 512


@pytest.mark.parametrize("format", BLOCKS)
def test_numbers_are_those_of_the_reference_whole_and_by_rows(format: str, tmp_path: Path) -> None:
    raw = random_blocks(format, ROWS, COLUMNS)
    expected = torch.from_numpy(gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[format]))
    write_blocks(tmp_path / "m.gguf", {"a.qkv.weight": (raw, format)})
    weights = Weights(tmp_path / "m.gguf")
    assert weights.shape("a.qkv.weight") == (ROWS, COLUMNS)
    assert torch.equal(weights["a.qkv.weight"].float(), expected)
    assert torch.equal(weights.take(Piece("a.qkv.weight", rows=(3, 8))).float(), expected[3:8])
    assert torch.equal(weights.take(Piece("a.qkv.weight", third=1)).float(), expected[4:8])
    assert weights["a.qkv.weight"].packed.parts[0].nbytes == raw.nbytes


def test_the_types_are_those_of_the_package() -> None:
    assert {int(kind): name for name, kind in gguf.GGMLQuantizationType.__members__.items()} == TYPES
    for name, block in BLOCKS.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] == block[:2]


def test_plain_tensors_and_texts_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {"a.weight": torch.randn(3, 5), "b": torch.randn(7), "c": torch.randn(2, 3, 4, 5)}
    write_gguf(tmp_path / "m.gguf", tensors, architecture="flux")
    header, weights = read_header(tmp_path / "m.gguf"), Weights(tmp_path / "m.gguf")
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert header.metadata["general.architecture"] == "flux"
    assert all(torch.equal(weights[name], tensor) for name, tensor in tensors.items())


def test_a_text_encoder_gets_the_names_of_its_model(tmp_path: Path) -> None:
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.11.attn_q.weight": "model.layers.11.self_attn.q_proj.weight",
        "blk.11.attn_q_norm.weight": "model.layers.11.self_attn.q_norm.weight",
        "blk.11.ffn_down.weight": "model.layers.11.mlp.down_proj.weight",
    }
    t5 = {
        "token_embd.weight": "shared.weight",
        "enc.output_norm.weight": "encoder.final_layer_norm.weight",
        "enc.blk.0.attn_rel_b.weight": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "enc.blk.3.ffn_gate.weight": "encoder.block.3.layer.1.DenseReluDense.wi_0.weight",
    }
    for found in (names, t5):
        path = tmp_path / f"{len(found)}.gguf"
        write_gguf(path, {name: torch.ones(4) for name in found}, architecture="llama")
        assert list(read_header(path).shapes) == list(found.values())


@pytest.mark.parametrize("format", ["F32", "Q8_0"])
def test_rows_that_llama_cpp_has_side_by_side_are_put_in_halves(format: str, tmp_path: Path) -> None:
    rows = torch.arange(16.0)[:, None].expand(16, 32).contiguous()
    tensors = {f"blk.0.attn_{one}.weight": rows if one == "q" else rows[:8] for one in "qkv"}
    counts = {"llama.attention.head_count": 2, "llama.attention.head_count_kv": 1}
    path = tmp_path / "m.gguf"
    write_gguf(path, {"token_embd.weight": torch.ones(4, 32), **tensors}, format, "llama", counts)

    weights = Weights(path)

    found = {
        one: weights[f"model.layers.0.self_attn.{one}_proj.weight"].float()[:, 0].round().tolist() for one in "qkv"
    }
    assert found["q"] == [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]
    assert found["k"] == [0, 2, 4, 6, 1, 3, 5, 7]
    assert found["v"] == list(range(8))


def test_a_file_that_is_cut_off_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, {f"{n}.weight": torch.randn(64, 64) for n in range(4)}, "Q8_0")
    whole = path.read_bytes()
    path.write_bytes(whole[:-3000])
    with pytest.raises(FileError, match=r"'m.gguf' ends early"):
        read_header(path)
    for length in range(5, len(whole) - 4 * 64 * 68, 37):
        (tmp_path / f"{length}.gguf").write_bytes(whole[:length])
        with pytest.raises(FileError, match=r"is a damaged GGUF file|ends early"):
            read_header(tmp_path / f"{length}.gguf")


HOSTILE = {
    "no counts": b"GGUF" + struct.pack("<I", 3),
    "more tensors than atoms": b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0),
    "a text of petabytes": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**50),
    "a value of no kind": b"GGUF" + struct.pack("<IQQQ4sI", 3, 0, 1, 4, b"name", 99),
    "arrays in arrays": b"GGUF" + struct.pack("<IQQQ4sI", 3, 0, 1, 4, b"name", 9) + struct.pack("<IQ", 9, 2) * 5000,
    "no alignment": b"GGUF" + struct.pack("<IQQQ17sII", 3, 0, 1, 17, b"general.alignment", 4, 0),
    "an alignment in words": b"GGUF" + struct.pack("<IQQQ17sIQ2s", 3, 0, 1, 17, b"general.alignment", 8, 2, b"ab"),
    "axes without end": b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"a", 2**31),
    "rows of half a block": b"GGUF" + struct.pack("<IQQQ1sIQQIQ", 3, 1, 0, 1, b"a", 2, 16, 4, 8, 0),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_told_as_damaged(case: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(HOSTILE[case])
    with pytest.raises(FileError, match=r"'m\.gguf' is a damaged GGUF file"):
        read_header(tmp_path / "m.gguf")


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    write_blocks(tmp_path / "m.gguf", {"a.weight": (np.zeros((4, 136), np.uint8), "IQ4_XS")})
    with pytest.raises(FileError) as caught:
        read_header(tmp_path / "m.gguf")
    assert caught.value.problem.message == "'m.gguf' is packed as GGUF IQ4_XS, which Latentloom does not support"
    assert caught.value.problem.got == "'a.weight' in that format"


@pytest.mark.parametrize("format", BLOCKS)
def test_a_scale_that_is_not_finite_is_found(format: str, tmp_path: Path) -> None:
    raw = random_blocks(format, ROWS, COLUMNS)
    start = BLOCKS[format].scales[-1]
    raw[5, start : start + 2] = np.array([np.inf], np.float16).view(np.uint8)
    write_blocks(tmp_path / "m.gguf", {"a.weight": (raw, format)})
    packed = Weights(tmp_path / "m.gguf")["a.weight"].packed
    assert not packed.decoder.finite(packed.parts)
