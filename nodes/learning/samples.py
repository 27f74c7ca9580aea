"""Sample pictures of a training: the same prompts and seeds each time, drawn as the finished LoRA would draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latentloom.engine import Clip, Conditioning, Context, Latent, Model, Vae
from latentloom.engine.files.pictures import to_bytes
from latentloom.nodes.diffusion.plan import Plan, sigmas_of
from latentloom.nodes.diffusion.run import sample_latent
from latentloom.nodes.diffusion.vae import decode
from latentloom.nodes.families.lora.value import Lora
from latentloom.nodes.learning.examples import read

if TYPE_CHECKING:
    import numpy.typing as npt

STEPS = 20
DEFAULTS = {"cfg": 7.0, "sampler": "dpmpp_2m", "schedule": "karras"}


class Quiet:
    """A node's context that reports no progress of its own, but still hears a cancellation."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    def progress(self, *_: Any, **__: Any) -> None:
        """See `Context.progress`."""
        self._ctx.check()


def sampled(
    ctx: Context,
    model: Model,
    clip: Clip,
    vae: Vae,
    lora: Lora,
    prompts: Sequence[str],
    size: tuple[int, int],
    seed: int,
) -> npt.NDArray[np.uint8]:
    """Return one picture for each prompt, uint8 [N, H, W, 3], with the settings that suit the model.

    The n-th prompt is drawn with the seed + n; `size` is (height, width).
    """
    quiet: Any = Quiet(ctx)
    put = model.patched(lora.patch(1.0))
    reader = clip.patched(lora.patch(1.0)) if lora.networks - {"unet"} else clip
    entries = read(quiet, reader, ["", *prompts])
    wanted = {**DEFAULTS, **model.info.get("defaults", {})}
    downscale, channels = model.info["downscale"], model.info["channels"]
    empty = np.zeros((1, channels, size[0] // downscale, size[1] // downscale), np.float32)
    latent, made = Latent(empty, downscale=downscale), []
    for n, prompt in enumerate(prompts):
        sigmas = sigmas_of(quiet, put, wanted["sampler"], wanted["schedule"], STEPS, 1.0, latent)
        plan = Plan(wanted["sampler"], sigmas, (seed + n) % 2**64, "per_item", wanted["cfg"])
        told = (Conditioning([entries[text]]) for text in (prompt, ""))
        made.append(decode(quiet, vae, sample_latent(quiet, put, *told, latent, plan)).numpy()[0])
    return to_bytes(np.stack(made))
