"""Models in several files."""

from pathlib import Path

from safetensors.torch import load_file, save_file


def shard(path: Path) -> None:
    """Replace a safetensors file by two, each with half of its tensors."""
    weights = list(load_file(path).items())
    half = len(weights) // 2
    for number, part in enumerate((weights[:half], weights[half:]), 1):
        save_file(dict(part), path.with_name(f"{path.stem}-0000{number}-of-00002.safetensors"))
    path.unlink()
