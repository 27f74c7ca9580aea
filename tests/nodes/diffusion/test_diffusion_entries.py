"""Several conditions in one picture: where, when and how much each counts, and how few forwards it takes."""

import pytest
import torch

from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.entries import Area, Entry
from latentloom.nodes.diffusion.evaluation import Branch
from latentloom.nodes.diffusion.guidance import classifier_free, steered
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.diffusion.seamless import Axes
from latentloom.nodes.diffusion.timeline import Moment, Timeline
from latentloom.nodes.text.prompt_times import Times

X = first_noise((2, 4, 16, 24), 1)
SIGMA = torch.tensor(2.0)
LEFT = torch.zeros(1, 1, 16, 24)
LEFT[..., :12] = 1


def entry(level: float, **how) -> Entry:
    return Entry({"context": torch.full((1, 3, 2), level)}, **how)


class Counting:
    """A prediction that is the mean of the condition in every cell, and remembers the size of each forward."""

    def __init__(self):
        self.forwards: list[tuple[int, ...]] = []

    def __call__(self, x, sigma, condition):
        self.forwards.append((x.shape[0], *x.shape[2:]))
        return condition["context"].mean((1, 2)).reshape(-1, 1, 1, 1).expand_as(x).clone()


def ask(positive, negative, cfg=1.0, timeline=None, sigma=SIGMA):
    """The guided prediction at one channel of one item, and the forwards that it took."""
    predict = Counting()
    branches = {"positive": Branch(tuple(positive), predict), "negative": Branch(tuple(negative), predict)}
    found = steered(branches, classifier_free(cfg), timeline or Timeline([]))(X, sigma)
    assert torch.equal(found, found[:1, :1].expand_as(found))
    return found[0, 0], predict.forwards


NOTHING = (entry(0.0),)


def test_where_nothing_counts_is_told_with_the_step():
    for positive, negative in (([entry(1.0, mask=LEFT)], [entry(0.0, mask=LEFT)]), ([entry(1.0, end=0.5)], [])):
        with pytest.raises(BadValueError) as caught:
            ask(positive, negative, 2.0, Timeline([4.0, 3.0, 2.0, 1.0, 0.0]))
        assert str(caught.value) == (
            "at step 3 of 4 no conditioning covers the whole picture (expected entries of positive or negative for "
            "every part and every step, got a part or a step without one)\n"
            "  hint: combine them with a conditioning that has no area, mask or time range"
        )


def test_masks_divide_the_picture_in_one_forward():
    found, forwards = ask([entry(1.0, mask=LEFT), entry(3.0, mask=1 - LEFT)], NOTHING, 2.0)
    assert torch.equal(found, 2 * (LEFT + 3 * (1 - LEFT))[0, 0])
    assert forwards == [(6, 16, 24)]


def test_strengths_weigh_where_entries_meet():
    found, _ = ask([entry(1.0), entry(5.0, strength=3.0)], NOTHING)
    assert torch.equal(found, torch.full((16, 24), 4.0))
    found, _ = ask([entry(1.0, strength=2.0), entry(4.0, mask=LEFT)], NOTHING)
    assert torch.equal(found, torch.where(LEFT[0, 0] > 0, 2.0, 1.0))


def test_a_strength_alone_changes_nothing_and_none_leaves_out():
    assert torch.equal(ask([entry(1.5, strength=0.3)], NOTHING)[0], torch.full((16, 24), 1.5))
    assert torch.equal(ask([entry(1.5, strength=0.0), entry(2.0)], NOTHING)[0], torch.full((16, 24), 2.0))


def test_where_the_positive_does_not_count_the_negative_does():
    found, forwards = ask([entry(1.0, mask=LEFT)], [entry(7.0)], 1.0)
    assert torch.equal(found, torch.where(LEFT[0, 0] > 0, 1.0, 7.0))
    assert forwards == [(4, 16, 24)]
    assert torch.equal(ask([entry(1.0)], [entry(7.0, mask=LEFT)], 0.0)[0], torch.where(LEFT[0, 0] > 0, 7.0, 1.0))


