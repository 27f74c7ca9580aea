"""The tensor maths of diffusion sampling: schedules, samplers, noise, prediction and guidance, as pure functions."""

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.guidance import composite, guided, masked
from latentloom.nodes.diffusion.noise import NoiseRule, first_noise, item_seeds, step_noise, step_seed
from latentloom.nodes.diffusion.prediction import (
    Condition,
    Network,
    Predict,
    PredictionKind,
    initial_latent,
    prediction,
    timestep_of,
)
from latentloom.nodes.diffusion.sampler import Denoised, NoiseKind, Report, Sample, Sampler, StepNoise
from latentloom.nodes.diffusion.schedules import (
    Schedule,
    builtin_schedules,
    scaled_linear_table,
    sigmas_for,
    zero_snr_table,
)

__all__ = [
    "Condition",
    "Denoised",
    "Network",
    "NoiseKind",
    "NoiseRule",
    "Predict",
    "PredictionKind",
    "Report",
    "Sample",
    "Sampler",
    "Schedule",
    "StepNoise",
    "builtin_samplers",
    "builtin_schedules",
    "composite",
    "first_noise",
    "guided",
    "initial_latent",
    "item_seeds",
    "masked",
    "prediction",
    "scaled_linear_table",
    "sigmas_for",
    "step_noise",
    "step_seed",
    "timestep_of",
    "zero_snr_table",
]
