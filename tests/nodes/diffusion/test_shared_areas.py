"""Areas that the other conditioning is asked for too."""

import numpy as np
import pytest

from latentloom.engine import Array, Cond, Conditioning
from latentloom.nodes.diffusion.shared_areas import in_pixels, shared_areas


def entry(value, **extra):
    return Cond(Array(np.full((1, 2, 3), value)), extra)


def area(x=0, y=0, width=64, height=64, **more):
    return {"x": x, "y": y, "width": width, "height": height, **more}


def read(conditioning):
    return [(float(one.embedding.numpy()[0, 0, 0]), dict(one.extra)) for one in conditioning.entries]


def test_the_negative_is_asked_for_the_area_as_much_and_when_the_positive_is():
    part = area(crop_other=True)
    positive = Conditioning([entry(1), entry(2, area=part, strength=0.7, start=0.2)])
    negative = Conditioning([entry(3, strength=2.0, crop=[0, 0])])
    found, other = shared_areas(positive, negative)
    assert read(found) == read(positive)
    assert read(other) == [*read(negative), (3, {"crop": [0, 0], "area": part, "strength": 0.7, "start": 0.2})]


def test_the_smallest_area_around_it_speaks_for_the_other_side():
    part = area(16, 16, crop_other=True)
    sides = [entry(3), entry(4, area=area(width=128, height=128)), entry(5, area=area(0, 0, 96, 96))]
    _, other = shared_areas(Conditioning([entry(2, area=part)]), Conditioning(sides))
    assert [value for value, _ in read(other)] == [3, 4, 5, 5]


def test_nothing_is_added_where_it_is_there_already_or_nobody_asks():
    plain, part = Conditioning([entry(1, area=area())]), area(crop_other=True)
    asked = Conditioning([entry(2, area=part)])
    for negative in (plain, Conditioning([entry(3, area=part)])):
        found, other = shared_areas(asked, negative)
        assert (read(found), read(other)) == (read(asked), read(negative))
    assert read(shared_areas(plain, Conditioning([entry(3)]))[1]) == [(3, {})]


@pytest.mark.parametrize(
    ("share", "pixels"),
    [
        ([0.5, 0.0, 0.5, 1.0], area(48, 0, 48, 64)),
        ([0.0, 0.0, 0.01, 0.01], area(0, 0, 8, 8)),
        ([1.0, 1.0, 1.0, 1.0], area(88, 56, 96, 64)),
        ([0.3, 0.26, 0.2, 0.2], area(32, 16, 16, 16)),
    ],
)
def test_shares_of_the_picture_become_whole_cells(share, pixels):
    found = in_pixels(Conditioning([entry(1, area={"share": share, "crop_other": True}, strength=2.0)]), 96, 64, 8)
    assert read(found) == [(1, {"area": {**pixels, "crop_other": True}, "strength": 2.0})]
    assert read(in_pixels(found, 640, 640, 8)) == read(found)
