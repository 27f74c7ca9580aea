"""Guidance rules, and the mask of inpainting.

They are composed from the inside out: a sampler's `denoised` is masked(steered(branches of prediction(network, ...),
rule, ...), ...). A rule requests the predictions of the branches that it compares, and combines them into one.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from latentloom.nodes.diffusion.entries import Entry
from latentloom.nodes.diffusion.evaluation import Branch, Evaluation
from latentloom.nodes.diffusion.prediction import Condition, Predict
from latentloom.nodes.diffusion.sampler import Denoised, Unguided
from latentloom.nodes.diffusion.timeline import Moment, Timeline


class Call:
    """One call of the denoiser. A rule computes its result."""

    def __init__(self, evaluation: Evaluation, x: Tensor, moment: Moment) -> None:
        self.x, self.moment = x, moment
        self._evaluation = evaluation
        self._known: dict[str, Tensor] = {}

    def at(self, x: Tensor) -> "Call":
        """Return a call at the same moment for another x."""
        return Call(self._evaluation, x, self.moment)

    def ask(self, *names: str) -> tuple[Tensor, ...]:
        """Return the x0 predictions of some branches, in as few forward passes as possible. Known ones are reused."""
        wanted = [name for name in names if name not in self._known]
        if wanted:
            self._known |= self._evaluation.ask(wanted, self.x, self.moment)
        return tuple(self._known[name] for name in names)


# A rule returns one prediction of x0 for a call.
Rule = Callable[[Call], Tensor]


def classifier_free(cfg: float) -> Rule:
    """Classifier-free guidance (Ho & Salimans 2022): uncond + cfg * (cond - uncond), where cfg is their w + 1.

    At cfg 1 only "positive" is evaluated, at cfg 0 only "negative".
    """

    def rule(call: Call) -> Tensor:
        if cfg in (0, 1):
            return call.ask("positive" if cfg == 1 else "negative")[0]
        x0, x0_uncond = call.ask("positive", "negative")
        return torch.lerp(x0_uncond, x0, cfg)

    return rule


def norm_keeping(cfg: float) -> Rule:
    """Classifier-free guidance that keeps the length of the positive velocity for each token.

    A token is 2 x 2 cells of x [B, C, h, w]. Source: the Qwen-Image pipeline of diffusers.
    """
    free = classifier_free(cfg)

    def rule(call: Call) -> Tensor:
        if cfg in (0, 1):
            return free(call)
        x0, _ = call.ask("positive", "negative")
        way, guided_way = call.x - x0, call.x - free(call)  # sigma times the velocities
        return call.x - guided_way * (_lengths(way) / _lengths(guided_way).clamp(min=LEAST_LENGTH))

    return rule


LEAST_LENGTH = 1e-12


def _lengths(x: Tensor) -> Tensor:
    """Return the length of each token's vector, repeated for each of its cells: [B, 1, h, w]."""
    from torch.nn.functional import avg_pool2d, pad

    height, width = x.shape[2:]
    squares = pad(x.square().sum(1, keepdim=True), (0, width % 2, 0, height % 2), mode="replicate")
    lengths = (avg_pool2d(squares, 2) * 4).sqrt()
    return lengths.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :height, :width]


def steered(
    branches: Mapping[str, Branch],
    rule: Rule,
    timeline: Timeline,
    most: int | None = None,
    unguided: Unguided | None = None,
) -> Denoised:
    """Return a denoiser that applies a rule, with at most `most` items in a forward pass.

    `unguided` records the negative prediction, at no cost if the rule requests it too.
    """
    evaluation = Evaluation(branches, most)

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        call = Call(evaluation, x, timeline.at(sigma.item()))
        x0 = rule(call)
        if unguided is not None:
            unguided.note(call.ask("negative")[0])
        return x0

    return denoised


def guided(predict: Predict, positive: Condition, negative: Condition, cfg: float) -> Denoised:
    """Plain classifier-free guidance with one condition on each side, for the whole picture and all steps.

    Runs one forward pass with twice the batch, positive first; two if the conditions' shapes cannot be stacked.
    """
    branches = {
        "positive": Branch((Entry(positive),), predict),
        "negative": Branch((Entry(negative),), predict),
    }
    return steered(branches, classifier_free(cfg), Timeline([]))


def masked(
    denoised: Denoised,
    mask: Tensor | Callable[[Tensor], Tensor],
    latent: Tensor,
    noised: Callable[[float], Tensor],
) -> Denoised:
    """Inpainting as in RePaint (Lugmayr et al. 2022) without resampling: 1 in `mask` = repaint, 0 = keep.

    Before each call the kept part is replaced by `noised(sigma)`, the latent with the run's first noise; in the
    prediction it is replaced by the clean latent. `mask` broadcasts against x and may be soft, or is a function of
    sigma that returns a mask. A sampler's last step may mix both parts, so a run ends with `restored(x, mask, latent)`.
    """

    def kept(x: Tensor, sigma: Tensor) -> Tensor:
        now = mask(sigma) if callable(mask) else mask
        x = composite(x, now, noised(sigma.item()))
        return composite(denoised(x, sigma), now, latent)

    return kept


def composite(x: Tensor, mask: Tensor, latent: Tensor) -> Tensor:
    """Return exactly x where the mask is 1, exactly `latent` where it is 0, and a mix in between; all of one dtype."""
    return torch.where(mask == 0, latent, torch.lerp(latent, x, mask))


def restored(x: Tensor, mask: Tensor, latent: Tensor) -> Tensor:
    """Return a masked run's result with exactly `latent` where the mask is 0.

    Elsewhere it is x: the last prediction was masked already, and a soft mask must not be applied twice.
    """
    return torch.where(mask == 0, latent, x)
