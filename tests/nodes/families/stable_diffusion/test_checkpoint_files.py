"""What a weights file is told to be, and how a bad one is refused."""

import os
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentloom.engine.errors import FileError
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.training.random_checkpoint import checkpoint_shapes

FULL = {  # tensors, numbers: those of the published files
    "sd1": (1131, 1_066_235_384),
    "sd1_inpaint": (1131, 1_066_249_784),
    "sd2": (1228, 1_303_597_228),
    "sdxl": (2515, 3_468_837_945),
}


def recognised(path):
    return SingleFile().recognise(path)


def numbers(shapes):
    return sum(torch.Size(shape).numel() for shape in shapes.values())


@pytest.mark.parametrize("recipe", FULL)
def test_random_checkpoints_have_the_true_size(recipe):
    shapes = checkpoint_shapes(recipe)
    assert (len(shapes), numbers(shapes)) == FULL[recipe]


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.input_blocks.4.0.skip_connection.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "first_stage_model.decoder.up.1.upsample.conv.bias",
        "first_stage_model.encoder.mid.attn_1.proj_out.weight",
        "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.11.self_attn.q_proj.weight",
    ],
)
def test_random_checkpoints_have_the_true_names(name):
    assert name in checkpoint_shapes("sd1")


FAMILIES = [
    ("sd1_tiny", "sd1", "epsilon", 4, ["l"], 64, 0),
    ("sd1_inpaint_tiny", "sd1", "epsilon", 9, ["l"], 64, 0),
    ("sd1_instruct_tiny", "sd1", "epsilon", 8, ["l"], 64, 0),
    ("sd2_tiny", "sd2", "epsilon", 4, ["h"], 128, 0),
    ("sdxl_tiny", "sdxl", "epsilon", 4, ["l", "g"], 192, 6),
    ("refiner_tiny", "refiner", "epsilon", 4, ["g"], 128, 5),
]


@pytest.mark.parametrize(("recipe", "family", "prediction", "channels", "encoders", "width", "ids"), FAMILIES)
def test_the_family_is_told_from_names_and_shapes(
    recipe, family, prediction, channels, encoders, width, ids, checkpoint
):
    facts = recognised(checkpoint(recipe))
    unet, clip = facts["unet"], facts["clip"]
    assert (unet["family"], unet["prediction"], unet["in_channels"], unet["channels"]) == (
        family,
        prediction,
        channels,
        4,
    )
    assert (unet["context"], unet["time_ids"], unet["pooled"]) == (width, ids, 128 if ids else 0)
    assert (clip["family"], clip["encoders"], clip["width"]) == (family, encoders, width)
    assert facts["vae"] == {"downscale": 8, "channels": 4}


