"""Labels of pictures: an XMP packet that says how a picture came about, for people, programs and authorities.

The packet has the digital source type of IPTC (Photo Metadata Standard 2023.1; values of
https://cv.iptc.org/newscodes/digitalsourcetype/), the implicit label of GB 45438-2025 (TC260's namespace, seven fields
as JSON), and the checksum of the file.
"""

import html
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from latentloom.engine.files.checksums import ID_PLACE, PLACE
from latentloom.engine.files.pictures import opened_picture

if TYPE_CHECKING:
    from PIL import Image as Pil

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
GENERATED: SourceType = "trainedAlgorithmicMedia"
COMPOSITE: SourceType = "compositeWithTrainedAlgorithmicMedia"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MAX_PACKET = 2**20  # bytes; a longer packet is not searched
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:latentloom="urn:latentloom:xmp"
 xmp:CreatorTool="{tool}" {place}"{label}
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
_LABEL = """
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
 Iptc4xmpExt:DigitalSourceType="{source}">
<TC260:AIGC>{fields}</TC260:AIGC>"""
_SOURCE = re.compile(rb"DigitalSourceType[^<]{1,200}?digitalsourcetype/([A-Za-z]{1,60})")
_TOOL = re.compile(rb"CreatorTool(?:=\"([^\"<]{1,200})\"|>([^<]{1,200})<)")
_AIGC = re.compile(rb"TC260:AIGC(?:=\"([^\"<]{1,5000})\"|>([^<]{1,5000})<)")


@dataclass(frozen=True, slots=True)
class Label:
    """What a picture file says about its origin. Fields are empty where it says nothing."""

    source_type: str = ""
    """A code of IPTC's digital source types, such as "trainedAlgorithmicMedia" or "digitalCapture"."""
    tool: str = ""
    aigc: Mapping[str, str] = field(default_factory=dict)
    """The fields of GB 45438-2025: "Label" (1 generated, 2 possibly, 3 suspected), "ContentProducer", ..."""

    @property
    def origin(self) -> SourceType | None:
        """The part that generative models had in the picture; None if the file does not say so."""
        if self.source_type.lower() == COMPOSITE.lower():
            return COMPOSITE
        return GENERATED if self.source_type == GENERATED or self.aigc.get("Label") else None


def joint(origins: Collection[SourceType | None]) -> SourceType | None:
    """Return the digital source type of a picture that shows pictures with these."""
    if not any(origins):
        return None
    return GENERATED if all(origin == GENERATED for origin in origins) else COMPOSITE


def packet(origin: SourceType | None) -> bytes:
    """Return an XMP packet with places for the id and checksum of the file, and a label unless `origin` is None."""
    tool = f"Latentloom {version('latentloom')}"
    fields = json.dumps(_fields(), separators=(",", ":"))
    label = ">" if origin is None else _LABEL.format(source=VOCABULARY + origin, fields=fields)
    return _PACKET.format(tool=tool, place=PLACE.decode(), label=label).encode()


def _fields() -> dict[str, str]:
    """Return the fields of GB 45438-2025, appendix E. The id comes from the file and does not tell who made it."""
    names = ("ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2")
    return {"Label": "1", "ContentProducer": "Latentloom", "ProduceID": ID_PLACE.decode(), **dict.fromkeys(names, "")}


def label_in(picture: "Pil.Image") -> Label:
    """Return the label of an opened picture.

    The packet is searched, not parsed as XML: files may be hostile, and properties may be attributes or elements.
    """
    found = picture.info.get("xmp", b"")
    data = found.encode() if isinstance(found, str) else bytes(found)
    if len(data) > MAX_PACKET:
        return Label()
    source = _SOURCE.search(data)
    return Label(source[1].decode() if source else "", _text(_TOOL.search(data)), _aigc(_text(_AIGC.search(data))))


def label_of(path: Path) -> Label:
    """Return the label of a picture file without decoding its pixels. Raises FileError if it is no picture."""
    with opened_picture(path) as picture:
        return label_in(picture)


def _text(found: re.Match[bytes] | None) -> str:
    return html.unescape((found[1] or found[2]).decode(errors="replace")).strip() if found else ""


def _aigc(text: str) -> dict[str, str]:
    try:
        fields = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    fields = fields.get("AIGC", fields) if isinstance(fields, dict) else {}
    return {str(name): str(value) for name, value in fields.items()} if isinstance(fields, dict) else {}
