"""The names and facts of the built-in samplers and schedules. Their code is not imported here."""

from typing import Any

from latentloom.engine.types.registry import Registration

_CODE = "latentloom.nodes.diffusion"
_FRESH: dict[str, Any] = {"noise": "gaussian", "options": ("s_noise",)}
_GAUSSIAN: dict[str, Any] = {"noise": "gaussian", "options": ("eta", "s_noise")}
_BROWNIAN: dict[str, Any] = {"noise": "brownian", "options": ("eta", "s_noise")}
_CHURN: dict[str, Any] = {"options": ("churn", "s_noise")}
_TWICE: dict[str, Any] = {"evaluations": 2}
_DISCARD: dict[str, Any] = {"discard_penultimate": True}

SAMPLERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("euler", "euler", _CHURN),
    ("euler_ancestral", "euler", _GAUSSIAN),
    ("euler_cfg_pp", "cfg_pp", {"unguided": True}),
    ("euler_ancestral_cfg_pp", "cfg_pp", _GAUSSIAN | {"unguided": True}),
    ("heun", "heun", _TWICE | _CHURN),
    ("dpm_2", "heun", _TWICE | _DISCARD | _CHURN),
    ("dpm_2_ancestral", "heun", _GAUSSIAN | _TWICE | _DISCARD),
    ("dpmpp_2s_ancestral", "dpmpp", _GAUSSIAN | _TWICE),
    ("dpmpp_2m", "dpmpp", {}),
    ("dpmpp_2m_sde", "dpmpp_sde", _BROWNIAN),
    ("dpmpp_sde", "dpmpp_sde", _BROWNIAN | _TWICE),
    ("dpmpp_3m_sde", "dpmpp_sde", _BROWNIAN),
    ("lms", "multistep", {}),
    ("pndm", "multistep", {}),
    ("ddim", "ddpm", {"kept_seed": 1}),
    ("ddpm", "ddpm", _FRESH),
    ("uni_pc", "uni_pc", _DISCARD),
    ("uni_pc_bh2", "uni_pc", _DISCARD),
    ("deis", "multistep", {}),
    ("lcm", "ddpm", _FRESH),
    ("res_multistep", "res_multistep", {}),
    ("res_multistep_ancestral", "res_multistep", _GAUSSIAN),
    ("gradient_estimation", "gradient_estimation", {}),
    ("er_sde", "er_sde", _FRESH),
    ("ipndm", "ipndm", {}),
    ("ipndm_v", "ipndm", {}),
    ("heunpp2", "heun", {"evaluations": 3}),
    ("dpmpp_2m_sde_heun", "dpmpp_sde", _BROWNIAN),
    ("seeds_2", "seeds", _GAUSSIAN | _TWICE),
    ("seeds_3", "seeds", _GAUSSIAN | {"evaluations": 3}),
    ("sa_solver", "sa_solver", _GAUSSIAN),
    ("sa_solver_pece", "sa_solver", _GAUSSIAN | _TWICE),
)
"""Name, module and facts, in the order in which an interface shows them."""

SCHEDULES = (
    "normal",
    "karras",
    "exponential",
    "sgm_uniform",
    "simple",
    "ddim_uniform",
    "beta",
    "linear_quadratic",
    "kl_optimal",
    "ays_sd1",
    "ays_sdxl",
    "laplace",
    "sd_turbo",
)


def register_samplers(registry: Registration) -> None:
    """Register the samplers and schedules by reference."""
    for name, module, facts in SAMPLERS:
        registry.sampler(name, f"{_CODE}.{module}:{name}", **facts)
    for name in SCHEDULES:
        registry.schedule(name, f"{_CODE}.schedules:{name}")
