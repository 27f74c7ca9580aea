"""The core of Latentloom: workflows, graphs, cache keys, caching, execution. Plugins may import the names here."""

from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.files.model_files import FileIdentity, InputFile, ModelFile
from latentloom.engine.types.absent import Absent
from latentloom.engine.types.arrays import Array
from latentloom.engine.types.context import Context
from latentloom.engine.types.expansion import Expansion
from latentloom.engine.types.node import Advanced, Lazy, Mentions, Seed, Source, Text, Widget, node
from latentloom.engine.types.spec import InputSpec, NodeSpec, OutputSpec
from latentloom.engine.types.values import (
    Clip,
    ClipVision,
    Cond,
    Conditioning,
    ControlNet,
    Image,
    Latent,
    Mask,
    Model,
    Patch,
    Vae,
    Value,
)

__all__ = [
    "Absent",
    "Advanced",
    "Array",
    "Clip",
    "ClipVision",
    "Cond",
    "Conditioning",
    "Context",
    "ControlNet",
    "Expansion",
    "FileIdentity",
    "Image",
    "InputFile",
    "InputSpec",
    "Latent",
    "Lazy",
    "LoomError",
    "Mask",
    "Mentions",
    "Model",
    "ModelFile",
    "NodeSpec",
    "OutputSpec",
    "Patch",
    "Problem",
    "Seed",
    "Source",
    "Text",
    "Vae",
    "Value",
    "Widget",
    "node",
]
