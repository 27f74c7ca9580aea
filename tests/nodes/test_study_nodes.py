"""The study nodes: what they show is what the other nodes do, number by number."""

from typing import Any

import numpy as np
import pytest

from latentloom.api import Session
from latentloom.engine import Image, Latent
from latentloom.engine.errors import BadValueError, NodeError, WorkflowError
from latentloom.engine.files.pictures import to_bytes
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.diffusion.schedules import builtin_schedules, scaled_linear_table, sigmas_for
from latentloom.nodes.drawing.plot import COLOURS, LEFT, TOP, Axis, plot
from latentloom.nodes.drawing.table import Row, as_text, table
from latentloom.nodes.study import latent_channels

SIGMAS = scaled_linear_table().numpy()
SCALE = 0.18215  # of the tiny checkpoint's VAE


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


MODEL, CLIP = edge("checkpoint", "model"), edge("checkpoint", "clip")
NODES = {
    "checkpoint": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "tiny"}},
    "positive": {"type": "CLIPEncode", "inputs": {"clip": CLIP, "text": "a red circle"}},
    "negative": {"type": "CLIPEncode", "inputs": {"clip": CLIP, "text": ""}},
    "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64, "batch": 2}},
}
SAMPLE = {
    "model": MODEL,
    "positive": edge("positive", "conditioning"),
    "negative": edge("negative", "conditioning"),
    "latent": edge("empty", "latent"),
    "seed": 5,
    "steps": 4,
    "cfg": 3.0,
}


def run(session: Session, type: str, inputs: dict[str, Any], *outputs: str, **more: Any) -> Any:
    document = {
        "format": "latentloom/1",
        "nodes": {**NODES, **more, "shown": {"type": type, "inputs": inputs}},
        "outputs": [{"name": output, "from": edge("shown", output)} for output in outputs],
    }
    found = session.run(document)
    return [found[output] for output in outputs]


def problem(session: Session, type: str, inputs: dict[str, Any], output: str) -> tuple[str, str | None, str | None]:
    with pytest.raises(NodeError) as caught:
        run(session, type, inputs, output)
    return caught.value.problem.message, caught.value.problem.expected, caught.value.problem.got


# ForwardNoise


def noised(session: Session, timesteps: list[int], seed: int = 5) -> list[Any]:
    start = {"first": {"type": "KSampler", "inputs": SAMPLE}}
    inputs = {"model": MODEL, "latent": edge("first", "latent"), "timesteps": timesteps, "seed": seed}
    return run(session, "ForwardNoise", inputs, "latent", "labels", **start)


def test_forward_noise_is_the_papers_formula_on_the_scaled_latent(session: Session) -> None:
    start = run(session, "KSampler", SAMPLE, "latent")[0].numpy()
    found = noised(session, [999, 0, 500])[0].numpy().reshape(3, *start.shape)
    noise = first_noise(start.shape, 5).numpy()
    for n, t in enumerate([999, 0, 500]):
        alpha_bar = 1 / (SIGMAS[t] ** 2 + 1)
        expected = (alpha_bar**0.5 * start * SCALE + (1 - alpha_bar) ** 0.5 * noise) / SCALE
        assert np.allclose(found[n], expected, rtol=1e-5, atol=1e-5)


def test_forward_noise_labels_every_item_of_every_timestep(session: Session) -> None:
    assert noised(session, [999, 0])[1] == ["t 999, sigma 14.6"] * 2 + ["t 0, sigma 0.0292"] * 2


def test_forward_noise_of_another_seed_is_other_noise_on_the_same_latent(session: Session) -> None:
    one, other = (noised(session, [0, 999], seed)[0].numpy() for seed in (5, 6))
    assert np.abs(one[:2] - other[:2]).max() < 0.5 / SCALE
    assert np.abs(one[2:] - other[2:]).max() > 1 / SCALE


def test_forward_noise_without_timesteps_is_refused(session: Session) -> None:
    inputs = {"model": MODEL, "latent": edge("empty", "latent"), "timesteps": []}
    found = problem(session, "ForwardNoise", inputs, "latent")
    assert found == ("ForwardNoise: there are no timesteps to show", "at least one", "none")


def test_a_timestep_beyond_the_last_is_refused_before_the_run(session: Session) -> None:
    inputs = {"model": MODEL, "latent": edge("empty", "latent"), "timesteps": [0, 1000]}
    with pytest.raises(WorkflowError) as caught:
        run(session, "ForwardNoise", inputs, "latent")
    (found,) = caught.value.problems
    assert (found.code, found.input, found.expected, found.got) == ("out_of_range", "timesteps", "0..999", "1000")


# LatentChannels


def test_latent_channels_are_squares_around_grey_with_a_common_scale() -> None:
    samples = np.zeros((1, 2, 2, 2), np.float32)
    samples[0, 0, 0, 0], samples[0, 1, 1, 1] = -4, 2
    sheet = latent_channels(Latent(samples), scale=32).numpy()[0]
    first, second = sheet[-72:-8, 8:72], sheet[-72:-8, 80:144]
    assert (first[:32, :32] == 0).all()
    assert (first[32:] == 0.5).all()
    assert (second[32:, 32:] == 0.75).all()


