"""The nodes that measure: their figures against closed forms and published values."""

import threading

import numpy as np
import pytest
from drawings import flat, noise

from latentloom.api import Session
from latentloom.engine import Context, Image
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing import similarity
from latentloom.nodes.drawing.colour_difference import delta_e, lab
from latentloom.nodes.measure import compare_pictures

SHARMA = [  # Sharma, Wu & Dalal 2005, table 1
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def compared(image: Image, reference: Image, gain: float = 1.0):
    context = Context(node="n", services=None, emit=lambda event: None, cancelled=threading.Event())
    return compare_pictures(context, image, reference, gain)


def problem(image: Image, reference: Image) -> tuple[str, str | None, str | None]:
    with pytest.raises(BadValueError) as caught:
        compared(image, reference)
    found = caught.value.problem
    return found.message, found.expected, found.got


def test_identical_pictures_have_no_difference():
    found = compared(noise(2, 16, 20), noise(2, 16, 20))
    assert (found.psnr, found.delta_e) == (100, 0)
    assert found.ssim == pytest.approx(1, abs=1e-12)
    assert not found.difference.numpy().any()


def test_grey_on_grey_has_the_figures_of_the_formulas():
    found = compared(flat([0.5, 0.5, 0.5], 16, 16), flat([0.6, 0.6, 0.6], 16, 16), gain=4)
    assert found.psnr == pytest.approx(20, abs=1e-4)  # the squared error is 0.1^2
    assert found.ssim == pytest.approx((2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4), abs=1e-6)
    assert found.difference.numpy() == pytest.approx(0.4, abs=1e-6)


def test_black_and_white_are_as_far_apart_as_can_be():
    found = compared(flat([0, 0, 0], 11, 11), flat([1, 1, 1], 11, 11))
    assert (found.psnr, found.delta_e) == (pytest.approx(0), pytest.approx(100))
    assert found.ssim == pytest.approx(1e-4 / (1 + 1e-4))


def test_noise_has_the_ratio_of_its_deviation():
    made = np.random.default_rng(0).normal(0.5, 0.05, (1, 128, 128, 3)).clip(0, 1)
    assert compared(Image(made), flat([0.5, 0.5, 0.5], 128, 128)).psnr == pytest.approx(-20 * np.log10(0.05), abs=0.1)


def test_the_similarity_is_that_of_windows_weighed_one_by_one(monkeypatch):
    """Eq. 13 with the weights written out; strips of one row change nothing."""
    x, y = (noise(1, 14, 13, seed=seed).numpy()[0] for seed in (1, 2))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    planes = [picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) for picture in (x, y)]
    values = []
    for top in range(4):
        for left in range(3):
            a, b = (plane[top : top + 11, left : left + 11] for plane in planes)
            p, q = (weights * a).sum(), (weights * b).sum()
            spread = (weights * (a - p) ** 2).sum() + (weights * (b - q) ** 2).sum()
            both = (weights * (a - p) * (b - q)).sum()
            values.append((2 * p * q + 1e-4) * (2 * both + 9e-4) / ((p * p + q * q + 1e-4) * (spread + 9e-4)))
    assert similarity.ssim(x, y, lambda: None) == pytest.approx(np.mean(values), abs=1e-12)
    monkeypatch.setattr(similarity, "STRIP", 1)
    assert similarity.ssim(x, y, lambda: None) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_colour_differences_are_the_published_ones_both_ways(first, second, expected):
    one, other = np.array(first, float), np.array(second, float)
    assert delta_e(one, other) == pytest.approx(expected, abs=5e-5)
    assert delta_e(other, one) == pytest.approx(expected, abs=5e-5)


def test_the_primaries_of_srgb_have_their_lab_values():
    found = lab(np.float32([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    expected = [[100, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert found == pytest.approx(np.array(expected), abs=0.02)


def test_one_reference_serves_a_batch_and_the_figures_are_means():
    batch = np.concatenate([flat([0.5] * 3, 12, 12).numpy(), flat([0.6] * 3, 12, 12).numpy()])
    found = compared(Image(batch), flat([0.5] * 3, 12, 12))
    assert found.psnr == pytest.approx(60, abs=1e-4)  # 100 and 20
    assert found.difference.shape == (2, 12, 12, 3)
    assert found.table.splitlines()[:3] == [
        "picture  PSNR    SSIM    delta E",
        "1        100.00  1.0000  0.00",
        f"2        20.00   {2 * found.ssim - 1:.4f}  {2 * found.delta_e:.2f}",
    ]


def test_transparent_pictures_are_compared_on_white():
    clear = flat([0.2, 0.4, 0.6, 0.0], 12, 12)
    assert compared(clear, flat([1, 1, 1], 12, 12)).psnr == 100
    assert compared(clear, flat([0.2, 0.4, 0.6], 12, 12)).psnr < 10


def test_pictures_that_do_not_fit_are_refused():
    assert problem(noise(1, 12, 16), noise(1, 16, 12)) == ("the pictures have different sizes", "12x16", "16x12")
    small = "the pictures are too small to be compared"
    assert problem(noise(1, 10, 16), noise(1, 10, 16)) == (small, "at least 11 pixels a side", "16x10")
    lengths = "the batches have different lengths"
    assert problem(noise(2, 12, 12), noise(3, 12, 12)) == (lengths, "one reference, or one for each", "2 and 3")


def test_a_workflow_passes_the_figures_on(plain: Session):
    nodes = {
        "grey": {"type": "ColourImage", "inputs": {"width": 16, "height": 16, "colour": "#808080"}},
        "white": {"type": "ColourImage", "inputs": {"width": 16, "height": 16, "colour": "#ffffff"}},
        "compare": {
            "type": "ComparePictures",
            "inputs": {n: {"node": node, "output": "image"} for n, node in (("image", "grey"), ("reference", "white"))},
        },
        "half": {
            "type": "Calculate",
            "inputs": {"expression": "a / 2", "values": [{"node": "compare", "output": "psnr"}]},
        },
    }
    outputs = [
        {"name": name, "from": {"node": node, "output": name}}
        for node, name in (("compare", "psnr"), ("half", "number"))
    ]
    found = plain.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})
    assert found["psnr"] == pytest.approx(-20 * np.log10(127 / 255), abs=1e-4)
    assert found["number"] == found["psnr"] / 2
