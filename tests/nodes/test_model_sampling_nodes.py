"""What a model was trained for, said by a node."""

import pytest

from latentloom.engine import Model, Patch
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.space import space_of
from latentloom.nodes.sampling_model import set_prediction, set_shift

UNET = Model("single_file", [], {"prediction": "epsilon", "betas": (0.00085, 0.012, 1000)}, [Patch("lora", {})])
FLOW = Model(
    "z_image", [], {"prediction": "flow", "size": 128, "shift": {"by": "size_and_steps", "patch": 2, "terminal": 0.02}}
)


def test_a_prediction_is_told_behind_loras():
    found = set_prediction(UNET, "v", True)
    assert found.info == {**UNET.info, "prediction": "v", "zero_snr": True}
    assert found.patches == UNET.patches
    assert space_of(found).table[-1] > 4000


def test_a_shift_replaces_the_model_s_own_rule():
    found = set_shift(FLOW, 3.0)
    assert found.info["shift"] == {"shift": 3.0}
    assert float(space_of(found).table[499]) == pytest.approx(0.75)


def test_a_node_for_the_other_kind_of_model_is_told():
    with pytest.raises(BadValueError, match="its prediction type cannot be changed"):
        set_prediction(FLOW)
    with pytest.raises(BadValueError, match="only models that were trained by flow matching have a shift"):
        set_shift(UNET, 3.0)
