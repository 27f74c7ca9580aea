"""Which of the classes that public workflows use have a counterpart, counted, with a reason for each that has none.

tests/data/comfyui-classes.json holds facts: "families" the core classes of 1,094 public workflows for Stable Diffusion
1, 2 and XL with the share of them (in %) that uses each, "templates" the classes of ComfyUI's own templates of autumn
2026 whose widgets have names, "absent" the classes without a counterpart by reason.
"""

import json
from pathlib import Path

from latentloom.plugins.comfyui.classes import FOLDED, RULES
from latentloom.plugins.comfyui.ui_format import VIRTUAL

DATA = json.loads((Path(__file__).parents[2] / "data" / "comfyui-classes.json").read_text())
KNOWN = {*RULES, *FOLDED, *VIRTUAL}
ABSENT = {name for names in DATA["absent"].values() for name in names}


def test_every_class_is_known_or_named_with_a_reason() -> None:
    assert {*DATA["families"], *DATA["templates"]} - KNOWN - ABSENT == set()
    assert sum(map(len, DATA["absent"].values())) == len(ABSENT)


def test_nearly_all_uses_of_stable_diffusion_s_classes_are_known() -> None:
    shares = DATA["families"]
    known = sum(share for name, share in shares.items() if name in KNOWN)
    assert known / sum(shares.values()) > 0.99


def test_most_classes_of_templates_that_need_no_other_model_are_known() -> None:
    reasons = [reason for reason in DATA["absent"] if reason.startswith(("makes", "calls", "needs"))]
    others = {name for reason in reasons for name in DATA["absent"][reason]}
    own = set(DATA["templates"]) - others
    assert len(own & KNOWN) / len(own) > 0.75
