"""Data sets: whatever is wrong with the pictures is told by name, and what is right arrives as it is."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

from latentloom.api import Session
from latentloom.engine.errors import BadValueError, NodeError
from latentloom.engine.events import NodeWarning
from latentloom.engine.settings import load_settings
from latentloom.nodes.dataset import augment_dataset, images_to_dataset, join_datasets, split_dataset
from latentloom.nodes.drawing.resize import Size
from latentloom.nodes.learning.buckets import bucket_of
from latentloom.nodes.learning.dataset import Dataset, Item

SIZES = {"wide": (200, 100), "tall": (90, 160), "square": (128, 128)}


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session(load_settings({"device": "cpu"}, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        folder = made.engine.settings.input / "set"
        folder.mkdir(parents=True)
        for name, size in SIZES.items():
            Pil.new("RGB", size, "red").save(folder / f"{name}.png")
            (folder / f"{name}.txt").write_text(f"a {name} thing")
        yield made


def loading(**inputs: Any) -> dict[str, Any]:
    nodes = {
        "load": {"type": "LoadDataset", "inputs": {"folder": "set", **inputs}},
        "sheet": {"type": "DatasetSheet", "inputs": {"dataset": {"node": "load", "output": "dataset"}}},
    }
    ends = {"dataset": "load", "image": "sheet"}
    outputs = [{"name": name, "from": {"node": node, "output": name}} for name, node in ends.items()]
    return {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}


def made_of(*levels: int, repeats: int = 1) -> Dataset:
    return Dataset([Item(np.full((16, 16, 3), level, np.uint8), f"grey {level}", repeats) for level in levels])


def levels(dataset: Dataset) -> list[int]:
    return [int(item.pixels[0, 0, 0]) for item in dataset.items]


def test_pictures_of_several_shapes_are_brought_to_buckets(session: Session) -> None:
    outputs = session.run(loading(size=128)).outputs
    found = {item.caption: item.pixels.shape for item in outputs["dataset"].items}
    assert found == {"a wide thing": (80, 176, 3), "a tall thing": (160, 96, 3), "a square thing": (128, 128, 3)}
    assert all((item.pixels == [255, 0, 0]).all() for item in outputs["dataset"].items)
    assert outputs["image"].shape[0] == 1
    squares = session.run(loading(size=64, square=True)).outputs["dataset"]
    assert {item.pixels.shape for item in squares.items} == {(64, 64, 3)}


@pytest.mark.parametrize("side", [64, 128, 512, 1024])
@pytest.mark.parametrize("size", [Size(1, 1), Size(4000, 3000), Size(3000, 4000), Size(10_000, 10), Size(10, 10_000)])
def test_a_bucket_is_no_larger_than_the_square_and_of_about_the_shape(size: Size, side: int) -> None:
    width, height = bucket_of(size, side)
    assert side * side / 2 < width * height <= side * side and width % 16 == height % 16 == 0
    wanted = min(max(size.width / size.height, 0.25), 4)
    assert abs(np.log(width / height / wanted)) < 0.3 or not 0.3 < wanted < 3.5


def test_what_is_left_out_or_enlarged_is_told(session: Session) -> None:
    (session.engine.settings.input / "set" / "notes.md").write_text("x")
    events: list[Any] = []
    session.run(loading(size=256), on_event=events.append)
    assert [(e.code, e.message) for e in events if isinstance(e, NodeWarning)] == [
        ("dataset_left_out", "1 file ('notes.md') of 'set': neither a picture nor its caption"),
        ("dataset_enlarged", "3 files ('square.png', 'tall.png', 'wide.png'): smaller than 256 pixels, and enlarged"),
    ]


def test_pictures_that_cannot_be_read_are_named_together(session: Session) -> None:
    folder = session.engine.settings.input / "set"
    (folder / "tall.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing")
    (folder / "wide.png").write_bytes(b"")
    with pytest.raises(NodeError) as caught:
        session.run(loading())
    problem = caught.value.problem
    assert problem.message == "LoadDataset: 2 of the pictures in 'set' cannot be read"
    assert problem.got is not None and problem.got.startswith("2 files ('tall.png', 'wide.png'): ")


def test_ten_thousand_pictures_are_refused_before_one_is_read(session: Session) -> None:
    with zipfile.ZipFile(session.engine.settings.input / "many.zip", "w") as archive:
        for n in range(10_000):
            archive.writestr(f"{n}.png", b"")
    with pytest.raises(NodeError) as caught:
        session.run(loading(folder="many.zip", caption="many", size=512))
    assert caught.value.problem.record() | {"node": ""} == {
        "code": "node_failed",
        "message": "LoadDataset: 10000 pictures are too many for the memory at this size",
        "node": "",
        "expected": "at most 4 GiB",
        "got": "7.3 GiB",
        "hint": "use a smaller size, or fewer pictures",
    }


def test_the_same_pictures_are_the_same_data_set(session: Session) -> None:
    types = session.engine.registry
    kind = types.type_of("DATASET")
    assert kind is not None
    first = session.run(loading(size=64)).outputs["dataset"]
    again = kind.decode(kind.encode(first))
    assert kind.digest(first) == kind.digest(again)
    assert kind.digest(first) != kind.digest(session.run(loading(size=64, repeats=2)).outputs["dataset"])


def test_a_split_loses_nothing_and_repeats_itself() -> None:
    whole = made_of(*range(20))
    parts = split_dataset(whole, 0.25, 7)
    assert sorted(levels(parts.dataset) + levels(parts.held_out)) == list(range(20))
    assert len(parts.held_out) == 5 and levels(split_dataset(whole, 0.25, 7).held_out) == levels(parts.held_out)
    assert levels(split_dataset(whole, 0.25, 8).held_out) != levels(parts.held_out)
    assert [len(part) for part in split_dataset(made_of(1, 2), 0.99)] == [1, 1]
    with pytest.raises(BadValueError, match="a data set of one picture cannot be split"):
        split_dataset(made_of(1))


def test_joined_data_sets_keep_their_repeats() -> None:
    joined = join_datasets([made_of(1, repeats=10), made_of(2, 3)])
    assert [(item.caption, item.repeats) for item in joined.items] == [("grey 1", 10), ("grey 2", 1), ("grey 3", 1)]


def test_copies_are_mirrored_cropped_and_recoloured_by_the_seed() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :16] = 200
    dataset = Dataset([Item(picture, "left", 2)])
    flipped = augment_dataset(dataset, 1, True, 0.0)
    assert (flipped.items[1].pixels == picture[:, ::-1]).all()
    assert [(item.caption, item.repeats) for item in flipped.items] == [("left", 2)] * 2
    first, again, other = (augment_dataset(dataset, 3, False, 0.3, 0.2, seed) for seed in (1, 1, 2))
    assert all((a.pixels == b.pixels).all() for a, b in zip(first.items, again.items, strict=True))
    assert (first.items[0].pixels == picture).all()
    assert not any((a.pixels == b.pixels).all() for a, b in zip(first.items[1:], other.items[1:], strict=True))


def test_captions_of_images_are_one_for_each_or_one_for_all() -> None:
    from latentloom.engine import Image

    images = [Image(np.zeros((2, 40, 60, 3))), Image(np.ones((1, 20, 20, 4)))]
    assert [item.caption for item in images_to_dataset(images, ["thing"]).items] == ["thing"] * 3
    assert [item.pixels.shape for item in images_to_dataset(images, ["a", "b", "c"], 64).items] == [
        (48, 80, 3),
        (48, 80, 3),
        (64, 64, 3),
    ]
    with pytest.raises(BadValueError, match="one caption for each picture"):
        images_to_dataset(images, ["a", "b"])


def test_a_data_set_without_pictures_is_none() -> None:
    with pytest.raises(BadValueError, match="the data set has no pictures"):
        Dataset([])
