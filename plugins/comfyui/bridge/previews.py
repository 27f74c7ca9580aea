"""The stand-in for `comfy_api.latest.ui`: what a V3 class shows. Images go to the folders of `folder_paths`."""

import importlib
from pathlib import Path
from typing import Any


class SavedResult(dict[str, str]):
    """A saved file: its name, its folder below the kind's folder, and the kind: "output" or "temp"."""

    def __init__(self, filename: str, subfolder: str, type: Any) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=str(type))


class Shown:
    """A record for the editor, such as {"text": ("hello",)}."""

    def __init__(self, **record: Any) -> None:
        self.record = record

    def as_dict(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


class SavedImages(Shown):
    """Images that are saved already."""

    def __init__(self, results: list[SavedResult], *_: Any, **__: Any) -> None:
        super().__init__(images=results)


class PreviewImage(SavedImages):
    """Images as temporary files. Takes a tensor [B, H, W, C] in 0..1."""

    def __init__(self, image: Any, *_: Any, **__: Any) -> None:
        super().__init__(saved(image, "preview", "temp"))


class PreviewMask(PreviewImage):
    """Masks as temporary files. Takes a tensor [B, H, W] or [H, W] in 0..1."""

    def __init__(self, mask: Any, *_: Any, **__: Any) -> None:
        super().__init__(mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3))


class PreviewText(Shown):
    """A text."""

    def __init__(self, value: str, **_: Any) -> None:
        super().__init__(text=(value,))


class ImageSaveHelper:
    """Saves images as PNG files."""

    @staticmethod
    def save_images(images: Any, filename_prefix: str, folder_type: Any, *_: Any, **__: Any) -> list[SavedResult]:
        """Save a tensor [B, H, W, C]; return the files."""
        return saved(images, filename_prefix, str(folder_type))

    @staticmethod
    def get_save_images_ui(images: Any, filename_prefix: str, *_: Any, **__: Any) -> SavedImages:
        """Save a tensor [B, H, W, C] to the output folder."""
        return SavedImages(saved(images, filename_prefix, "output"))


def saved(images: Any, prefix: str, kind: str) -> list[SavedResult]:
    """Save a tensor [B, H, W, C] in 0..1 as 8-bit PNG files; return them."""
    paths, picture = importlib.import_module("folder_paths"), importlib.import_module("PIL.Image")
    folder = paths.get_temp_directory() if kind == "temp" else paths.get_output_directory()
    place, name, count, sub, _ = paths.get_save_image_path(prefix, folder)
    found = []
    for number, image in enumerate(images, count):
        file = f"{name}_{number:05}_.png"
        pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().byte().numpy()
        picture.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(Path(place, file))
        found.append(SavedResult(file, sub, kind))
    return found


class SaveImage:
    """The stand-in for `nodes.SaveImage`, which classes of packs derive from to save or show images."""

    RETURN_TYPES: tuple[str, ...] = ()
    FUNCTION, CATEGORY, OUTPUT_NODE = "save_images", "image", True
    type, prefix_append, compress_level = "output", "", 4

    def __init__(self) -> None:
        self.output_dir = importlib.import_module("folder_paths").get_output_directory()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the inputs."""
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save_images(self, images: Any, filename_prefix: str = "ComfyUI", *_: Any, **__: Any) -> dict[str, Any]:
        """Save a tensor [B, H, W, C]; return the files for the editor."""
        return {"ui": {"images": saved(images, filename_prefix + self.prefix_append, self.type)}}


class ShowImage(SaveImage):
    """The stand-in for `nodes.PreviewImage`."""

    type = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the inputs."""
        return {"required": {"images": ("IMAGE",)}}


MEMBERS = {
    made.__name__: made for made in (SavedResult, SavedImages, PreviewImage, PreviewMask, PreviewText, ImageSaveHelper)
}
