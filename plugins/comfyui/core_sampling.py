"""Rules for ComfyUI's core classes for sampling, sigmas, noise and guidance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentloom.plugins.comfyui.core_models import perpendicular, with_controls
from latentloom.plugins.comfyui.rules import (
    MOST,
    NOISE_RULE,
    Inner,
    Known,
    Made,
    Result,
    Rule,
    Unmappable,
    Use,
    renamed,
)

MAX_STEPS = 10_000
MAX_WRITTEN = 1_000  # maximum number of sigmas written as literals
TRAINED = 1000  # timesteps of Stable Diffusion
# Align Your Steps, Sabour et al. 2024: the published sigmas for ten steps
ALIGNED = {
    "SD1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "SDXL": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
}
# Classes that select a sampler, with its name here, and option names here by ComfyUI's
OBJECTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "SamplerEulerAncestral": ("euler_ancestral", {"eta": "eta", "s_noise": "s_noise"}),
    "SamplerDPMPP_SDE": ("dpmpp_sde", {"eta": "eta", "s_noise": "s_noise"}),
    "SamplerDPMPP_2M_SDE": ("dpmpp_2m_sde", {"eta": "eta", "s_noise": "s_noise"}),
    "SamplerER_SDE": ("er_sde", {"eta": "eta", "s_noise": "s_noise"}),
    "SamplerLCM": ("lcm", {"s_noise": "s_noise"}),
    "SamplerDPMPP_3M_SDE": ("dpmpp_3m_sde", {"eta": "eta", "s_noise": "s_noise"}),
}


def _sampling(use: Use) -> dict[str, Any]:
    inputs = use.take(
        model="model", positive="positive", negative="negative", latent="latent_image", steps="steps", cfg="cfg",
        sampler="sampler_name", schedule="scheduler",
    )  # fmt: skip
    inputs = with_controls(use, inputs)
    return {**inputs, "sampler": sampler_name(use, inputs.get("sampler")), "noise_rule": NOISE_RULE}


def sampler_name(use: Use, name: Any) -> Any:
    """Return our name of a sampler."""
    if type(name) is str and name.endswith("_gpu"):
        use.note("approximated", f"'{name}' draws its noise on the GPU; noise_rule comfyui_cuda comes nearest to it")
        return name.removesuffix("_gpu")
    return name


def _ksampler(use: Use) -> Result:
    return Made("KSampler", 1, {**_sampling(use), **use.take(seed="seed", denoise="denoise")}, ("latent",))


def _ksampler_advanced(use: Use) -> Result:
    steps = use.take(seed="noise_seed", start_step="start_at_step", end_step="end_at_step")
    steps["end_step"] = min(use.value("end_at_step", int, MAX_STEPS), MAX_STEPS)
    switches = {
        "add_noise": use.value("add_noise", str) == "enable",
        "leftover_noise": use.value("return_with_leftover_noise", str) == "enable",
    }
    return Made("KSamplerAdvanced", 1, {**_sampling(use), **steps, **switches}, ("latent",))


# Samplers composed of several nodes


def _chosen(use: Use) -> dict[str, Any]:
    """Return the sampler behind a link, with its options."""
    part = use.source("sampler", "KSamplerSelect", *OBJECTS)
    if part.node.type == "KSamplerSelect":
        inputs = part.take(sampler="sampler_name")
        return {**inputs, "sampler": sampler_name(part, inputs.get("sampler"))}
    name, options = OBJECTS[part.node.type]
    if part.value("noise_device", str, "cpu") == "gpu":
        part.note("approximated", "it draws its noise on the GPU; noise_rule comfyui_cuda comes nearest to it")
    if part.number("r", 0.5) != 0.5:
        raise Unmappable("'r' of dpmpp_sde is always 0.5 here")
    if part.node.type in ("SamplerER_SDE", "SamplerLCM"):
        _only_usual(part)
        return {**part.take(**options), "sampler": name}
    solver = part.value("solver_type", str, "midpoint")
    return {**part.take(**options), "sampler": name if solver == "midpoint" else f"{name}_{solver}"}


def _only_usual(part: Use) -> None:
    """Raise Unmappable for options of a sampler that are fixed here."""
    usual = {
        "solver_type": "ER-SDE",
        "max_stage": 3,
        "noise_clip_std": 0,
        "s_noise_end": part.node.inputs.get("s_noise"),
    }
    for name, value in usual.items():
        part.ignore(name)
        if part.node.inputs.get(name, value) != value:
            raise Unmappable(f"'{name}' of {part.node.type} is always {value} here")


def _custom(use: Use, guided: Mapping[str, Any], noise: Mapping[str, Any], inner: Mapping[str, Made]) -> Result:
    if use.uses(1):
        use.note("approximated", "'denoised_output' equals 'output' here; they differ if the sigmas end above 0")
    inputs = {**guided, **noise, **use.take(latent="latent_image", sigmas="sigmas"), **_chosen(use)}
    return Made("SampleCustom", 1, {**inputs, "noise_rule": NOISE_RULE}, ("latent", "latent"), inner)


def _sampler_custom(use: Use) -> Result:
    inputs = with_controls(use, use.take(model="model", positive="positive", negative="negative", cfg="cfg"))
    return _custom(use, inputs, use.take(add_noise="add_noise", seed="noise_seed"), {})


def _sampler_custom_advanced(use: Use) -> Result:
    noise = use.source("noise", "RandomNoise", "DisableNoise")
    described = noise.take(seed="noise_seed") if noise.node.type == "RandomNoise" else {"add_noise": False}
    guider = use.source("guider", *GUIDERS)
    if guider.node.type == "BasicGuider":
        both = guider.link("conditioning")
        alone = {"model": guider.link("model"), "positive": both, "negative": both, "cfg": 1.0}
        return _custom(use, alone, described, {})
    if guider.node.type == "DualCFGGuider":
        return _custom(use, *_two_prompts(guider, described))
    guided = with_controls(guider, guider.take(positive="positive", negative="negative", cfg="cfg"))
    if guider.node.type == "CFGGuider":
        return _custom(use, {**guided, "model": guider.link("model")}, described, {})
    model, inner = perpendicular(guider)
    return _custom(use, {**guided, "model": model}, described, inner)


def _two_prompts(guider: Use, noise: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any], dict[str, Made]]:
    """Return the inputs for a guider with two prompts, and the node that it needs."""
    if guider.value("style", str, "regular") != "regular":
        raise Unmappable("two prompts are applied side by side here; nested guidance is not supported")
    inputs = guider.take(positive="cond1", negative="negative", cfg="cfg_conds")
    second = {"model": guider.link("model"), **guider.take(second="cond2", cfg="cfg_cond2_negative")}
    return {**inputs, "model": Inner("second", "model")}, noise, {"second": Made("TwoPromptGuidance", 1, second)}


# Sigmas. Those that depend only on numbers are written as literals.


def _count(use: Use, name: str = "steps") -> int:
    count = use.whole(name)
    if not 1 <= count <= MAX_WRITTEN:
        raise Unmappable(f"'{name}' is {count}: sigmas are written down for 1 to {MAX_WRITTEN} steps")
    return count


def _denoise(use: Use) -> float:
    share = use.number("denoise", 1.0)
    if not 0 <= share <= 1:
        raise Unmappable("'denoise' is not within 0 and 1")
    return share


def _range(use: Use) -> tuple[int, float, float]:
    """Return steps, largest and smallest sigma. Raises Unmappable unless the sigmas decrease."""
    count, most, least = _count(use), use.number("sigma_max"), use.number("sigma_min")
    if not 1e-6 < least < most < 1e6:
        raise Unmappable("'sigma_max' must be above 'sigma_min', and both above 0")
    return count, most, least


def _karras(use: Use) -> Result:
    """Karras schedule: Karras et al. 2022, eq. 5."""
    count, most, least = _range(use)
    rho = use.number("rho", 7.0)
    if not 0.1 <= rho <= 1000:
        raise Unmappable("'rho' is not within 0.1 and 1000")
    first, last = most ** (1 / rho), least ** (1 / rho)
    return Known(([(first + share * (last - first)) ** rho for share in _shares(count)] + [0.0],))


def _exponential(use: Use) -> Result:
    """Exponential schedule: equally spaced in log sigma."""
    count, most, least = _range(use)
    return Known(([math.exp(math.log(most) + s * math.log(least / most)) for s in _shares(count)] + [0.0],))


def _polyexponential(use: Use) -> Result:
    """Polynomial in log sigma, of the degree rho."""
    count, most, least = _range(use)
    rho = use.number("rho", 1.0)
    if not 0 <= rho <= 100:
        raise Unmappable("'rho' is not within 0 and 100")
    ramp = [(1 - share) ** rho for share in _shares(count)]
    return Known(([math.exp(math.log(least) + one * math.log(most / least)) for one in ramp] + [0.0],))


def _preserving(use: Use) -> Result:
    """Continuous variance-preserving schedule: Song et al. 2021."""
    count, slope = _count(use), use.number("beta_d", 19.9)
    least, end = use.number("beta_min", 0.1), use.number("eps_s", 0.001)
    if not (0 < end < 1 and 0 <= slope <= 100 and 0 <= least <= 100):
        raise Unmappable("the sigmas of 'beta_d', 'beta_min' and 'eps_s' have no bounds")
    times = [1 + share * (end - 1) for share in _shares(count)]
    return Known(([math.sqrt(math.expm1(slope * t * t / 2 + least * t)) for t in times] + [0.0],))


def _beta(use: Use) -> Result:
    if use.number("alpha", 0.6) != 0.6 or use.number("beta", 0.6) != 0.6:
        raise Unmappable("the schedule 'beta' has alpha and beta 0.6 here")
    return Made("Sigmas", 1, {**use.take(model="model", steps="steps"), "schedule": "beta"}, ("values",))


def _shares(count: int) -> list[float]:
    return [n / max(1, count - 1) for n in range(count)]


def _turbo(use: Use) -> Result:
    """Turbo schedule: the sigmas of every hundredth timestep, the last ones if denoise is below 1."""
    use.link("model")
    count, start = _count(use), 10 - int(10 * _denoise(use))
    betas = [(0.00085**0.5 + n / (TRAINED - 1) * (0.012**0.5 - 0.00085**0.5)) ** 2 for n in range(TRAINED)]
    kept, table = 1.0, list[float]()
    for beta in betas:
        kept *= 1 - beta
        table.append(((1 - kept) / kept) ** 0.5)
    times = [100 * n - 1 for n in range(10, 0, -1)][start : start + count]
    return Known(([*(table[time] for time in times), 0.0],))


def _flux2(use: Use) -> Result:
    """Flux.2's schedule: equal shares, shifted by e^mu; mu is linear in the steps and in the tokens of 16 x 16 pixels.

    The constants are those of Black Forest Labs' code: mu for 200 and for 10 steps, and for large pictures.
    """
    count, tokens = _count(use), use.whole("width") * use.whole("height") / 256
    at_200, at_10 = 0.00016927 * tokens + 0.45666666, 8.73809524e-05 * tokens + 1.89833333
    mu = at_200 if tokens > 4300 else at_200 + (at_200 - at_10) / 190 * (count - 200)
    return Known(([1 / (1 + math.exp(-mu) * n / (count - n)) for n in range(count)] + [0.0],))


def _aligned(use: Use) -> Result:
    kind, count, denoise = use.value("model_type", str), _count(use), _denoise(use)
    if kind not in ALIGNED:
        raise Unmappable(f"there are no aligned steps for '{kind}' here")
    sigmas = [*_spread(ALIGNED[kind], count + 1)[:-1], 0.0]
    kept = round(count * denoise)
    return Known((sigmas[-(kept + 1) :] if kept > 0 else [],))


def _spread(sigmas: Sequence[float], count: int) -> list[float]:
    """Interpolate sigmas to `count` values, linearly in log sigma."""
    logs, found = [math.log(sigma) for sigma in sigmas], []
    for n in range(count):
        place = n * (len(logs) - 1) / (count - 1)
        low = min(int(place), len(logs) - 2)
        found.append(math.exp(logs[low] + (place - low) * (logs[low + 1] - logs[low])))
    return found


def _written(use: Use) -> Result:
    words = use.value("sigmas", str)[: 40 * MAX_WRITTEN].replace(",", " ").split()
    try:
        sigmas = [float(word) for word in words]
    except ValueError:
        raise Unmappable("'sigmas' are not numbers") from None
    if len(sigmas) > MAX_WRITTEN or not all(0 <= sigma < MOST for sigma in sigmas):
        raise Unmappable(f"'sigmas' are not up to {MAX_WRITTEN} numbers above 0")
    return Known((sigmas,))


RULES: dict[str, Rule] = {
    "KSampler": _ksampler,
    "KSamplerAdvanced": _ksampler_advanced,
    "SamplerCustom": _sampler_custom,
    "SamplerCustomAdvanced": _sampler_custom_advanced,
    "BasicScheduler": renamed(
        "Sigmas", 1, "values", model="model", schedule="scheduler", steps="steps", denoise="denoise"
    ),
    "SplitSigmas": renamed("SplitSigmas", 1, "high low", sigmas="sigmas", step="step"),
    "Flux2Scheduler": _flux2,
    "SplitSigmasDenoise": renamed("SplitSigmas", 1, "high low", sigmas="sigmas", denoise="denoise"),
    "SetFirstSigma": renamed("SetFirstSigma", 1, "values", sigmas="sigmas", sigma="sigma"),
    "BetaSamplingScheduler": _beta,
    "PolyexponentialScheduler": _polyexponential,
    "VPScheduler": _preserving,
    "KarrasScheduler": _karras,
    "ExponentialScheduler": _exponential,
    "SDTurboScheduler": _turbo,
    "AlignYourStepsScheduler": _aligned,
    "ManualSigmas": _written,
}
GUIDERS = ("BasicGuider", "CFGGuider", "DualCFGGuider", "PerpNegGuider")
FOLDED = frozenset({"KSamplerSelect", *OBJECTS, "RandomNoise", "DisableNoise", *GUIDERS})
