"""A text reader that reads a prompt together with pictures, which stand in the template of a vision language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.resize import Size, resize, rounded
from latentloom.nodes.text.chat import Chat, ChatReader
from latentloom.nodes.text.reader import ReadText
from latentloom.nodes.text.vision_tower import SeenPicture, VisionTower

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Floats

PICTURE = "<|image_pad|>"  # the token that the tokens of a picture replace
SHOWN = f"<|vision_start|>{PICTURE}<|vision_end|>"
MULTIPLE = 32  # pixels; sides of scaled pictures are multiples of it
LONGEST = 200  # the largest ratio of a picture's sides that Qwen's vision tower takes


@dataclass(frozen=True, slots=True)
class PictureChat:
    """A chat template for a prompt with pictures; the pictures come first in the user's message.

    `label` is the text of a picture, in which "{}" stands for its number from 1; `between` stands between two of them.
    The vision tower sees pictures of about `pixels` pixels; at most `most` of them are allowed.
    """

    chat: Chat
    label: str
    pixels: int
    most: int
    between: str = ""

    def message(self, text: str, count: int) -> str:
        """Return the user's message: the labels of `count` pictures, then the text."""
        labels = (self.label.replace("{}", str(number)) for number in range(1, count + 1))
        return self.between.join(labels) + (text or self.chat.empty)


def scaled_to(picture: Floats, pixels: int) -> Floats:
    """Scale a picture [H, W, C] to about a number of pixels; its sides become multiples of 32.

    Raises BadValueError for a picture that is more than 200 times as long as wide.
    """
    height, width = picture.shape[:2]
    if max(height, width) > LONGEST * min(height, width):
        raise BadValueError(
            "the picture is too long and narrow for the vision tower",
            expected=f"sides of a ratio up to {LONGEST}",
            got=f"{width}x{height}",
        )
    wide: float = (pixels * width / height) ** 0.5
    size: Size = rounded(wide, wide * height / width, MULTIPLE)
    return resize(picture[None], size, "lanczos")[0]


@dataclass(frozen=True)
class PictureChatReader(ChatReader):
    """A chat reader that also reads prompts with pictures, in one of several templates by name."""

    picture_chats: Mapping[str, PictureChat] = field(default_factory=dict)

    def read_pictures(self, text: str, name: str, pictures: Sequence[Floats], tower: VisionTower) -> ReadText:
        """Return the hidden states [1, T, D] of a prompt with pictures [H, W, 3], a mask of ones and the slots.

        Raises BadValueError for a text that is too long or contains the token of a picture.
        """
        way = self.picture_chats[name]
        ids = self._ids(way.message(text, len(pictures)), way.chat)[0].tolist()
        texts = self._split(ids, len(pictures))
        seen = [tower.see(scaled_to(picture, way.pixels)) for picture in pictures]
        slots = slots_of([len(text) for text in texts], seen)
        told = self._told(self._hidden(texts, seen, slots), way.chat)
        return replace(told, slots=slots[:, -told.embedding.shape[1] :])

    def _split(self, ids: list[int], count: int) -> list[list[int]]:
        """Split the ids at the tokens of pictures, which are left out."""
        token = self.tokenizer.token_to_id(PICTURE)
        if token is None:
            raise BadValueError(f"the tokenizer does not know '{PICTURE}'", expected="the tokenizer of a Qwen-VL")
        places = [-1, *(place for place, one in enumerate(ids) if one == token), len(ids)]
        if len(places) - 2 != count:
            raise BadValueError(
                f"the prompt contains '{PICTURE}', which is the placeholder of a picture",
                expected="a prompt without it",
                got=f"{len(places) - 2 - count} more than pictures",
            )
        return [ids[first + 1 : last] for first, last in pairwise(places)]

    def _hidden(self, texts: Sequence[Sequence[int]], seen: Sequence[SeenPicture], slots: Tensor) -> tuple[Tensor, ...]:
        """Run the model on texts with pictures between them, whose tokens are at `slots` [1, T]."""
        import torch

        device = self.model.device
        parts = [self.model.embed_tokens(torch.tensor([texts[0]], device=device))]
        for picture, text in zip(seen, texts[1:], strict=True):
            parts.append(picture.vectors[None].to(parts[0]))
            parts.append(self.model.embed_tokens(torch.tensor([text], device=device)))
        positions = positions_of([len(text) for text in texts], seen).to(device)
        deep = [torch.cat(level) for level in zip(*(picture.deep for picture in seen), strict=True)]
        more = {"visual_pos_masks": slots.bool(), "deepstack_visual_embeds": deep} if deep else {}
        found: tuple[Tensor, ...] = self.model(
            inputs_embeds=torch.cat(parts, dim=1),
            position_ids=positions,
            output_hidden_states=True,
            use_cache=False,
            **more,
        ).hidden_states
        return found


def slots_of(lengths: Sequence[int], seen: Sequence[SeenPicture]) -> Tensor:
    """Return where the tokens of pictures stand between texts of these lengths, [1, T] with 1 for such a token."""
    import torch

    parts = [torch.zeros(lengths[0])]
    for picture, length in zip(seen, lengths[1:], strict=True):
        parts += [torch.ones(picture.rows * picture.columns), torch.zeros(length)]
    return torch.cat(parts)[None]


def positions_of(lengths: Sequence[int], seen: Sequence[SeenPicture]) -> Tensor:
    """Return the positions [3, 1, T] in time, row and column of texts with pictures between them.

    A token of a text has the same position on each axis. Rows and columns of a picture are counted from where the text
    before it ends, and the text after it begins behind the longer side (Qwen2-VL, Wang et al. 2024, section 2.1).
    """
    import torch

    parts, start = [torch.arange(lengths[0]).expand(3, -1)], lengths[0]
    for picture, length in zip(seen, lengths[1:], strict=True):
        rows, columns = torch.arange(picture.rows), torch.arange(picture.columns)
        grid = torch.stack(torch.meshgrid(torch.zeros(1, dtype=torch.long), rows, columns, indexing="ij"))
        parts.append(grid.reshape(3, -1) + start)
        start += max(picture.rows, picture.columns)
        parts.append(torch.arange(start, start + length).expand(3, -1))
        start += length
    return torch.cat(parts, dim=1)[:, None]
