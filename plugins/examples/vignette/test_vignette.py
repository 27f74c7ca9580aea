import numpy as np
from latentloom_vignette import vignette

from latentloom.engine import Image
from latentloom.plugins.testing import PluginChecks


class TestVignette(PluginChecks):
    plugin = "vignette"


def test_the_corners_are_black_and_the_middle_is_not():
    white = Image(np.ones((1, 5, 5, 3)))

    pixels = vignette(white, strength=1.0).numpy()[0, :, :, 0]

    assert pixels[0, 0] == 0 and pixels[4, 4] == 0 and pixels[2, 2] == 1


def test_transparency_stays():
    image = Image(np.full((1, 4, 4, 4), 0.5))

    assert (vignette(image).numpy()[..., 3] == 0.5).all()
