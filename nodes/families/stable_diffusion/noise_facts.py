"""Noise facts of a model's training: prediction, betas, zero terminal SNR; from a scheduler or YAML configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.engine.files.model_files import configuration_of

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
SCHEDULES = ("scaled_linear", "linear", "squaredcos_cap_v2")
START, END, STEPS = 0.0001, 0.02, 1000  # defaults of diffusers' schedulers
MOST_STEPS = 100_000  # the table of sigmas is computed in full
OTHERS = {  # schedulers with other defaults: first and last beta, and their spacing
    "LCMScheduler": (0.00085, 0.012, "scaled_linear"),
    "TCDScheduler": (0.00085, 0.012, "scaled_linear"),
    "DPMSolverSDEScheduler": (0.00085, 0.012, "linear"),
    "HeunDiscreteScheduler": (0.00085, 0.012, "linear"),
    "KDPM2DiscreteScheduler": (0.00085, 0.012, "linear"),
    "KDPM2AncestralDiscreteScheduler": (0.00085, 0.012, "linear"),
}
MOST_YAML = 2**20  # bytes; those of Stable Diffusion have 2 kB
_YAML_SCHEDULES = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "squaredcos_cap_v2"}
_YAML_PREDICTIONS = {"eps": "epsilon", "v": "v", "x0": "sample"}


def scheduler_facts(config: Any, name: str) -> dict[str, Any]:
    """Return the facts in a scheduler's configuration.

    They are "prediction", "zero_snr", "betas", "beta_schedule" and "trained_betas". The sampler is chosen by the
    workflow and not read here. Raises FileError for a training that is not supported.
    """
    kind = str(config.get("_class_name", ""))
    start, end, schedule = OTHERS.get(kind, (START, END, "linear"))
    if kind.startswith(("EDM", "FlowMatch", "ConsistencyModels")):
        raise FileError(f"'{name}' was trained with a noise that Latentloom does not sample yet", got=kind)
    betas = config.get("trained_betas")
    steps = _steps(len(betas) if betas else config.get("num_train_timesteps", STEPS), "num_train_timesteps", name)
    facts = {
        "prediction": _known(PREDICTIONS, config.get("prediction_type") or "epsilon", "prediction_type", name),
        "zero_snr": bool(config.get("rescale_betas_zero_snr")),
        "betas": [config.get("beta_start", start), config.get("beta_end", end), steps],
    }
    if betas:
        return {**facts, "trained_betas": [float(beta) for beta in betas]}
    said = config.get("beta_schedule", schedule)
    return {**facts, "beta_schedule": _known({item: item for item in SCHEDULES}, said, "beta_schedule", name)}


def _known(values: Mapping[str, str], said: Any, key: str, name: str) -> str:
    if said not in values:
        raise FileError(f"'{name}' has an unknown {key}", expected=", ".join(values), got=repr(said))
    return values[said]


def _steps(said: Any, key: str, name: str) -> int:
    """Return the number of timesteps of a training. Raises FileError for one that no table of sigmas can have."""
    if not isinstance(said, int) or not 2 <= said <= MOST_STEPS:
        raise FileError(f"'{name}' has an unusable {key}", expected=f"2..{MOST_STEPS}", got=repr(said)[:40])
    return said


def yaml_beside(path: Path) -> dict[str, Any]:
    """Return the facts in NAME.yaml beside a single file, the original code's configuration; {} without one.

    They are those of `scheduler_facts`, and "scaling_factor" if given. Raises FileError for invalid YAML.
    """
    beside = configuration_of(path)
    if not beside.is_file():
        return {}
    import yaml

    try:
        if beside.stat().st_size > MOST_YAML:
            raise FileError(f"'{beside.name}' is not a model's configuration", expected=f"at most {MOST_YAML} bytes")
        found = yaml.safe_load(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        hint = "repair or remove it: Latentloom uses what it says about the model"
        raise FileError(f"'{beside.name}' next to the model cannot be read: {error}", hint=hint) from None
    return _yaml_facts(_at(found, "model", "params"), beside.name)


def _at(found: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _yaml_facts(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Read the keys of the original code (LDM) and of sgm. LDM's `linear` is diffusers' scaled_linear."""
    facts: dict[str, Any] = {}
    scaling = _at(params, "denoiser_config", "params", "scaling_config").get("target", "")
    said = "v" if str(scaling).endswith("VScaling") else params.get("parameterization")
    if said is not None:
        facts["prediction"] = _known(_YAML_PREDICTIONS, said, "parameterization", name)
    if any(params.get(key) for key in ("zero_terminal_snr", "ztsnr", "rescale_betas_zero_snr")):
        facts["zero_snr"] = True
    if "linear_start" in params and "linear_end" in params:
        facts["betas"] = [
            float(params["linear_start"]),
            float(params["linear_end"]),
            _steps(params.get("timesteps", STEPS), "timesteps", name),
        ]
        facts["beta_schedule"] = _known(_YAML_SCHEDULES, params.get("beta_schedule", "linear"), "beta_schedule", name)
    if "scale_factor" in params:
        facts["scaling_factor"] = float(params["scale_factor"])
    return facts