def test_a_latent_of_nothing_but_zeros_is_grey() -> None:
    sheet = latent_channels(Latent(np.zeros((2, 4, 8, 8), np.float32)), scale=4).numpy()[0]
    assert (sheet[-40:-8, 8:40] == 0.5).all()


def test_channels_that_would_be_too_large_are_refused_before_they_are_made() -> None:
    with pytest.raises(BadValueError) as caught:
        latent_channels(Latent(np.zeros((1, 4, 512, 512), np.float32)), scale=64)
    found = caught.value.problem
    assert (found.message, found.got) == ("the result would be too large", "4 of 32768x32768")


def test_a_row_of_channels_stands_for_each_item_of_the_batch() -> None:
    samples = np.random.default_rng(0).normal(size=(3, 4, 8, 8)).astype(np.float32)
    sheets = [latent_channels(Latent(samples[:n]), scale=8).shape for n in (1, 2, 3)]
    assert [width for _, _, width, _ in sheets] == [4 * (64 + 8) + 8] * 3
    assert sheets[1][1] - sheets[0][1] == sheets[2][1] - sheets[1][1] > 64


# PlotSchedules


def test_the_plot_draws_each_schedule_through_its_sigmas() -> None:
    curve = [10.0, 3.0, 1.0, 0.0]
    pixels = to_bytes(plot({"one": curve}, (500, 400), "linear", title="", x="", y="")[0])
    blue = (pixels[:, :425] == tuple(bytes.fromhex(COLOURS[0][1:]))).all(axis=2)
    up = Axis(0, 10.5, 400 - 46, TOP)
    last = np.nonzero(blue[round(up.pixel(0)) - 1])[0].max() - 2
    for n, sigma in enumerate(curve):
        x, y = round(LEFT + (last - LEFT) * n / 3), round(up.pixel(sigma))
        assert blue[y - 1 : y + 1, x - 1 : x + 1].all()


def test_a_log_plot_leaves_out_the_zero_at_the_end() -> None:
    with_zero, without = (
        plot({"one": curve}, (500, 400), "log", title="", x="", y="") for curve in ([4.0, 2.0, 0.0], [4.0, 2.0])
    )
    assert np.array_equal(with_zero, without)


def test_a_curve_that_lies_on_another_shows_under_it() -> None:
    pixels = to_bytes(plot({"a": [3.0, 1.0], "b": [3.0, 1.0]}, (500, 400), "linear", title="", x="", y="")[0])
    seen = {tuple(colour) for colour in pixels[TOP:, LEFT:400].reshape(-1, 3).tolist()}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:2]} <= seen


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 14.6, 0, 1), [0, 2, 4, 6, 8, 10, 12, 14]),
        (Axis(0, 1, 0, 1), [0, 1]),
        (Axis(0, 20, 0, 1), [0, 5, 10, 15, 20]),
        (Axis(0.03, 14.6, 0, 1, "log"), [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]),
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == ticks


def test_the_node_plots_the_sigmas_that_a_sampler_gets(session: Session) -> None:
    names = list(builtin_schedules())
    inputs = {"model": MODEL, "schedules": names, "steps": 7, "axis": "linear", "width": 600, "height": 400}
    found = run(session, "PlotSchedules", inputs, "image")[0].numpy()
    sigmas = {name: sigmas_for(code, 7, scaled_linear_table()).tolist() for name, code in builtin_schedules().items()}
    expected = plot(sigmas, (600, 400), "linear", title="Noise levels of 7 steps", x="step", y="sigma")
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("axis", ["log", "linear"])
def test_one_step_can_be_plotted(session: Session, axis: str) -> None:
    inputs = {"model": MODEL, "schedules": ["karras", "simple"], "steps": 1, "axis": axis, "width": 400, "height": 300}
    assert run(session, "PlotSchedules", inputs, "image")[0].shape == (1, 300, 400, 3)


def test_no_schedules_are_refused_and_unknown_ones_named(session: Session) -> None:
    found = problem(session, "PlotSchedules", {"model": MODEL, "schedules": []}, "image")
    assert found == ("PlotSchedules: there are no schedules to plot", "at least one", "none")
    with pytest.raises(WorkflowError) as caught:
        run(session, "PlotSchedules", {"model": MODEL, "schedules": ["normal", "karas"]}, "image")
    assert [(p.code, p.nearest) for p in caught.value.problems] == [("unknown_choice", "karras")]


# KSamplerSteps


def test_sampling_with_a_look_inside_gives_the_same_bits(session: Session) -> None:
    plain = run(session, "KSampler", SAMPLE, "latent")[0].numpy()
    seen = run(session, "KSamplerSteps", {**SAMPLE, "at": [0, 3]}, "latent")[0].numpy()
    assert np.array_equal(plain, seen)


def test_the_first_step_sees_pure_noise_and_the_last_prediction_is_the_result(session: Session) -> None:
    latent, noisy, denoised = run(session, "KSamplerSteps", {**SAMPLE, "at": [3, 0]}, "latent", "noisy", "denoised")
    noise = first_noise((2, 4, 8, 8), 5).numpy()
    assert np.allclose(noisy.numpy()[2:] * SCALE, noise, atol=1e-5)
    assert np.array_equal(denoised.numpy()[:2], latent.numpy())


