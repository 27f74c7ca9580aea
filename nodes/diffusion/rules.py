"""Guidance rules beyond plain classifier-free guidance."""

from torch import Tensor

from latentloom.nodes.diffusion.guidance import Call, Rule
from latentloom.nodes.diffusion.space import Space


def rescaled(rule: Rule, amount: float, space: Space) -> Rule:
    """Lin et al. (2024), section 3.4: give the guided v the standard deviation of the conditional one, by `amount`.

    v is computed from x0, so the rule works for every prediction kind. The deviation is that of each item.
    """

    def follow(call: Call) -> Tensor:
        x0 = rule(call)
        (positive,) = call.ask("positive")
        guided, plain = (space.velocity(call.x, found, call.moment.sigma) for found in (x0, positive))
        factor = _deviation(plain) / _deviation(guided).clamp(min=1e-12)
        return space.from_velocity(call.x, guided * (amount * factor + (1 - amount)), call.moment.sigma)

    return follow


def _deviation(v: Tensor) -> Tensor:
    return v.std(dim=(1, 2, 3), keepdim=True)


def perpendicular(cfg: float, strength: float) -> Rule:
    """Perp-Neg (Armandpour et al. 2023): the negative acts only perpendicular to the direction of the positive.

    Directions are relative to the branch "empty". The component of the negative direction that is perpendicular to the
    positive direction is subtracted, multiplied by `strength`.
    """

    def follow(call: Call) -> Tensor:
        positive, negative, empty = call.ask("positive", "negative", "empty")
        towards, away = positive - empty, negative - empty
        dims = (1, 2, 3)
        along = (away * towards).sum(dims, keepdim=True) / (towards * towards).sum(dims, keepdim=True).clamp(min=1e-12)
        return empty + cfg * (towards - strength * (away - along * towards))

    return follow


def two_prompts(cfg: float, second_cfg: float) -> Rule:
    """Two scales for two prompts: `cfg` leads from the second to the positive, `second_cfg` from the negative to it.

    It is eq. 3 of Brooks et al. (2023) with prompts in place of the picture.
    """

    def follow(call: Call) -> Tensor:
        positive, second, negative = call.ask("positive", "second", "negative")
        return negative + second_cfg * (second - negative) + cfg * (positive - second)

    return follow


def within(rule: Rule, start: float, end: float) -> Rule:
    """Guidance in a limited interval (Kynkäänniemi et al. 2024): outside it only the positive, at half the cost."""

    def follow(call: Call) -> Tensor:
        return rule(call) if call.moment.within(start, end) else call.ask("positive")[0]

    return follow


def perturbed(rule: Rule, scale: float, branch: str = "perturbed") -> Rule:
    """Perturbed-attention guidance (Ahn et al. 2024): guides away from a branch with a worse prediction."""

    def follow(call: Call) -> Tensor:
        x0 = rule(call)
        positive, worse = call.ask("positive", branch)
        return x0 + scale * (positive - worse)

    return follow


def instructed(cfg: float, image_cfg: float) -> Rule:
    """InstructPix2Pix (Brooks et al. 2023), eq. 3: one scale for the picture, one for the text.

    "positive" has both, "negative" only the picture, "pictureless" neither.
    """

    def follow(call: Call) -> Tensor:
        positive, negative, neither = call.ask("positive", "negative", "pictureless")
        return neither + image_cfg * (negative - neither) + cfg * (positive - negative)

    return follow
