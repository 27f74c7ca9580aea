"""What a model file says about itself, also if it is hostile."""

import json

import pytest

from latentloom.api.model_card import ModelCard, model_card


def header(data):
    text = json.dumps(data).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"\xff" * 64,
        header([]),
        header({"__metadata__": []}),
        header({"__metadata__": {"modelspec.author": ["a"], "ss_tag_frequency": 5}}),
        header({"__metadata__": {"ss_tag_frequency": "[" * 10_000}}),
        header({"__metadata__": {"ss_tag_frequency": '{"a": [1], "b": 2}'}}),
    ],
)
def test_a_file_that_says_nothing_gives_an_empty_card(data, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    assert model_card(path) == ModelCard()


def test_the_fields_of_modelspec_are_read(tmp_path):
    names = ("title", "author", "license", "trigger_phrase")
    path = tmp_path / "model.safetensors"
    path.write_bytes(header({"__metadata__": {f"modelspec.{name}": name for name in names}}))
    assert model_card(path) == ModelCard(*names)


@pytest.mark.parametrize(
    ("readme", "licence"),
    [("---\nlicense: mit\n---\n# A", "mit"), ("---\nlicense: 'mit'\n---", "mit"), ("license: mit", ""), ("---\nx", "")],
)
def test_the_front_matter_of_a_folder_is_read(readme, licence, tmp_path):
    (tmp_path / "README.md").write_text(readme)
    assert model_card(tmp_path).licence == licence
