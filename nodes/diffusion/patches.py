"""Patches of the stage "sampling": each changes a run during its construction, and holds no weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.engine.types.registry import Registration
from latentloom.engine.types.values import Conditioning, Patch
from latentloom.nodes.diffusion.seamless import Axes, circular
from latentloom.nodes.diffusion.steering import SAMPLING, Steering

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.entries import Entry
    from latentloom.nodes.diffusion.prediction import Condition, Predict
    from latentloom.nodes.diffusion.tiling import Tile
    from latentloom.nodes.diffusion.timeline import Moment

_PATCHES = (
    "cfg_rescale",
    "perpendicular_negative",
    "two_prompts",
    "guidance_interval",
    "differential_diffusion",
    "instruct_guidance",
    "tiled_diffusion",
)
_UNET_PATCHES = (  # patches that need the layers of a UNet
    "freeu",
    "perturbed_attention",
    "self_attention_guidance",
    "prompt_to_prompt",
    "ip_adapter",
    "seamless",
    "deep_shrink",
)

WITHOUT_PICTURE = ("negative", "empty", "pictureless")  # branches that guidance leads away from


def register_patches(registry: Registration) -> None:
    """Register the patches by reference."""
    for name in _PATCHES:
        registry.patch(name, f"{__name__}:{name}", stage=SAMPLING)
    for name in _UNET_PATCHES:
        registry.patch(name, f"{__name__}:{name}", stage=SAMPLING, unet=True)


def cfg_rescale(steering: Steering, patch: Patch) -> None:
    """Keep the contrast of the unguided prediction: {"amount"}."""
    from latentloom.nodes.diffusion.rules import rescaled

    steering.wrap_rule(lambda rule: rescaled(rule, patch.parameters["amount"], steering.space))


def perpendicular_negative(steering: Steering, patch: Patch) -> None:
    """Perp-Neg: {"strength", "empty"}; the arrays are those of the empty conditioning."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.rules import perpendicular

    empty = Conditioning.join(patch.parameters["empty"], patch.arrays)
    steering.branches["empty"] = Branch(steering.entries("empty", empty), steering.predict)
    steering.lead("PerpendicularNegative", perpendicular(steering.cfg, patch.parameters["strength"]))


