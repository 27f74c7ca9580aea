"""What steers a prediction: classifier-free guidance and the mask of an inpainting.

They compose, inside out: masked(guided(prediction(network, ...), ...), ...) is what a sampler calls `denoised`.
"""

import torch
from torch import Tensor

from latentloom.nodes.diffusion.prediction import Condition, Predict, batched, stacked
from latentloom.nodes.diffusion.sampler import Denoised


def guided(predict: Predict, positive: Condition, negative: Condition, cfg: float) -> Denoised:
    """Classifier-free guidance (Ho & Salimans 2022): uncond + cfg * (cond - uncond), where cfg is their w + 1.

    One forward of twice the batch, positive first; one plain forward of `positive` at cfg 1 and of `negative` at
    cfg 0; two forwards where the conditions' shapes differ, as those of prompts of unlike length do.
    """
    if cfg in (0, 1):
        return _conditioned(predict, positive if cfg == 1 else negative)
    cond, uncond = _conditioned(predict, positive), _conditioned(predict, negative)

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        condition = stacked([positive, negative], x.shape[0])
        if condition is None:
            return torch.lerp(uncond(x, sigma), cond(x, sigma), cfg)
        x0, x0_uncond = predict(torch.cat([x, x]), sigma, condition).chunk(2)
        return torch.lerp(x0_uncond, x0, cfg)

    return denoised


def _conditioned(predict: Predict, condition: Condition) -> Denoised:
    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        return predict(x, sigma, {name: batched(value, x.shape[0]) for name, value in condition.items()})

    return denoised


def masked(denoised: Denoised, mask: Tensor, latent: Tensor, noise: Tensor) -> Denoised:
    """Inpainting in the manner of RePaint (Lugmayr et al. 2022) without resampling: 1 in `mask` = repaint, 0 = keep.

    Before each call what is kept becomes latent + noise * sigma, with the run's first noise; in the answer it is the
    clean latent. `mask` broadcasts against x and may be soft. A sampler's last step may mix the two, so the run ends
    with `composite(x, mask, latent)`, after which what is kept equals the latent bit for bit.
    """

    def kept(x: Tensor, sigma: Tensor) -> Tensor:
        x = composite(x, mask, latent + noise * sigma.item())
        return composite(denoised(x, sigma), mask, latent)

    return kept


def composite(x: Tensor, mask: Tensor, latent: Tensor) -> Tensor:
    """Exactly x where the mask is 1, exactly `latent` where it is 0, the mix in between; all of one dtype."""
    return torch.where(mask == 0, latent, torch.lerp(latent, x, mask))