@pytest.mark.parametrize(
    ("metadata", "prediction", "zero_snr"),
    [
        ({}, "epsilon", False),
        ({"modelspec.prediction_type": "epsilon"}, "epsilon", False),
        ({"modelspec.prediction_type": "v"}, "v", False),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, "epsilon", False),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v", False),
        ({"ss_zero_terminal_snr": "True"}, "epsilon", True),
    ],
)
def test_prediction_and_zero_snr_come_from_the_metadata(metadata, prediction, zero_snr, checkpoint, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(load_file(checkpoint("sd2_tiny")), path, metadata)
    found = recognised(path)["unet"]
    assert (found["prediction"], found["zero_snr"]) == (prediction, zero_snr)


@pytest.mark.parametrize(("deviation", "prediction"), [(0.05, "epsilon"), (0.15, "v")])
def test_sd_2_without_metadata_is_told_by_the_biases_of_its_last_attention(deviation, prediction, checkpoint, tmp_path):
    path, weights = tmp_path / "m.safetensors", load_file(checkpoint("sd2_tiny"))
    name = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias"
    assert max(key for key in weights if "output_blocks" in key and key.endswith("0.norm1.bias")) == name
    weights[name] = deviation * torch.tensor([1.0, -1.0]).repeat(len(weights[name]) // 2)
    save_file(weights, path)
    found = recognised(path)["unet"]
    assert (found["prediction"], found["guessed"]) == (prediction, True)
    save_file(weights, path, {"modelspec.prediction_type": "v"})
    assert "guessed" not in recognised(path)["unet"]


def test_marker_tensors_tell_v_and_zero_snr(checkpoint, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({**load_file(checkpoint("sd1_tiny")), "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, path)
    found = recognised(path)["unet"]
    assert (found["prediction"], found["zero_snr"]) == ("v", True)


# Bad files


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "safetensors", "SAFETENSORS"])
@pytest.mark.parametrize("form", ["zip", "bare"])
def test_a_pickle_is_refused_whatever_its_suffix(form, suffix, tmp_path):
    path = tmp_path / f"m.{suffix}"
    if form == "bare":
        path.write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(FileError) as caught:
        recognised(path)
    assert caught.value.problem.message == f"'m.{suffix}' is a pickle, which can run arbitrary code when it is opened"
    assert "safetensors.torch.save_file" in caught.value.problem.hint
    assert not (tmp_path / "ran").exists()


def test_content_decides_and_not_the_suffix(checkpoint, tmp_path):
    path = tmp_path / "m.ckpt"
    path.write_bytes(checkpoint("sd1_tiny").read_bytes())
    assert recognised(path)["unet"]["family"] == "sd1"


def test_a_file_that_ends_early_is_told_with_both_sizes(checkpoint, tmp_path):
    path, whole = tmp_path / "m.safetensors", checkpoint("sd1_tiny").read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(FileError) as caught:
        recognised(path)
    problem = caught.value.problem
    assert (problem.message, problem.expected, problem.got) == (
        "'m.safetensors' ends early",
        f"{len(whole)} bytes",
        f"{len(whole) - 1000} bytes",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\x00" * 7,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b'{"a": 1}',
        struct.pack("<Q", 4) + b"\xff\xfe\x00\x00",
        struct.pack("<Q", 30) + b'{"a":{"shape":[1],"offsets":1}}',
        b"GIF89a" + b"\x00" * 100,
    ],
)
def test_what_is_no_safetensors_file_is_refused(content, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"'m.safetensors' is not a safetensors file"):
        recognised(path)


def test_a_file_of_other_weights_is_not_recognised(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"layer.weight": torch.zeros(2, 2)}, path)
    assert recognised(path) is None


def changed(checkpoint, tmp_path, change):
    path, weights = tmp_path / "m.safetensors", load_file(checkpoint("sd1_tiny"))
    change(weights)
    save_file(weights, path)
    return path


NAME = "model.diffusion_model.middle_block.0.in_layers.2.weight"


def load(path):
    return SingleFile().load([path], {"component": "unet"})


def test_weights_that_are_missing_are_counted_and_the_first_is_named(checkpoint, tmp_path):
    path = changed(checkpoint, tmp_path, lambda weights: weights.pop(NAME))
    with pytest.raises(FileError) as caught:
        load(path)
    problem = caught.value.problem
    assert (problem.message, problem.expected) == ("the unet of 'm.safetensors' lacks weights", "208 weights")
    assert problem.got == f"207; the first that is missing is '{NAME}'"


def test_a_weight_of_another_shape_is_named(checkpoint, tmp_path):
    path = changed(checkpoint, tmp_path, lambda weights: weights.update({NAME: torch.zeros(64, 64, 5, 5)}))
    with pytest.raises(FileError) as caught:
        load(path)
    problem = caught.value.problem
    assert problem.message == f"the unet of 'm.safetensors' has a weight of a different shape, '{NAME}'"
    assert (problem.expected, problem.got) == ("(64, 64, 3, 3)", "(64, 64, 5, 5)")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_named(bad, checkpoint, tmp_path):
    path = changed(checkpoint, tmp_path, lambda weights: weights[NAME].view(-1)[7:8].fill_(bad))
    with pytest.raises(FileError) as caught:
        load(path)
    assert caught.value.problem.got == f"NaN or infinity in '{NAME}'"
