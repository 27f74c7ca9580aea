"""Warns of tensors and keys of a file that are not used, once and with a count, except for harmless ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from latentloom.engine.models.load_warnings import warn_of_model

if TYPE_CHECKING:
    from latentloom.nodes.families.module_loading import Weights

HARMLESS = {  # patterns of tensor names that may stay unused, and what the tensors are
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
    r"(v_pred|ztsnr|__index_timestep_zero__)$": "markers, which are read as facts",
    r"(spiece_model|tekken_model|tokenizer_json)$": "the tokenizer, which is read apart from the weights",
}
_HARMLESS = re.compile("|".join(f"(?:{pattern})" for pattern in HARMLESS))


def harmless(name: str) -> bool:
    """Whether a tensor of that name may stay unused without a warning."""
    return _HARMLESS.match(name) is not None


def warn_unused(weights: Weights, own: str = "", others: Sequence[str] = ()) -> None:
    """Warn of the unused tensors of a file after a part of it was loaded.

    `own` is the name prefix of the part; `others` are those of parts that are loaded separately. Tensors of no part get
    their own warning, whose text does not depend on the loaded part.
    """
    names = weights.keys()
    left = [name for name in names if name not in weights.taken and not harmless(name.removeprefix(own))]
    left = [name for name in left if not _among(name, [other for other in others if other != own])]
    for group in ([n for n in left if n.startswith(own)], [n for n in left if not n.startswith(own)]):
        warn_left(weights.paths[0].name, group, names, "tensors")


def _among(name: str, prefixes: Iterable[str]) -> bool:
    return any(name.startswith(prefix) for prefix in prefixes if prefix)


def warn_left(file: str, left: Sequence[str], known: Collection[str], what: str) -> None:
    """Warn that some tensors or keys of a file are not used; no warning if all are used."""
    if left:
        verb = "is" if len(left) == 1 else "are"
        warn_of_model("not_used", f"{len(left)} of {len(known)} {what} of {file} {verb} not used, e.g. '{min(left)}'")
