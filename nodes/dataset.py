"""Nodes that make data sets for training: pictures with captions."""

import math
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, InputFile, Seed, Source, Text, node
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.pictures import to_bytes
from latentloom.nodes.image_grid import image_grid
from latentloom.nodes.learning.augmentation import augmented
from latentloom.nodes.learning.dataset import Dataset, Item
from latentloom.nodes.learning.loading import fitted, load_set

Side = Annotated[
    int,
    Field(
        ge=64,
        le=2048,
        multiple_of=8,
        description="Side of a square picture in pixels, best the size that the model was trained on.",
    ),
]
Square = Annotated[
    bool,
    Field(description="Crop every picture to a square. If off, pictures keep about their shape, with the same area."),
]
Repeats = Annotated[
    int, Field(ge=1, le=1000, description="How often each picture is shown in one pass, next to other data sets.")
]


class Parts(NamedTuple):
    """A data set in two parts without a common picture."""

    dataset: Dataset
    held_out: Dataset


@node("LoadDataset", category="dataset", display_name="Load data set")
def load_dataset(
    ctx: Context,
    folder: Annotated[
        InputFile, Source("datasets"), Field(description="A folder of pictures, or a ZIP file, in the input folder.")
    ],
    caption: Annotated[Text, Field(max_length=5000, description="Caption of the pictures that have none.")] = "",
    size: Side = 512,
    square: Square = False,
    repeats: Repeats = 1,
) -> Dataset:
    """Load pictures and their captions.

    A caption is in NAME.txt next to the picture, or in metadata.jsonl with a line such as {"file_name": "a.png",
    "text": "a caption"} for each. Pictures are resized and cropped to a few sizes of about their own shape (buckets).
    """
    return load_set(ctx, folder, caption, size, repeats, square=square)


@node("ImagesToDataset", category="dataset", display_name="Images to data set")
def images_to_dataset(
    images: Annotated[list[Image], Field(description="All images of all batches, in order.")],
    captions: Annotated[list[str], Field(description="One caption for each image, or one for all.")],
    size: Annotated[
        int, Field(ge=0, le=2048, multiple_of=8, description="As in LoadDataset; 0 keeps the images as they are.")
    ] = 0,
    square: Square = False,
    repeats: Repeats = 1,
) -> Dataset:
    """Make a data set of images of the workflow. An image with an empty caption is learnt without one."""
    pictures = [pixels for image in images for pixels in image.numpy()]
    said = list(captions) * len(pictures) if len(captions) == 1 else list(captions)
    if len(said) != len(pictures):
        raise BadValueError(
            "there must be one caption for each picture, or one for all",
            expected=f"{len(pictures)} or 1",
            got=str(len(said)),
        )
    made = [fitted(pixels, size, square=square) if size else pixels[..., :3] for pixels in pictures]
    return Dataset(
        [Item(to_bytes(np.clip(pixels, 0, 1)), text, repeats) for pixels, text in zip(made, said, strict=True)]
    )


@node("JoinDatasets", category="dataset", display_name="Join data sets")
def join_datasets(datasets: Annotated[list[Dataset], Field(description="The data sets, in order.")]) -> Dataset:
    """Join data sets. Each picture keeps its repeats."""
    return Dataset([item for dataset in datasets for item in dataset.items])


@node("SplitDataset", category="dataset", display_name="Split data set")
def split_dataset(
    dataset: Dataset,
    share: Annotated[
        float, Field(ge=0.01, le=0.99, description="Share of the pictures that is held out; at least one picture.")
    ] = 0.1,
    seed: Seed = 0,
) -> Parts:
    """Split a data set at random into pictures to learn from and held-out pictures to measure on."""
    if len(dataset) < 2:
        raise BadValueError("a data set of one picture cannot be split", expected="at least 2", got="1")
    count = min(max(1, round(len(dataset) * share)), len(dataset) - 1)
    out = set(np.random.default_rng(seed).permutation(len(dataset))[:count].tolist())
    parts = ([item for n, item in enumerate(dataset.items) if (n in out) == held] for held in (False, True))
    return Parts(*map(Dataset, parts))


@node("AugmentDataset", category="dataset", display_name="Augment data set")
def augment_dataset(
    dataset: Dataset,
    copies: Annotated[int, Field(ge=1, le=100, description="Changed copies of each picture, besides itself.")] = 1,
    flip: Annotated[
        bool, Field(description="Mirror copies. Leave it off for texts, and where the captions name left and right.")
    ] = False,
    crop: Annotated[
        float, Field(ge=0, le=0.5, description="Largest share of each side that is cut off before resizing.")
    ] = 0.1,
    colour: Annotated[
        float, Field(ge=0, le=0.5, description="Largest change of brightness, contrast and saturation.")
    ] = 0.0,
    seed: Seed = 0,
) -> Dataset:
    """Add changed copies of each picture: mirrored, cropped or with other colours. Captions stay the same."""
    return augmented(dataset, copies, crop, colour, seed, flip=flip)


@node("DatasetSheet", category="dataset", display_name="Data set sheet")
def dataset_sheet(
    dataset: Dataset,
    most: Annotated[int, Field(ge=1, le=400, description="Show at most this number of pictures, evenly chosen.")] = 36,
    columns: Annotated[int, Field(ge=0, le=50, description="Pictures per row; 0 makes the sheet nearly square.")] = 0,
    captions: Annotated[bool, Field(description="Write the caption above each picture.")] = True,
) -> Image:
    """Show the pictures of a data set on one sheet, as the model sees them: resized, cropped, with their captions."""
    step = max(1, math.ceil(len(dataset) / most))
    shown = dataset.items[::step]
    images = [Image(item.pixels[None].astype(np.float32) / np.float32(255)) for item in shown]
    labels = [item.caption + (f" (x{item.repeats})" if item.repeats > 1 else "") for item in shown]
    return image_grid(images, columns=columns, labels=labels if captions else None)


NODES = (load_dataset, images_to_dataset, join_datasets, split_dataset, augment_dataset, dataset_sheet)