def test_the_network_sees_an_area_alone_and_areas_of_one_size_share_a_forward():
    areas = [entry(1.0, area=Area(0, 0, 16, 12)), entry(3.0, area=Area(0, 12, 16, 12))]
    found, forwards = ask(areas, NOTHING, 2.0)
    assert forwards == [(4, 16, 12), (2, 16, 24)]
    assert torch.equal(found[:, :6], torch.full((16, 6), 2.0))
    assert torch.equal(found[:, -6:], torch.full((16, 6), 6.0))


def test_an_area_fades_into_what_is_around_it_but_not_at_the_edge_of_the_picture():
    found, _ = ask([entry(0.0), entry(1.0, area=Area(0, 0, 16, 16), strength=3.0)], NOTHING)
    ramp = 3 * torch.arange(4, 0, -1) / 4  # a quarter of the side
    expected = torch.cat([torch.full((12,), 3.0), ramp, torch.zeros(8)])
    torch.testing.assert_close(found, (expected / (1 + expected)).expand(16, -1))


def test_an_area_of_a_picture_that_goes_round_fades_at_the_picture_s_edge_too():
    area = Area(0, 0, 16, 16)
    found, _ = ask([entry(0.0), entry(1.0, area=area, around=Axes(horizontal=True))], NOTHING)
    ramp = torch.arange(1, 5) / 4
    expected = torch.cat([ramp, torch.ones(8), ramp.flip(0), torch.zeros(8)])
    torch.testing.assert_close(found, (expected / (1 + expected)).expand(16, -1))


def test_an_area_of_a_map_condition_is_cut_with_it():
    seen = []

    def predict(x, sigma, condition):
        seen.append(condition["concat"])
        return x

    picture = first_noise((1, 2, 16, 24), 5)
    one = Entry({"context": torch.zeros(1, 3, 2), "concat": picture}, area=Area(2, 4, 8, 8))
    branches = {"positive": Branch((one,), predict), "negative": Branch((), predict)}
    with pytest.raises(BadValueError):
        steered(branches, classifier_free(1.0), Timeline([]))(X, SIGMA)
    assert torch.equal(seen[0], picture[..., 2:10, 4:12].expand(2, -1, -1, -1))


def test_the_same_entry_on_both_sides_is_asked_once():
    both = entry(1.0)
    found, forwards = ask([both], [both], 3.0)
    assert torch.equal(found, torch.ones(16, 24))
    assert forwards == [(2, 16, 24)]


RUN = Timeline([8.0, 4.0, 2.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("sigma", "step"),
    [(8.0, 0), (6.0, 0), (4.0, 1), (4.0 * (1 + 1e-7), 1), (2.5, 1), (1.0, 3), (0.5, 3), (0.0, 3), (9.0, 0)],
)
def test_a_call_belongs_to_the_step_that_began_above_it(sigma, step):
    assert RUN.at(sigma) == Moment(sigma, step, 4)


def test_a_part_of_a_run_counts_on():
    assert Timeline([2.0, 1.0, 0.0], first=2, total=4).at(2.0) == Moment(2.0, 2, 4)


@pytest.mark.parametrize(("sigma", "expected"), [(8.0, 1.0), (4.0, 1.0), (2.0, 2.0), (1.0, 2.0)])
def test_times_begin_and_end_at_steps(sigma, expected):
    entries = [entry(1.0, end=0.5), entry(2.0, start=0.5)]
    found, forwards = ask(entries, NOTHING, 1.0, RUN, torch.tensor(sigma))
    assert torch.equal(found, torch.full((16, 24), expected))
    assert forwards == [(2, 16, 24)]


@pytest.mark.parametrize("total", range(1, 40))
def test_shares_that_meet_leave_no_step_out_and_none_twice(total):
    for step in range(total):
        moment = Moment(1.0, step, total)
        assert [moment.within(a / 20, (a + 1) / 20) for a in range(20)].count(True) == 1


def test_turns_alternate():
    found = [
        ask(
            [entry(1.0, times=Times(period=2)), entry(2.0, times=Times(turn=1, period=2))],
            NOTHING,
            1.0,
            RUN,
            torch.tensor(s),
        )
        for s in (8.0, 4.0, 2.0)
    ]
    assert [level[0, 0].item() for level, _ in found] == [1.0, 1.0, 2.0]
