"""The tensor maths of diffusion sampling: schedules, samplers, noise, prediction and guidance, as pure functions."""

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.entries import Area, Entry
from latentloom.nodes.diffusion.evaluation import Branch
from latentloom.nodes.diffusion.guidance import Call, Rule, classifier_free, composite, guided, masked, steered
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
from latentloom.nodes.diffusion.timeline import Moment, Timeline

__all__ = [
    "Area",
    "Branch",
    "Call",
    "Condition",
    "Denoised",
    "Entry",
    "Moment",
    "Network",
    "NoiseKind",
    "NoiseRule",
    "Predict",
    "PredictionKind",
    "Report",
    "Rule",
    "Sample",
    "Sampler",
    "Schedule",
    "StepNoise",
    "Timeline",
    "builtin_samplers",
    "builtin_schedules",
    "classifier_free",
    "composite",
    "first_noise",
    "guided",
    "initial_latent",
    "item_seeds",
    "masked",
    "prediction",
    "scaled_linear_table",
    "sigmas_for",
    "steered",
    "step_noise",
    "step_seed",
    "timestep_of",
    "zero_snr_table",
]
