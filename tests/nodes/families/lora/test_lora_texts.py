"""LoRAs on the text encoders of transformers: CLIPs, T5 and Qwen by every name that files have for their layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lora_files import applied, written
from tiny_transformers import randomised, t5
from transformers import CLIPTextConfig, CLIPTextModel, Qwen3Config, Qwen3Model

from latentloom.engine.errors import FileError
from latentloom.engine.models.load_warnings import gathered_warnings
from latentloom.nodes.text.chat import Chat, ChatReader
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.encoder import Encoder
from latentloom.nodes.text.joined import FluxReader, SD3Reader, T5Reader
from latentloom.nodes.text.t5 import T5

CLIP, T5_LAYER, QWEN = "encoder.layers.0.mlp.fc1", "block.0.layer.0.SelfAttention.q", "layers.0.self_attn.q_proj"
NAMES = {  # the text encoder of Stable Diffusion 3 that is meant: CLIP-L, CLIP-G or T5
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": 0,
    "lora_te2_text_model_encoder_layers_0_mlp_fc1": 1,
    "text_encoder.text_model.encoder.layers.0.mlp.fc1": 0,
    "text_encoder_2.text_model.encoder.layers.0.mlp.fc1": 1,
    "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1": 0,
    "text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1": 1,
    "base_model.model.text_model.encoder.layers.0.mlp.fc1": 0,
    "lora_te3_encoder_block_0_layer_0_SelfAttention_q": 2,
    "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q": 2,
    "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q": 2,  # as Flux's pipeline has it
    "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q": 2,
    "encoder.block.0.layer.0.SelfAttention.q": 2,
}
QWEN_NAMES = (
    "lora_te_layers_0_self_attn_q_proj",
    "lora_te1_model_layers_0_self_attn_q_proj",
    "text_encoder.model.layers.0.self_attn.q_proj",
    "text_encoders.qwen3_4b.transformer.model.layers.0.self_attn.q_proj",
    "base_model.model.model.layers.0.self_attn.q_proj",
)


def clip() -> Any:
    config = CLIPTextConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1
    )
    return randomised(CLIPTextModel(config))


@pytest.fixture(scope="module")
def reader() -> SD3Reader:
    clips = TextEncoder((Encoder("l", clip(), None), Encoder("g", clip(), None)))
    return SD3Reader(clips, T5(t5(32).encoder, None, 8))


@pytest.fixture(scope="module")
def qwen() -> ChatReader:
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
    )
    return ChatReader(randomised(Qwen3Model(config)), None, Chat("{}", layers=(-1,)))


def factors(base: str, rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"{base}.lora_down.weight": torch.randn(2, 32), f"{base}.lora_up.weight": torch.randn(rows, 2)}


def changes(found: Any, known: Any) -> list[str]:
    return [name for name, weight in known.state_dict().items() if not torch.equal(weight, found.state_dict()[name])]


def models(reader: Any) -> list[Any]:
    return [*(encoder.model for encoder in reader.encoders), reader.t5.model]


@pytest.mark.parametrize("name", NAMES)
def test_each_of_three_text_encoders_is_changed_by_its_name(name: str, reader: SD3Reader, tmp_path: Path) -> None:
    which, layer = NAMES[name], T5_LAYER if NAMES[name] == 2 else CLIP
    lora = factors(name, 32 if which == 2 else 64)
    found = applied(reader, written(tmp_path / "l.safetensors", lora), 0.5)
    changed = [changes(new, old) for new, old in zip(models(found), models(reader), strict=True)]
    assert changed == [[f"{layer}.weight"] if n == which else [] for n in range(3)]
    down, up = lora.values()
    old, new = (models(r)[which].get_parameter(f"{layer}.weight") for r in (reader, found))
    assert torch.allclose(new, old + 0.5 * up @ down, atol=1e-5)
    assert [part is own for part, own in zip(found.modules, models(found), strict=True)] == [True] * 3


@pytest.mark.parametrize("name", QWEN_NAMES)
def test_a_chat_model_is_changed_by_its_name(name: str, qwen: ChatReader, tmp_path: Path) -> None:
    lora = factors(name, 32)
    found = applied(qwen, written(tmp_path / "l.safetensors", lora))
    down, up = lora.values()
    assert changes(found.model, qwen.model) == [f"{QWEN}.weight"]
    new, old = (one.model.get_parameter(f"{QWEN}.weight") for one in (found, qwen))
    assert torch.allclose(new, old + up @ down, atol=1e-5)
    assert found.modules is found.model


def test_changes_of_text_encoders_that_are_not_there_are_counted(reader: SD3Reader, tmp_path: Path) -> None:
    flux = FluxReader(TextEncoder(reader.encoders[:1]), reader.t5)
    names = [name for name in NAMES if name.startswith("lora_te")]
    lora = {k: v for name in names for k, v in factors(name, 32 if "SelfAttention" in name else 64).items()}
    with gathered_warnings() as told:
        found = applied(flux, written(tmp_path / "l.safetensors", lora))
    first = "'lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight'"
    assert [w.message for w in told] == [f"2 of 6 tensors of l.safetensors are not used, e.g. {first}"]
    assert [len(changes(new, old)) for new, old in zip(models(found), models(flux), strict=True)] == [1, 1]


def test_a_lora_of_none_of_the_text_encoders_is_refused(reader: SD3Reader, qwen: ChatReader, tmp_path: Path) -> None:
    clip_l = written(tmp_path / "l.safetensors", factors("lora_te1_text_model_encoder_layers_0_mlp_fc1", 64))
    for foreign in (T5Reader(TextEncoder(()), reader.t5), qwen):
        with pytest.raises(FileError) as caught:
            applied(foreign, clip_l)
        problem = caught.value.problem
        assert problem.message == "the LoRA 'l.safetensors' does not change this text encoder"
        assert problem.got == "1 layer of CLIP, such as 'encoder_layers_0_mlp_fc1'"
