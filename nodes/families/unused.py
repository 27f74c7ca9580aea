"""Tensors and keys of a file that nothing uses: told once, with a count, except for those that do no harm."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from latentloom.engine.models.load_warnings import warn_of_model

if TYPE_CHECKING:
    from latentloom.nodes.families.module_loading import Weights

HARMLESS = {  # names that a file may well hold and nobody misses, and why
    r"(model_ema|ema)\.": "a running average of the weights, kept beside them to train on",
    r"(optimizer|lr_scheduler|loops|callbacks|state)s?[._]": "the state of a training",
    r"(epoch|global_step|ema_step|step)$": "a training's counters",
    r"(.*\.)?loss\.": "networks that training compared pictures with",
    r"(.*\.)?position_ids$": "the numbers 0, 1, 2, ..., which are known",
    r"(.*\.)?num_batches_tracked$": "a counter of a training",
    r"(.*\.)?(logit_scale|attn_mask)$": "CLIP's comparison of texts with pictures, and its causal mask, which is known",
    r"(.*\.)?text_projection(\.weight)?$": "CLIP's comparison of texts with pictures, where no UNet reads it",
    r"(sqrt_|log_|one_minus_|recip_|recipm1_)*(alphas_cumprod(_prev)?|betas|alphas)$": "the training's noise, by step",
    r"(posterior_\w+|lvlb_weights|model_mean\w*|logvar|denoiser\.sigmas)$": "tables that follow from that noise",
    r"(v_pred|ztsnr)$": "markers, which are read as facts",
}
_HARMLESS = re.compile("|".join(f"(?:{pattern})" for pattern in HARMLESS))


def harmless(name: str) -> bool:
    """Whether nobody misses a tensor of that name."""
    return _HARMLESS.match(name) is not None


def warn_unused(weights: Weights, own: str = "", others: Sequence[str] = ()) -> None:
    """Tell how many tensors of a file nothing took, when a part of it is loaded.

    `own` is the prefix of the part's names; `others` are those of parts that are loaded by themselves. What belongs to
    no part is told in words of its own, which are the same whichever part is loaded.
    """
    names = weights.keys()
    left = [name for name in names if name not in weights.taken and not harmless(name.removeprefix(own))]
    left = [name for name in left if not _among(name, [other for other in others if other != own])]
    for group in ([n for n in left if n.startswith(own)], [n for n in left if not n.startswith(own)]):
        warn_left(weights.paths[0].name, group, names, "tensors")


def _among(name: str, prefixes: Iterable[str]) -> bool:
    return any(name.startswith(prefix) for prefix in prefixes if prefix)


def warn_left(file: str, left: Sequence[str], known: Collection[str], what: str) -> None:
    """Tell that some tensors, or keys, of a file are not used; nothing where all are."""
    if left:
        verb = "is" if len(left) == 1 else "are"
        warn_of_model("not_used", f"{len(left)} of {len(known)} {what} of {file} {verb} not used, e.g. '{min(left)}'")
