"""Random single-file checkpoints, each written once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentloom.training.random_checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a random checkpoint of a recipe, in fp32."""
    import torch

    folder = tmp_path_factory.mktemp("single") / "checkpoints"
    folder.mkdir()

    def made(recipe: str) -> Path:
        path = folder / f"{recipe}.safetensors"
        if not path.exists():
            write_checkpoint(path, recipe, dtype=torch.float32)
        return path

    return made
