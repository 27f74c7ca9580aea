"""What the built-in nodes hand to the registry."""

import subprocess
import sys

import pytest

from latentloom.engine.types.registry import Distribution, Registration
from latentloom.engine.types.values import VALUE_TYPES
from latentloom.nodes import register

LEARNT = ("LORA", "DATASET")
WITHOUT_MODELS = ("image", "image_grid", "mask", "preprocessors", "primitives")


@pytest.fixture(scope="module")
def registered():
    registration = Registration(Distribution("latentloom", "0", "builtin", "code", builtin=True))
    register(registration)
    return registration


def test_registering_imports_no_heavy_library():
    code = (
        "import sys; from latentloom.plugins.discovery import discover; found = discover();"
        "assert found.registry.nodes['LoadImage'], found.records;"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'scipy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_value_class_is_a_port_type_with_a_colour_of_its_own_and_a_help(registered):
    kinds = [*(cls.kind for cls in VALUE_TYPES), *LEARNT]
    assert [item.kind for item in registered.types] == kinds
    assert len({item.colour for item in registered.types}) == len(kinds)
    assert all(item.help.endswith(".") for item in registered.types)


def test_the_nodes_without_a_model_are_there(registered):
    found = [
        item.spec.type for item in registered.nodes if item.spec.function.split(":")[0].split(".")[-1] in WITHOUT_MODELS
    ]
    assert sorted(found) == [
        *("BlurImage", "Boolean", "CannyEdges", "Choice", "Float", "If", "ImageBlend", "ImageCrop", "ImageGrid"),
        *(
            "ImageScale",
            "ImageStitch",
            "Integer",
            "InvertImage",
            "InvertMask",
            "JoinText",
            "Lineart",
            "LoadImage",
            "LoadMask",
        ),
        *("MaskCombine", "MaskFadeBorders", "MaskFeather", "MaskFromAlpha", "MaskGrow", "PreviewImage", "ReplaceText"),
        *("SaveImage", "SeedNumber", "SharpenImage", "Text", "TileImage"),
    ]


def test_every_input_that_takes_a_value_says_what_it_means(registered):
    silent = [
        f"{item.spec.type}.{port.name}"
        for item in registered.nodes
        for port in item.spec.inputs
        if port.literal and not port.help
    ]
    assert silent == []


def test_a_registration_is_the_same_after_its_snapshot(registered):
    again = Registration.from_record(registered.distribution, registered.record())
    assert [item.spec for item in again.nodes] == [item.spec for item in registered.nodes]
    assert again.types == registered.types
