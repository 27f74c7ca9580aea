"""Embeddings in prompts: layouts, names, places, the same numbers as diffusers, and files that do not fit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders import TextualInversionLoaderMixin
from safetensors.torch import save_file

from latentloom.api import Session
from latentloom.engine import ModelFile
from latentloom.engine.errors import FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.nodes.families.textual_inversion.kind import EmbeddingFile
from latentloom.nodes.families.textual_inversion.words import Embeddings
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.embedding import embed
from latentloom.nodes.text.prompt_weights import parse
from latentloom.nodes.text.tokens import chunks
from latentloom.training.random_checkpoint import write_checkpoint


def vectors(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints of SD 1.x and SDXL, and embeddings for either."""
    root = tmp_path_factory.mktemp("embeddings") / "models"
    for folder in ("checkpoints", "embeddings/old"):
        (root / folder).mkdir(parents=True)
    for recipe in ("sd1_tiny", "sdxl_tiny"):
        write_checkpoint(root / "checkpoints" / f"{recipe}.safetensors", recipe, dtype=torch.float32)
    files = {
        "inkwash": {"emb_params": vectors(3, 64)},
        "cat": {"<cat-toy>": vectors(1, 64, 1)[0]},
        "old/brushy": {"*": vectors(2, 64, 2)},
        "glowing": {"clip_l": vectors(2, 64, 3), "clip_g": vectors(2, 128, 4)},
    }
    for name, tensors in files.items():
        save_file(tensors, root / "embeddings" / f"{name}.safetensors")
    return root


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


@pytest.fixture(scope="module")
def encoder(models: Path) -> TextEncoder:
    found: TextEncoder = SingleFile().load([models / "checkpoints" / "sd1_tiny.safetensors"], {"component": "clip"})
    return found


def known(models: Path, encoder: TextEncoder, grammar: Any = "a1111") -> Embeddings:
    """All files of the folder, for one text encoder."""
    folder = models / "embeddings"
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")]
    return Embeddings({n: ModelFile(n, str(folder / n), n) for n in names}, grammar, encoder, "sd1_tiny.safetensors")


def read(models: Path, encoder: TextEncoder, text: str, grammar: Any = "a1111") -> list[tuple[str, int, float]]:
    """The spans of a text: their text, how many vectors stand in for it, and the weight."""
    sections = known(models, encoder, grammar)(parse(text, grammar))
    spans = [span for section in sections for span in section if span.text]
    return [(span.text, len(span.embedding) if span.embedding else 0, span.weight) for span in spans]


NAMES = [
    ("a1111", "a (embedding:inkwash:1.2) fox", [("a ", 0, 1.0), ("inkwash", 3, 1.2), (" fox", 0, 1.0)]),
    ("comfyui", "a (embedding:inkwash:1.2) fox", [("a ", 0, 1.0), ("inkwash", 3, 1.2), (" fox", 0, 1.0)]),
    ("a1111", "fox, Inkwash, red", [("fox, ", 0, 1.0), ("Inkwash", 3, 1.0), (", red", 0, 1.0)]),
    ("comfyui", "fox, inkwash, red", [("fox, inkwash, red", 0, 1.0)]),
    ("plain", "embedding:inkwash", [("embedding:inkwash", 0, 1.0)]),
    ("a1111", "inkwashes", [("inkwashes", 0, 1.0)]),
    ("a1111", "a cat", [("a cat", 0, 1.0)]),
    ("a1111", "a embedding:cat.", [("a ", 0, 1.0), ("cat", 1, 1.0), (".", 0, 1.0)]),
    ("a1111", "brushy", [("brushy", 2, 1.0)]),
    (
        "comfyui",
        "embedding:old/brushy embedding:inkwash.safetensors",
        [("old/brushy", 2, 1.0), (" ", 0, 1.0), ("inkwash.safetensors", 3, 1.0)],
    ),
]


@pytest.mark.parametrize(("grammar", "text", "expected"), NAMES)
def test_names_are_found_as_the_grammar_says(grammar, text, expected, models, encoder) -> None:
    assert read(models, encoder, text, grammar) == expected


def test_an_unknown_name_is_left_out_and_kept_for_a_warning(models: Path, encoder: TextEncoder) -> None:
    embeddings = known(models, encoder)
    (section,) = embeddings(parse("a embedding:inkwsh, fox"))
    assert "".join(span.text for span in section) == "a , fox"
    assert list(embeddings.unknown) == ["inkwsh"]


@pytest.mark.parametrize("grammar", ["a1111", "comfyui"])
def test_the_vectors_of_an_embedding_stay_in_one_part(grammar: Any, models: Path, encoder: TextEncoder) -> None:
    def lengths(words: int) -> list[int]:
        sections = known(models, encoder, grammar)(parse("red " * words + "embedding:inkwash blue", grammar))
        return [len(chunk) for chunk in chunks(sections, encoder.encoders[0].tokenizer, grammar)]

    assert lengths(72) == [75, 1]
    assert lengths(73) == [73, 4]