def two_prompts(steering: Steering, patch: Patch) -> None:
    """Two scales for two prompts: {"cfg", "second"}; the arrays are those of the second conditioning."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.rules import two_prompts as rule

    second = Conditioning.join(patch.parameters["second"], patch.arrays)
    steering.branches["second"] = Branch(steering.entries("second", second), steering.predict)
    steering.lead("TwoPromptGuidance", rule(steering.cfg, patch.parameters["cfg"]))


def guidance_interval(steering: Steering, patch: Patch) -> None:
    """Guide at some of the steps only: {"start", "end"}."""
    from latentloom.nodes.diffusion.rules import within

    steering.wrap_rule(lambda rule: within(rule, patch.parameters["start"], patch.parameters["end"]))


def differential_diffusion(steering: Steering, patch: Patch) -> None:
    """Levin & Fried (2023): each cell is repainted from the moment that its mask value asks for; 1 from the first.

    {"by"}: "steps", or "time", which counts model timesteps between the first and the last sigma of the run.
    """
    left = _time_left(steering) if patch.parameters.get("by") == "time" else _steps_left

    def repaint(mask: Tensor, moment: Moment) -> Tensor:
        return (mask >= left(moment)).to(mask)

    steering.repaint = repaint


def _steps_left(moment: Moment) -> float:
    return 1 - moment.step / moment.total


def _time_left(steering: Steering) -> Callable[[Moment], float]:
    """The remaining share of a run's timesteps: 1 at its first sigma, 0 at its last or at the model's smallest."""
    time, (high, low) = steering.space.time, steering.timeline.ends
    first, last = time(high), time(max(low, float(steering.space.table[0])))
    return lambda moment: (time(moment.sigma) - last) / max(first - last, 1.0)


def freeu(steering: Steering, patch: Patch) -> None:
    """FreeU: the fields of `freeu.Weights`."""
    from latentloom.nodes.diffusion.freeu import Weights, weighed

    steering.hooks.enter_context(weighed(steering.module, Weights(**{"where": "stage", **patch.parameters})))


def perturbed_attention(steering: Steering, patch: Patch) -> None:
    """Perturbed-attention guidance: {"scale", "layers"}."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.rules import perturbed

    chosen = _self_attention(steering.module, patch.parameters["layers"])
    predict = steering.predict

    def worse(x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        with _unattentive(chosen):
            return predict(x, moment, condition)

    name = steering.new_branch("perturbed")
    steering.branches[name] = Branch(steering.branches["positive"].entries, worse)
    steering.wrap_rule(lambda rule: perturbed(rule, patch.parameters["scale"], name))


def _self_attention(module: Any, layers: str) -> list[Any]:
    """The self-attention layers of the middle block, or all of them."""
    where = "mid_block." if layers == "middle" else ""
    return [
        part
        for name, part in module.named_modules()
        if name.startswith(where) and name.endswith("attn1") and hasattr(part, "to_v")
    ]


@contextlib.contextmanager
def _unattentive(layers: list[Any]) -> Iterator[None]:
    """Replace the attention maps of layers by the identity inside a with-block."""
    before = [layer.processor for layer in layers]
    try:
        for layer in layers:
            layer.processor = _identity
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor


def _identity(layer: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    """An attention processor whose map is the identity: the output is the projected value."""
    found: Tensor = layer.to_out[1](layer.to_out[0](layer.to_v(hidden_states)))
    return found


def self_attention_guidance(steering: Steering, patch: Patch) -> None:
    """Self-attention guidance: {"scale", "blur"}. What is not guided at cfg 1 is blurred itself."""
    from latentloom.nodes.diffusion.self_attention import LAYER, Watch, self_attentive

    name = "positive" if steering.cfg == 1 else "negative"
    branch, layer = steering.branches[name], steering.module.get_submodule(LAYER)
    watch, before = Watch(branch.predict), layer.processor
    layer.processor = watch.wrapped(before)
    steering.hooks.callback(setattr, layer, "processor", before)
    steering.joint = True
    steering.branches[name] = replace(branch, predict=watch)
    scale, blur = patch.parameters["scale"], patch.parameters["blur"]
    steering.wrap_rule(lambda rule: self_attentive(rule, watch, name, scale, blur, steering.seamless))


def instruct_guidance(steering: Steering, patch: Patch) -> None:
    """InstructPix2Pix's two scales: {"image_cfg"}; the picture is set to 0 in a third branch."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.rules import instructed

    negative = steering.branches["negative"].entries
    steering.branches["pictureless"] = Branch(tuple(map(_pictureless, negative)), steering.predict)
    steering.lead("InstructGuidance", instructed(steering.cfg, patch.parameters["image_cfg"]))


def _pictureless(entry: Entry) -> Entry:
    import torch

    if "concat" not in entry.condition:
        raise BadValueError(
            "InstructGuidance needs a model with an image input",
            expected="an InstructPix2Pix model, of 8 channels",
            got="a model whose only input is noise",
            hint="remove InstructGuidance from the chain of the model",
        )
    blank = torch.zeros_like(entry.condition["concat"])
    return replace(entry, condition={**entry.condition, "concat": blank})


def prompt_to_prompt(steering: Steering, patch: Patch) -> None:
    """Prompt-to-Prompt for sources and then their edits: {"cross", "self_attention"}; arrays as in `Alignment`."""
    from latentloom.nodes.diffusion.attention_control import Alignment, AttentionControl

    alignment = Alignment(*(array.tensor().to(steering.module.device) for array in patch.arrays))
    control = AttentionControl(alignment, patch.parameters["cross"], patch.parameters["self_attention"])
    steering.hooks.enter_context(control.over(steering.module))
    steering.joint = True
    branch = steering.branches["positive"]

    def controlled(x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        with control.on(moment):
            return branch.predict(x, moment, condition)

    steering.branches["positive"] = replace(branch, predict=controlled)


def ip_adapter(steering: Steering, patch: Patch) -> None:
    """IP-Adapter: {"weight", "start", "end", "masked"}; arrays are the key and value of each layer, then the mask."""
    from torch.nn.functional import interpolate

    from latentloom.nodes.diffusion.ip_adapter_attention import ImageAttention

    tensors = [array.tensor().to(steering.module.device) for array in patch.arrays]
    mask = interpolate(tensors.pop(), steering.cells, mode="area") if patch.parameters["masked"] else None
    parts = (patch.parameters[name] for name in ("weight", "start", "end"))
    control = ImageAttention(list(zip(tensors[::2], tensors[1::2], strict=True)), *parts)
    steering.hooks.enter_context(control.over(steering.module, patch.files[0].name))
    key = f"picture_{id(control)}"
    entries = steering.entries

    def marked(branch: str, conditioning: Conditioning) -> tuple[Entry, ...]:
        return _marked(entries(branch, conditioning), key, mask, seen=branch not in WITHOUT_PICTURE)

    def look(predict: Predict, x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        with control.on(moment, condition[key].flatten().long(), condition.get(f"{key}_mask")):
            return predict(x, moment, condition)

    steering.inner.wrap(lambda predict: partial(look, predict))
    steering.entries = marked
    steering.branches = {
        name: replace(branch, entries=_marked(branch.entries, key, mask, seen=name not in WITHOUT_PICTURE))
        for name, branch in steering.branches.items()
    }


def _marked(entries: tuple[Entry, ...], key: str, mask: Tensor | None, *, seen: bool) -> tuple[Entry, ...]:
    """Add to entries whether they see the picture, and the mask of its region."""
    import torch

    def marked(entry: Entry) -> Entry:
        like = entry.condition["context"]
        more = {key: torch.full((1, 1), float(seen)).to(like)}
        if mask is not None:
            more[f"{key}_mask"] = mask.to(like)
        return replace(entry, condition={**entry.condition, **more})

    return tuple(marked(entry) for entry in entries)


def seamless(steering: Steering, patch: Patch) -> None:
    """Pictures without edges: {"horizontal", "vertical"}. A tile or an area that ends within the picture has edges."""
    before, steering.seamless = steering.seamless, steering.seamless | Axes(**patch.parameters)
    if before:
        return  # an earlier patch has wrapped the networks
    ring = steering.hooks.enter_context(circular(steering.networks))

    def go_round(predict: Predict, x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        with ring.on(steering.seamless.within(x.shape[2:], steering.cells)):
            return predict(x, moment, condition)

    steering.inner.wrap(lambda predict: partial(go_round, predict))


def deep_shrink(steering: Steering, patch: Patch) -> None:
    """Deep Shrink: {"depth", "factor", "method"}, and {"start", "end", "by"} as shares of the steps or of the time."""
    from latentloom.nodes.diffusion.deep_shrink import DeepShrink

    told = patch.parameters
    left = _time_left(steering) if told["by"] == "time" else _steps_left
    control = DeepShrink(told["depth"], told["factor"], told["method"])
    steering.hooks.enter_context(control.over(steering.module))

    def look(predict: Predict, x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        control.active = told["start"] <= 1 - left(moment) < told["end"]
        return predict(x, moment, condition)

    steering.inner.wrap(lambda predict: partial(look, predict))


def tiled_diffusion(steering: Steering, patch: Patch) -> None:
    """MultiDiffusion: {"tile", "overlap"} in pixels. Further maps of a condition are cut with the picture."""
    step = steering.downscale
    sizes = {name: patch.parameters[name] // step for name in ("tile", "overlap")}
    steering.wrap(lambda predict: partial(_tiled, steering, predict, **sizes))


def _tiled(
    steering: Steering, predict: Predict, x: Tensor, moment: Moment, condition: Condition, *, tile: int, overlap: int
) -> Tensor:
    from latentloom.nodes.diffusion.tiling import tiled

    def part(inside: Tensor, place: Tile) -> Tensor:
        maps = {name: place.of(value) for name, value in condition.items() if value.shape[2:] == x.shape[2:]}
        return predict(inside, moment, {**condition, **maps, **_pictures(condition, x, place)})

    return tiled(part, x, tile, overlap, axes=steering.seamless.within(x.shape[2:], steering.cells))


def _pictures(condition: Condition, x: Tensor, place: Tile) -> dict[str, Tensor]:
    """The part of the pictures and masks of ControlNets that a tile shows; they are in pixels, x is in cells."""
    return {
        name: place.scaled(value.shape[2] // x.shape[2]).of(value)
        for name, value in condition.items()
        if name.startswith("control_")
    }
