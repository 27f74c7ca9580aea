"""Queries that workers answer, because they need plugin code, a picture decoder or long reads."""

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latentloom.api.contact_sheet import cell_of, contact_sheet
from latentloom.api.model_facts import model_facts
from latentloom.api.session import Session
from latentloom.api.workflow_files import import_workflow
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.resolve import migrate
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.catalog import Found
from latentloom.engine.files.checksums import sealed
from latentloom.engine.files.hashes import Progress
from latentloom.engine.files.labels import label_in, packet
from latentloom.engine.files.pictures import XMP_CHUNK, read_making, read_picture
from latentloom.plugins.comfyui.carriers import texts_in

THUMBNAIL_PIXELS = 320
READERS = 8  # maximum number of tokenizers in memory
LANES = {
    "explain": "plugins",
    "facts": "plugins",
    "import": "plugins",
    "migrate": "plugins",
    "sheet": "plugins",
    "tokenize": "plugins",
    "hash": "long",
}
"""The lane of each query. Queries in a lane run one after another; those not listed use the lane "quick"."""
LANE_NAMES = ("quick", "plugins", "long")
Say = Callable[[dict[str, Any]], None]
Mentioned = Callable[[str, str], Mapping[str, Found]]
Reader = Callable[[str, str, int, Mentioned], dict[str, Any]]