# The same numbers


class Pipeline(TextualInversionLoaderMixin):
    """As much of a diffusers pipeline as loads embeddings."""

    def __init__(self, encoder: TextEncoder) -> None:
        import copy

        self.tokenizer, self.text_encoder = copy.deepcopy((encoder.encoders[0].tokenizer, encoder.encoders[0].model))
        self.components = {"text_encoder": self.text_encoder}
        self.hf_device_map = None


@torch.no_grad()
def test_a_prompt_with_an_embedding_is_read_as_diffusers_reads_it(models: Path, encoder: TextEncoder) -> None:
    pipeline = Pipeline(encoder)
    pipeline.load_textual_inversion({"<ink>": vectors(3, 64)}, token="<ink>")
    text = pipeline.maybe_convert_prompt("a red <ink> fox, <ink>", pipeline.tokenizer)
    tokens = pipeline.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    expected = pipeline.text_encoder(tokens)
    hidden, pooled = embed(encoder, "a red embedding:inkwash fox, inkwash", "a1111", 1, known(models, encoder))
    assert tokens[0, 3:6].min() >= 49408
    assert float((hidden - expected.last_hidden_state).norm() / expected.last_hidden_state.norm()) < 1e-5
    assert float((pooled - expected.pooler_output).norm() / expected.pooler_output.norm()) < 1e-5


@torch.no_grad()
def test_an_embedding_of_a_words_own_vector_is_that_word_bit_for_bit(
    models: Path, encoder: TextEncoder, tmp_path: Path
) -> None:
    one = encoder.encoders[0]
    number = one.tokenizer("fox", add_special_tokens=False).input_ids[0]
    path = tmp_path / "vulpine.safetensors"
    save_file({"emb_params": one.model.embeddings.token_embedding.weight[number][None].clone()}, path)
    embeddings = Embeddings({"vulpine.safetensors": ModelFile(path.name, str(path), "0")}, "a1111", encoder, "c")
    for form in ("a red {} in a wood", "a (red {}:1.3)", "[{}] " + "red " * 90):
        expected = embed(encoder, form.format("fox"), "a1111")
        found = embed(encoder, form.format("embedding:vulpine"), "a1111", 1, embeddings)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


# In workflows


def document(text: str, checkpoint: str = "sd1_tiny.safetensors", **inputs: Any) -> dict[str, Any]:
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": checkpoint}},
        "words": {"type": "Text", "inputs": {"text": text}},
        "read": {
            "type": "CLIPEncode",
            "inputs": {
                "clip": {"node": "load", "output": "clip"},
                "text": {"node": "words", "output": "value"} if inputs.pop("wired", False) else text,
                **inputs,
            },
        },
    }
    outputs = [{"name": "it", "from": {"node": "read", "output": "conditioning"}}]
    return {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}


def encoded(session: Session, text: str, **more: Any) -> np.ndarray:
    return session.run(document(text, **more))["it"].entries[0].embedding.numpy()


def test_a_prompt_finds_its_embeddings_whether_it_is_written_or_wired(session: Session) -> None:
    written, wired = encoded(session, "a fox, inkwash"), encoded(session, "a fox, inkwash", wired=True)
    assert np.array_equal(written, wired)
    assert not np.array_equal(written, encoded(session, "a fox, ink wash"))


def test_sdxl_takes_vectors_for_both_of_its_encoders(session: Session) -> None:
    plain = encoded(session, "a fox", checkpoint="sdxl_tiny.safetensors")
    found = encoded(session, "a embedding:glowing fox", checkpoint="sdxl_tiny.safetensors")
    assert [np.array_equal(found[..., part], plain[..., part]) for part in (slice(0, 64), slice(64, 192))] == [
        False,
        False,
    ]


@pytest.mark.parametrize("wired", [False, True])
def test_a_changed_file_is_read_anew_and_another_one_changes_no_key(
    wired: bool, session: Session, models: Path
) -> None:
    path = models / "embeddings" / "passing.safetensors"
    nodes = document("a fox, embedding:passing", wired=wired)
    save_file({"emb_params": vectors(1, 64, 7)}, path)
    try:
        first = session.run(nodes)
        save_file({"emb_params": vectors(1, 64, 8)}, path)
        second = session.run(nodes)
        other = session.run(document("a fox", wired=wired))
        save_file({"emb_params": vectors(1, 64, 9)}, path)
        again = session.run(document("a fox", wired=wired))
    finally:
        path.unlink()
    assert second.nodes["read"].status == "done"
    assert not np.array_equal(*(found["it"].entries[0].embedding.numpy() for found in (first, second)))
    assert (other.nodes["read"].status, again.nodes["read"].status) == ("done", "cached")


