"""The text encoder and its pretraining: it learns to predict the layout of the scene from a caption.

A temporary head predicts from the token states, for each cell of an 8x8 map of the picture, the background's colour and
the shape, colour and size of the object there. For this the states must bind each attribute to its object and each
object to its place. The UNet needs the same binding, and learns it only slowly without this pretraining.
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from latentloom.training.pictures import SIDE, places
from latentloom.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    Scene,
    caption,
    draw_wording,
    training_scenes,
)
from latentloom.training.settings import Settings, TextSettings
from latentloom.training.tokenizer import LENGTH

CELLS = 8
"""Cells of the map per axis."""
CLASSES = (len(BACKGROUNDS), len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES) + 1)
"""Number of classes of background, shape, colour and size; for the last three 0 means no object."""


def create_text_encoder(settings: TextSettings, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Create an untrained text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.width,
            intermediate_size=4 * settings.width,
            projection_dim=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class Captions:
    """Converts captions to token ids."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer = tokenizer

    def tokens(self, captions: list[str]) -> Tensor:
        """Return token ids [B, LENGTH], padded with the end token."""
        return self.tokenizer(
            captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        ).input_ids


class MapHead(nn.Module):
    """Predicts the map of the scene from the token states."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.cells = nn.Parameter(torch.randn(CELLS * CELLS, width) * 0.5)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, sum(CLASSES)))

    def forward(self, states: Tensor) -> Tensor:
        """Token states [B, T, D] to logits [B, cells, classes]."""
        cells = self.cells.expand(len(states), -1, -1)
        read, _ = self.attention(cells, states, states, need_weights=False)
        return self.mlp(self.norm(cells + read))


def scene_map(scene: Scene, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the classes of each cell [cells, 4]: background, shape, colour, size."""
    cells = np.zeros((CELLS, CELLS, 4), np.int64)
    cells[..., 0] = list(BACKGROUNDS).index(scene.background)
    middle = (np.arange(CELLS) + 0.5) * SIDE / CELLS
    for thing, (x, y) in zip(scene.things, places(scene, rng), strict=True):
        reach = SIZES[thing.size] * 0.9
        inside = (abs(middle[None, :] - x) < reach) & (abs(middle[:, None] - y) < reach)
        names = (
            SHAPES.index(thing.shape) + 1,
            list(COLOURS).index(thing.colour) + 1,
            list(SIZES).index(thing.size) + 1,
        )
        cells[inside, 1:] = names
    return cells.reshape(CELLS * CELLS, 4)


class TextSteps:
    """Training steps of the text encoder with its temporary head."""

    def __init__(self, encoder: CLIPTextModel, head: MapHead, captions: Captions, settings: Settings) -> None:
        self._encoder, self._head, self._captions = encoder, head, captions
        self._seed, self._batch = settings.seed, settings.text.batch

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """Return the loss and the number of captions of one step."""
        rng = np.random.default_rng([self._seed, 2, step])
        scenes = training_scenes(rng)
        batch = [next(scenes) for _ in range(self._batch)]
        tokens = self._captions.tokens([caption(scene, draw_wording(rng)) for scene in batch])
        maps = torch.from_numpy(np.stack([scene_map(scene, rng) for scene in batch]))
        states = self._encoder(tokens).last_hidden_state
        parts = self._head(states).split(CLASSES, dim=-1)
        losses = [
            nn.functional.cross_entropy(part.flatten(0, 1), maps[..., i].flatten()) for i, part in enumerate(parts)
        ]
        return torch.stack(losses).sum(), len(batch)


@torch.no_grad()
def map_accuracy(encoder: CLIPTextModel, head: MapHead, captions: Captions, scenes: list[Scene]) -> float:
    """Share of scenes for which each object's shape, colour and size are predicted correctly at its centre."""
    rng = np.random.default_rng(0)
    states = encoder(captions.tokens([caption(scene) for scene in scenes])).last_hidden_state
    parts = [part.argmax(-1) for part in head(states).split(CLASSES, dim=-1)]
    right = 0
    for index, scene in enumerate(scenes):
        wanted = torch.from_numpy(scene_map(scene, rng))
        cells = [x * CELLS // SIDE + y * CELLS // SIDE * CELLS for x, y in places(scene, rng)]
        right += all(part[index, cell] == wanted[cell, i] for cell in cells for i, part in enumerate(parts))
    return right / len(scenes)