class WorkerQueries:
    """The queries by name. Arguments and answers are JSON."""

    def __init__(self, session: Session, say: Say) -> None:
        """`say` sends progress to the server as an event."""
        self._session = session
        self._say = say
        self._readers: OrderedDict[tuple[Path, int], Reader] = OrderedDict()

    def __call__(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a query. Raises LoomError, or any exception of plugin code."""
        answers: dict[str, Callable[..., Any]] = {
            "explain": self.explain,
            "facts": self.facts,
            "hash": self.hash,
            "import": self.take_in,
            "inspect": self.inspect,
            "join_alpha": self.join_alpha,
            "making": self.making,
            "mask": self.mask,
            "migrate": self.migrate,
            "sheet": self.sheet,
            "texts": self.texts,
            "thumbnail": self.thumbnail,
            "tokenize": self.tokenize,
            "view": self.view,
        }
        return answers[what](**arguments)

    def migrate(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the document with all nodes migrated to their installed versions."""
        registry = self._session.engine.registry
        return to_json(migrate(from_json(document), registry))

    def explain(self, document: dict[str, Any], outputs: list[str] | None) -> list[dict[str, str]]:
        """Explain each node: a cache hit, or the parts of its cache key that changed."""
        job = self._session.prepare(document, outputs=outputs)
        found = self._session.engine.explain(job)
        return [{"node": e.node, "type": e.type, "status": e.status, "reason": e.reason} for e in found]

    def inspect(self, path: str) -> dict[str, Any]:
        """Decode a picture completely and return its format and size. Raises FileError for any other file."""
        from PIL import Image as Pil

        picture = read_picture(Path(path))
        with Pil.open(path) as opened:
            format = opened.format
        return {"format": format, "width": picture.width, "height": picture.height}

    def take_in(self, path: str) -> dict[str, Any]:
        """Return the workflow in a file: a document, a picture with an embedded workflow, or a file for an importer."""
        found = import_workflow(Path(path), self._session.engine.registry)
        return {"workflow": to_json(found.workflow), "report": found.report}

    def texts(self, path: str) -> dict[str, str]:
        """Return the generation parameters that other programs wrote into a picture, by name."""
        return texts_in(Path(path).read_bytes(), ("parameters", "invokeai_metadata"))

    def thumbnail(self, path: str, to: str) -> None:
        """Write a small WebP of a picture."""
        picture = read_picture(Path(path))
        picture = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
        picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=80)
        Path(to).write_bytes(out.getvalue())

    def sheet(self, pictures: list[tuple[dict[str, Any], str]], columns: int, to: str) -> None:
        """Write a contact sheet of pictures, given as pairs of a run's inputs and a path, as PNG."""
        shown = [cell_of(inputs, Path(path)) for inputs, path in pictures]
        Path(to).write_bytes(contact_sheet(shown, columns, self._session.engine.registry))

    def join_alpha(self, path: str, mask: str, to: str) -> None:
        """Write a picture as PNG with the alpha of another picture, which is resized to match."""
        picture, alpha = read_picture(Path(path)).convert("RGB"), read_picture(Path(mask)).convert("RGBA")
        picture.putalpha(alpha.getchannel("A").resize(picture.size))
        out = io.BytesIO()
        picture.save(out, "PNG")
        Path(to).write_bytes(out.getvalue())

    def facts(self, source: str, name: str) -> dict[str, Any]:
        """Return what a model file is, and the settings that suit it; see `model_facts`."""
        engine = self._session.engine
        return model_facts(engine, engine.catalog.find(source, name).path)

    def mask(self, path: str, to: str, opaque: bool = False) -> None:
        """Write a mask as a grey PNG: white where a picture is transparent, or its brightness if it has no alpha.

        `opaque`: white where the picture is opaque, or its brightness if it is opaque everywhere.
        """
        from PIL import ImageOps

        picture = read_picture(Path(path))
        alpha = picture.convert("RGBA").getchannel("A")
        clear = (
            alpha.getextrema() != (255, 255) if opaque else "A" in picture.getbands() or "transparency" in picture.info
        )
        grey = alpha if clear else picture.convert("L")
        grey = ImageOps.invert(grey) if clear and not opaque else grey
        out = io.BytesIO()
        grey.save(out, "PNG")
        Path(to).write_bytes(out.getvalue())

    def view(self, path: str, to: str, format: str, quality: int, channel: str) -> None:
        """Write a picture in another format: all channels ("rgba"), the colours ("rgb") or the alpha ("a")."""
        from PIL import Image as Pil

        picture = read_picture(Path(path))
        clear = "A" in picture.getbands() or "transparency" in picture.info
        if channel == "a":
            alpha = picture.convert("RGBA").getchannel("A")
            picture = Pil.new("RGBA", picture.size)
            picture.putalpha(alpha)
        elif channel == "rgb" or format == "JPEG" or not clear:
            picture = picture.convert("RGB")
        out = io.BytesIO()
        picture.save(out, format, quality=quality, **_xmp(picture, format))
        Path(to).write_bytes(sealed(out.getvalue()))

    def tokenize(self, text: str, source: str, name: str, grammar: str, steps: int) -> dict[str, Any]:
        """Return the tokens that a model's text encoder reads for a prompt.

        Raises BadValueError for a model without a text encoder, and the errors of its reader.
        """
        path = self._session.engine.catalog.find(source, name).path
        key = (path, path.stat().st_mtime_ns)
        if key not in self._readers:
            self._readers[key] = self._reader(path, name)
        self._readers.move_to_end(key)
        if len(self._readers) > READERS:
            self._readers.popitem(last=False)
        return self._readers[key](text, grammar, steps, self._mentioned)

    def _mentioned(self, source: str, text: str) -> dict[str, Found]:
        catalog = self._session.engine.catalog
        return {name: catalog.find(source, name) for name in catalog.mentioned(source, text)}

    def _reader(self, path: Path, name: str) -> Reader:
        engine = self._session.engine
        kind, info = engine.recognise(path) or ("", {})
        make = getattr(engine.registry.extension("model_kind", kind).load()(), "prompt_reader", None) if kind else None
        found: Reader | None = make and make(path, info)
        if found is None:
            raise BadValueError(f"'{name}' reads no text", expected="a checkpoint or a CLIP", got=info.get("about"))
        return found

    def making(self, path: str) -> dict[str, Any]:
        """Return the workflow and the record embedded in a saved picture."""
        workflow, record = read_making(Path(path))
        return {"workflow": workflow, "record": record}

    def hash(self, source: str, name: str, operation: str) -> str:
        """Return the sha256 of a model file. Progress is reported as events."""
        report: Progress = lambda done, total: self._say(  # noqa: E731
            {"event": "model_hashing", "operation": operation, "model": name, "done": done, "total": total}
        )
        return str(self._session.engine.catalog.identify(source, name, report).sha256)


def _xmp(picture: Any, format: str) -> dict[str, Any]:
    """Return the options with which Pillow writes a picture with the label that it has."""
    from PIL.PngImagePlugin import PngInfo

    origin = label_in(picture).origin
    if origin is None:
        return {}
    if format != "PNG":
        return {"xmp": packet(origin)}
    info = PngInfo()
    info.add_itxt(XMP_CHUNK, packet(origin).decode())
    return {"pnginfo": info}