def test_a_euler_step_leads_from_what_is_shown_to_what_is_shown_next(session: Session) -> None:
    inputs = {**SAMPLE, "sampler": "euler", "at": [1, 2]}
    noisy, denoised, labels = run(session, "KSamplerSteps", inputs, "noisy", "denoised", "labels")
    sigmas = sigmas_for(builtin_schedules()["karras"], 4, scaled_linear_table()).tolist()
    x, x_next = (noisy.numpy()[2 * n : 2 * n + 2] * (sigmas[n + 1] ** 2 + 1) ** 0.5 for n in (0, 1))
    x0 = denoised.numpy()[:2]
    assert np.allclose(x_next, x0 + (x - x0) * sigmas[2] / sigmas[1], rtol=1e-3, atol=1e-3)
    assert labels == [f"step {n}, sigma {sigmas[n]:.3g}" for n in (1, 1, 2, 2)]


def test_a_step_that_the_run_does_not_have_is_refused(session: Session) -> None:
    found = problem(session, "KSamplerSteps", {**SAMPLE, "at": [0, 4]}, "noisy")
    assert found == ("KSamplerSteps: there are fewer steps", "0..3", "4")
    found = problem(session, "KSamplerSteps", {**SAMPLE, "at": []}, "noisy")
    assert found == ("KSamplerSteps: there are no steps to show", "at least one", "none")


# TokenTable


def tokens(session: Session, text: str) -> tuple[Image, list[list[str]], str]:
    image, found = run(session, "TokenTable", {"clip": CLIP, "text": text}, "image", "text")
    heading, *rows, note = found.splitlines()
    assert heading.split() == ["number", "token", "text", "known"]
    return image, [row.split()[1:] for row in rows], note


def test_known_words_are_one_token_each(session: Session) -> None:
    _, rows, note = tokens(session, "A red circle")
    words = [["a</w>", "A", "yes"], ["red</w>", "red", "yes"], ["circle</w>", "circle", "yes"]]
    assert rows == [["<|startoftext|>"], *words, ["<|endoftext|>"]]
    assert note == "5 of 32 tokens; the rest is padding"


def test_the_pieces_of_an_unknown_word_are_marked(session: Session) -> None:
    _, rows, _ = tokens(session, "a red cat, a circle")
    assert "".join(piece for _, piece, known in rows[1:-1] if known == "no") == "cat"
    assert [piece for _, piece, known in rows[1:-1] if known == "yes"] == ["a", "red", ",", "a", "circle"]


def test_a_long_text_is_shown_in_the_parts_that_are_read(session: Session) -> None:
    _, rows, note = tokens(session, "red " * 40)
    start, word, end = ["<|startoftext|>"], ["red</w>", "red", "yes"], ["<|endoftext|>"]
    assert rows == [start, *[word] * 30, end, start, *[word] * 10, end]
    assert note == "44 tokens in 2 parts of 32; the rest is padding"


def test_weights_and_times_are_shown_where_there_are_any(session: Session) -> None:
    text = run(session, "TokenTable", {"clip": CLIP, "text": "[red:(blue:1.5):0.25]"}, "text")[0]
    assert [line.split()[1:] for line in text.splitlines()[:-1]] == [
        ["token", "text", "weight", "known"],
        ["1", "to", "6", "of", "20"],
        ["<|startoftext|>"],
        ["red</w>", "red", "1", "yes"],
        ["<|endoftext|>"],
        ["7", "to", "20", "of", "20"],
        ["<|startoftext|>"],
        ["blue</w>", "blue", "1.5", "yes"],
        ["<|endoftext|>"],
    ]


def test_a_table_ends_before_it_fills_the_memory(session: Session) -> None:
    image, text = run(session, "TokenTable", {"clip": CLIP, "text": "red " * 1500}, "image", "text")
    assert text.splitlines()[-1].endswith("; the table shows the first 400 lines")
    assert image.shape[1] == 2 * 16 + 24 * 402


def test_an_empty_text_has_a_start_and_an_end(session: Session) -> None:
    image, rows, note = tokens(session, "")
    assert rows == [["<|startoftext|>"], ["<|endoftext|>"]]
    assert note == "2 of 32 tokens; the rest is padding"
    assert image.shape[1] == 2 * 16 + 24 * 4


def test_a_table_is_as_wide_as_its_texts_and_marks_rows_in_colour() -> None:
    rows = [Row(("1", "x"), "#c62828"), Row(("22", "a much longer cell"))]
    narrow, wide = (table(("n", "cell"), rows[:count], "") for count in (1, 2))
    assert narrow.shape[2] < wide.shape[2]
    red = (wide[0] * 255).round()[16 + 24 : 16 + 48]
    assert ((red[..., 0] > 190) & (red[..., 1] < 60) & (red[..., 2] < 60)).any()
    assert as_text(("n", "cell"), rows, "end") == "n   cell\n1   x\n22  a much longer cell\nend"
