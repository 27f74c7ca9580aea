"""Nodes that set facts of a model's training that its file does not contain."""

from typing import Annotated, Literal

from pydantic import Field

from latentloom.engine import Model, node
from latentloom.engine.errors import BadValueError


@node(
    "SetPrediction",
    display_name="Set prediction type",
    aliases=("ModelSamplingDiscrete", "v prediction", "epsilon", "zero snr", "ModelSampling"),
    category="sampling",
)
def set_prediction(
    model: Model,
    prediction: Annotated[
        Literal["epsilon", "v", "sample", "lcm"],
        Field(
            description="What the network predicts: the noise (epsilon), v, or the image (sample); lcm for a "
            "consistency model."
        ),
    ] = "epsilon",
    zero_snr: Annotated[
        bool, Field(description="Whether the training schedule had zero terminal SNR, as most v-prediction models do.")
    ] = False,
) -> Model:
    """Set what a model predicts. Place this node after the loader and any LoRAs.

    "lcm" is for latent consistency models (Luo et al. 2023) and LoRAs that turn a model into one: the noise is
    predicted at 50 of the timesteps, with the paper's boundary condition. Use the sampler `lcm` and few steps.
    """
    if model.info["prediction"] == "flow":
        raise BadValueError(
            "the model was trained by flow matching: its prediction type cannot be changed",
            expected="a UNet",
            got=_name(model),
            hint="SetShift is for such models",
        )
    return _told(model, prediction=prediction, zero_snr=zero_snr)


@node(
    "SetShift",
    display_name="Set shift",
    aliases=(
        "ModelSamplingAuraFlow",
        "ModelSamplingSD3",
        "ModelSamplingFlux",
        "flow",
        "timestep shift",
        "ModelSampling",
    ),
    category="sampling",
)
def set_shift(
    model: Model,
    shift: Annotated[
        float,
        Field(ge=0.01, le=100, description="1 applies no shift; higher values spend more steps at high noise levels."),
    ],
) -> Model:
    """Set the factor by which a flow-matching model shifts its sigmas towards noise (Esser et al. 2024, eq. 23).

    It replaces the model's own rule, even if that depends on the image size or fixes the last sigma, as for
    Qwen-Image. Models and LoRAs for few steps mostly need one.
    """
    if model.info["prediction"] != "flow":
        raise BadValueError(
            "only models that were trained by flow matching have a shift", expected="a flow", got=_name(model)
        )
    kept = {name: value for name, value in model.info["shift"].items() if name == "count"}
    return _told(model, shift={**kept, "shift": shift})


def _told(model: Model, **facts: object) -> Model:
    return Model(model.model_kind, model.files, {**model.info, **facts}, model.patches)


def _name(model: Model) -> str:
    return model.files[0].name if model.files else model.model_kind


NODES = (set_prediction, set_shift)
