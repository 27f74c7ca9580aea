"""Batches of pictures and of latents: joined, picked from, repeated."""

import numpy as np
import pytest
from drawings import edge, noise, put, workflow

from latentloom.engine import Image, Latent, Mask
from latentloom.engine.errors import BadValueError
from latentloom.engine.models.host_memory import peak_bytes
from latentloom.nodes.image_batch import join_images, pick_images, repeat_image
from latentloom.nodes.latents import empty_latent, latent_upscale
from latentloom.nodes.latents_batch import join_latents, pick_latents, repeat_latent


def latent(batch=1, seed=0, mask=None):
    samples = np.random.default_rng(seed).standard_normal((batch, 4, 4, 6)).astype(np.float32)
    return Latent(samples, mask)


def levels(*values):
    return Mask(np.stack([np.full((8, 8), value, np.float32) for value in values]))


def test_pictures_from_files_become_one_batch(plain):
    for n in (1, 2):
        put(plain, f"{n}.png", noise(seed=n))
    nodes = {f"load{n}": ("LoadImage", {"image": f"{n}.png"}) for n in (1, 2)}
    nodes["join"] = ("JoinImages", {"images": [edge("load1"), edge("load2")]})
    joined = plain.run(workflow(nodes, result=edge("join")))["result"]
    assert np.array_equal(joined.numpy(), np.concatenate([noise(seed=n).numpy() for n in (1, 2)]))


def test_what_was_joined_is_picked_again():
    one, two = noise(2, seed=1), noise(3, channels=4, seed=2)
    joined = join_images([one, two])
    assert np.array_equal(pick_images(joined, 2, 3).numpy(), two.numpy())
    first = pick_images(joined, 0, 2).numpy()
    assert np.array_equal(first[..., :3], one.numpy())
    assert first[..., 3].min() == 1
    with pytest.raises(BadValueError, match=r"\(expected items within 0..4, got 3..5\)"):
        pick_images(joined, 3, 3)


def test_pictures_of_different_sizes_are_refused_with_their_sizes():
    with pytest.raises(BadValueError) as caught:
        join_images([noise(1, 6, 8), noise(1, 7, 8)])
    assert caught.value.problem.got == "8x6, 8x7"
    assert caught.value.problem.hint == "resize those that differ with ImageScale"


def test_repeating_goes_round_the_batch():
    batch = noise(2)
    assert np.array_equal(repeat_image(batch, 3).numpy(), np.concatenate([batch.numpy()] * 3))
    made = repeat_latent(latent(2, mask=levels(0.25, 1)), 2)
    assert np.array_equal(made.numpy(), np.concatenate([latent(2).numpy()] * 2))
    assert made.noise_mask.numpy()[:, 0, 0].tolist() == [0.25, 1, 0.25, 1]
    assert repeat_latent(latent(1, mask=levels(0.5)), 4).noise_mask.shape == (1, 8, 8)


def test_latents_keep_their_masks_through_joining_and_picking():
    joined = join_latents([latent(2, 1, levels(0.25)), latent(1, 2), latent(2, 3, levels(0.5, 0.75))])
    assert joined.noise_mask.numpy()[:, 0, 0].tolist() == [0.25, 0.25, 1, 0.5, 0.75]
    picked = pick_latents(joined, 1, 3)
    assert picked.noise_mask.numpy()[:, 0, 0].tolist() == [0.25, 1, 0.5]
    assert np.array_equal(picked.numpy(), joined.numpy()[1:4])
    assert join_latents([latent(1), latent(2)]).noise_mask is None
    with pytest.raises(BadValueError, match="the latents have different sizes"):
        join_latents([latent(), Latent(np.zeros((1, 4, 4, 4), np.float32))])
    with pytest.raises(BadValueError, match="the latents' masks have different sizes"):
        join_latents([latent(1, 1, levels(1)), latent(1, 1, Mask(np.ones((1, 4, 4))))])


def large_latent(batch=1):
    """A latent whose numbers take no memory."""
    return Latent(np.broadcast_to(np.zeros((1, 1, 1, 1), np.float32), (batch, 4, 1024, 1024)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: repeat_latent(large_latent(), 1024),
        lambda: join_latents([large_latent()] * 17),
        lambda: repeat_image(Image(np.zeros((1, 1024, 2048, 3), np.float32)), 1024),
        lambda: join_images([Image(np.zeros((1, 1024, 2048, 3), np.float32))] * 600),
        lambda: empty_latent(16384, 16384, 64),
        lambda: latent_upscale(latent(64), 16384, 16384),
    ],
    ids=["repeat latent", "join latents", "repeat image", "join images", "empty latent", "upscale latent"],
)
def test_a_batch_that_takes_all_memory_is_refused_before_it_is_made(make):
    before = peak_bytes()
    with pytest.raises(BadValueError, match="the result would be too large"):
        make()
    assert peak_bytes() - before < 2**28


def test_repeated_latents_are_variations_of_one_picture(session):
    """Item i has the noise of seed + i, so each is what a run of its own gives."""

    def wire(node, output):
        return {"node": node, "output": output}

    def run(times, seed):
        put(session, "cat.png", noise(1, 64, 64))
        sampled = {"model": wire("load", "model"), "positive": wire("text", "conditioning")}
        sampled |= {"negative": wire("text", "conditioning"), "latent": wire("many", "latent")}
        nodes = {
            "load": ("LoadCheckpoint", {"checkpoint": "tiny"}),
            "text": ("CLIPEncode", {"clip": wire("load", "clip"), "text": "a red circle"}),
            "picture": ("LoadImage", {"image": "cat.png"}),
            "encode": ("VAEEncode", {"vae": wire("load", "vae"), "image": wire("picture", "image")}),
            "many": ("RepeatLatent", {"latent": wire("encode", "latent"), "times": times}),
            "it": ("KSampler", {**sampled, "seed": seed, "steps": 2, "denoise": 0.6}),
        }
        return session.run(workflow(nodes, result=wire("it", "latent")))["result"].numpy()

    three = run(3, 11)
    assert np.abs(three[0] - three[1]).max() > 1e-3
    assert np.allclose(run(1, 13)[0], three[2], atol=1e-4)