def test_the_token_table_shows_the_vectors(session: Session) -> None:
    nodes = document("a fox")
    inputs = {"clip": {"node": "load", "output": "clip"}, "text": "a (inkwash:1.5)"}
    nodes["nodes"]["read"] = {"type": "TokenTable", "inputs": inputs}
    nodes["outputs"][0]["from"]["output"] = "text"
    lines = [line.split() for line in session.run(nodes)["it"].splitlines()]
    assert [" ".join(line) for line in lines if "vector" in line] == [
        f"vector {n} of 3 inkwash 1.5 yes" for n in (1, 2, 3)
    ]
    assert "6 of 77 tokens" in session.run(nodes)["it"]


def test_an_unknown_name_is_a_warning_with_the_nearest(session: Session) -> None:
    events: list[Any] = []
    session.run(document("a fox, embedding:inkwsh"), on_event=events.append)
    (warning,) = [event for event in events if event.name == "node_warning"]
    assert (warning.code, warning.message) == (
        "unknown_embedding",
        "there is no embedding 'inkwsh' in models/embeddings, so it is left out of the prompt. Did you mean 'inkwash'?",
    )


# Bad files


def fault(session: Session, text: str, **more: Any) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(document(text, **more))
    return caught.value.problem


def test_an_embedding_of_another_family_is_refused_with_both_names(session: Session) -> None:
    problem = fault(session, "embedding:glowing")
    assert problem.message == (
        "CLIPEncode: the embedding 'glowing.safetensors' does not fit the text encoder of 'sd1_tiny.safetensors'"
    )
    assert (problem.expected, problem.got) == (
        "vectors 64 wide for 'l'",
        "vectors 128 wide for 'g' and 64 wide for 'l'",
    )
    problem = fault(session, "inkwash", checkpoint="sdxl_tiny.safetensors")
    assert problem.message.endswith("'inkwash.safetensors' does not fit the text encoder of 'sdxl_tiny.safetensors'")
    assert (problem.expected, problem.got) == ("vectors 128 wide for 'g' and 64 wide for 'l'", "vectors 64 wide")


FOREIGN = "'worse.safetensors' is not an embedding that Latentloom knows"
BAD = {
    "nan": (
        {"emb_params": torch.full((1, 64), torch.nan)},
        "the embedding 'worse.safetensors' contains numbers that are not finite",
    ),
    "other": ({"a.weight": torch.zeros(2, 2)}, FOREIGN),
    "bare": ({"weight": torch.zeros(2, 64)}, FOREIGN),
    "deep": ({"emb_params": torch.zeros(1, 2, 64)}, FOREIGN),
    "long": ({"emb_params": torch.zeros(76, 64)}, FOREIGN),
    "uneven": (
        {"clip_l": torch.zeros(1, 64), "clip_g": torch.zeros(2, 128)},
        FOREIGN,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_refused_where_it_is_named(case: str, session: Session, models: Path) -> None:
    tensors, message = BAD[case]
    path = models / "embeddings" / "worse.safetensors"
    save_file(tensors, path)
    try:
        assert fault(session, "embedding:worse").message == f"CLIPEncode: {message}"
    finally:
        path.unlink()


def test_a_file_that_ends_early_is_refused(session: Session, models: Path) -> None:
    path = models / "embeddings" / "short.safetensors"
    path.write_bytes((models / "embeddings" / "inkwash.safetensors").read_bytes()[:-10])
    try:
        assert fault(session, "embedding:short").message == "CLIPEncode: 'short.safetensors' ends early"
    finally:
        path.unlink()


def test_a_broken_file_costs_no_prompt_that_only_holds_its_name(session: Session, models: Path) -> None:
    path = models / "embeddings" / "shortish.safetensors"
    warnings: list[tuple[str, str]] = []
    path.write_bytes(b"x" * 20)
    try:
        session.run(
            document("a shortish cat"),
            on_event=lambda event: (
                warnings.append((event.code, event.message)) if event.name == "node_warning" else None
            ),
        )
    finally:
        path.unlink()
    told = "'shortish.safetensors' is not a safetensors file, so 'shortish' is read as a word"
    assert warnings == [("unusable_embedding", told)]


def test_a_thousand_names_that_are_not_there_are_told_in_a_few_warnings(session: Session) -> None:
    warnings: list[Any] = []
    text = " ".join(f"embedding:none{n}" for n in range(1000))
    session.run(document(text), on_event=lambda event: warnings.append(event) if event.name == "node_warning" else None)
    assert [event.code for event in warnings] == ["unknown_embedding"] * 21
    assert warnings[-1].message == "980 more embeddings that were not found are left out of the prompt"


def test_a_file_is_told_to_be_an_embedding(models: Path) -> None:
    folder = models / "embeddings"
    assert EmbeddingFile().recognise(folder / "glowing.safetensors") == {
        "embedding": {"vectors": 2, "widths": {"l": 64, "g": 128}},
        "about": "embedding (2 vectors)",
    }
    assert EmbeddingFile().recognise(models / "checkpoints" / "sd1_tiny.safetensors") is None
    with pytest.raises(FileError, match="used by its name in a prompt"):
        EmbeddingFile().load([folder / "cat.safetensors"], {})
