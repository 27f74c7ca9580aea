"""500 model files of all kinds, recognised by their headers: safetensors and GGUF, with nothing behind the header.

python benchmarks/recognition_bench.py [--files 500]
"""

import argparse
import json
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import diffusers  # noqa: F401  # what recognition imports counts before
import transformers  # noqa: F401

from latentloom.api import Session
from latentloom.engine.models.host_memory import no_collection
from latentloom.engine.settings import load_settings
from latentloom.training.random_checkpoint import checkpoint_shapes, controlnet_shapes

Shapes = Mapping[str, tuple[int, ...]]
SIZES = {"BF16": 2, "F16": 2, "F8_E4M3": 1, "F32": 4}


def blocks(pattern: str, count: int, parts: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Names with a number, for each of some blocks."""
    return {f"{pattern.format(n)}{part}": shape for n in range(count) for part, shape in parts.items()}


def flux() -> Shapes:
    """Flux.1 dev."""
    double = {
        f"{side}_{name}": shape
        for side in ("img", "txt")
        for name, shape in {
            "attn.norm.key_norm.scale": (128,),
            "attn.norm.query_norm.scale": (128,),
            **linear("attn.proj", 3072, 3072),
            **linear("attn.qkv", 9216, 3072),
            **linear("mlp.0", 12288, 3072),
            **linear("mlp.2", 3072, 12288),
            **linear("mod.lin", 18432, 3072),
        }.items()
    }
    single = {
        **linear("linear1", 21504, 3072),
        **linear("linear2", 3072, 15360),
        **linear("modulation.lin", 9216, 3072),
        "norm.key_norm.scale": (128,),
        "norm.query_norm.scale": (128,),
    }
    return {
        **linear("img_in", 3072, 64),
        **linear("txt_in", 3072, 4096),
        **linear("vector_in.in_layer", 3072, 768),
        **linear("guidance_in.in_layer", 3072, 256),
        **linear("final_layer.linear", 64, 3072),
        **blocks("double_blocks.{}.", 19, double),
        **blocks("single_blocks.{}.", 38, single),
    }


def linear(name: str, rows: int, columns: int) -> Shapes:
    """A layer's weight and bias."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def wan() -> Shapes:
    """Wan 14B."""
    parts = {f"{attention}.{part}.weight": (5120, 5120) for attention in ("self_attn", "cross_attn") for part in "qkvo"}
    return {"head.modulation": (1, 2, 5120), **blocks("blocks.{}.", 40, parts)}


def t5() -> Shapes:
    """T5-XXL."""
    layer = {
        **{f"layer.0.SelfAttention.{part}.weight": (4096, 4096) for part in "qkvo"},
        "layer.0.layer_norm.weight": (4096,),
        "layer.1.DenseReluDense.wi_0.weight": (10240, 4096),
        "layer.1.DenseReluDense.wi_1.weight": (10240, 4096),
        "layer.1.DenseReluDense.wo.weight": (4096, 10240),
        "layer.1.layer_norm.weight": (4096,),
    }
    bias = {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, 64)}
    return {"shared.weight": (32128, 4096), **bias, **blocks("encoder.block.{}.", 24, layer)}


def lora() -> Shapes:
    """A LoRA of Flux.1 in kohya's layout."""
    parts = {"lora_down.weight": (16, 3072), "lora_up.weight": (3072, 16), "alpha": ()}
    double = {f"{name}.{part}": shape for name in ("img_attn_qkv", "img_mlp_0") for part, shape in parts.items()}
    return {
        **blocks("lora_unet_double_blocks_{}_", 19, double),
        **blocks("lora_unet_single_blocks_{}_linear1.", 38, parts),
    }


def write_safetensors(path: Path, shapes: Shapes, dtype: str) -> None:
    """A header, and a hole in the place of the weights."""
    found, end = dict[str, Any](), 0
    for name, shape in shapes.items():
        start, end = end, end + SIZES[dtype] * prod(shape)
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(found).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def write_gguf(path: Path, shapes: Shapes, _: str) -> None:
    """A header with matrices in Q8_0, and a hole in the place of the weights."""
    infos, end = b"", 0
    for name, shape in shapes.items():
        kind, nbytes = (8, prod(shape) // 32 * 34) if len(shape) == 2 else (0, prod(shape) * 4)
        text, axes = name.encode(), struct.pack(f"<{len(shape)}Q", *reversed(shape))
        infos += struct.pack("<Q", len(text)) + text + struct.pack("<I", len(shape)) + axes
        infos += struct.pack("<IQ", kind, end)
        end = -(-(end + nbytes) // 32) * 32
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(shapes), 0) + infos)
        file.truncate(file.tell() + 32 + end)


def kinds() -> dict[str, tuple[Shapes, str, Callable[[Path, Shapes, str], None]]]:
    """Names of kinds of files, with what is in them."""
    sd1, sdxl = checkpoint_shapes("sd1"), checkpoint_shapes("sdxl")
    vae = {name: shape for name, shape in sd1.items() if name.startswith("first_stage_model.")}
    return {
        "flux": (flux(), "BF16", write_safetensors),
        "flux-fp8": (flux(), "F8_E4M3", write_safetensors),
        "flux-gguf": (flux(), "", write_gguf),
        "wan": (wan(), "F16", write_safetensors),
        "wan-gguf": (wan(), "", write_gguf),
        "t5": (t5(), "F16", write_safetensors),
        "sd1": (sd1, "F16", write_safetensors),
        "sdxl": (sdxl, "F16", write_safetensors),
        "vae": (vae, "F32", write_safetensors),
        "controlnet": (controlnet_shapes("sd1"), "F16", write_safetensors),
        "lora": (lora(), "BF16", write_safetensors),
        "lora-2": (lora(), "F16", write_safetensors),
        "embedding": ({"emb_params": (4, 768)}, "F32", write_safetensors),
    }


def main() -> None:
    """Write the files, recognise them once each, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=500)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as temporary:
        folder, found = Path(temporary), kinds()
        files = [(name, folder / f"{n}-{name}") for n, name in zip(range(count), list(found) * count, strict=False)]
        for name, path in files:
            shapes, dtype, write = found[name]
            write(path, shapes, dtype)
        with Session(load_settings({"device": "cpu"}, {"LATENTLOOM_HOME": str(folder)})) as session:
            for _, path in files[: len(found)]:
                session.engine.recognise(path)  # the modules of all kinds are imported
            named, slowest = dict[str, str](), dict[str, float]()
            wall, cpu = time.perf_counter(), time.process_time()
            with no_collection():  # as `loom models` does
                for name, path in reversed(files):
                    begin = time.process_time()
                    _, facts = session.engine.recognise(path) or ("", {"about": "unknown"})
                    named[name] = facts["about"]
                    slowest[name] = max(slowest.get(name, 0.0), time.process_time() - begin)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    for name, about in named.items():
        print(f"{name:12} {len(found[name][0]):5} tensors, at most {slowest[name] * 1000:5.1f} ms  {about}")
    print(f"{count} files: {wall:.2f} s, of the processor {cpu:.2f} s")


if __name__ == "__main__":
    main()
