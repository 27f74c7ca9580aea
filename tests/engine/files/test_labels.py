"""What files say about their origin, and whether they are as they were saved."""

import numpy as np
import pytest
from PIL import Image as Pil
from PIL.PngImagePlugin import PngInfo

from latentloom.engine.errors import FileError
from latentloom.engine.files.checksums import MARK, is_intact, sealed
from latentloom.engine.files.encoding import SUFFIXES, PictureToSave, encode
from latentloom.engine.files.labels import COMPOSITE, GENERATED, Label, joint, label_of, packet
from latentloom.engine.files.pictures import WORKFLOW_CHUNK, read_making

FORMS = list(SUFFIXES)
PIXELS = np.random.default_rng(0).random((24, 32, 3), np.float32)
TEXTS = {WORKFLOW_CHUNK: f'{{"name": "{MARK.decode()[:-1]}\\"{"0" * 64}"}}'}  # a name that looks like a checksum


@pytest.fixture
def saved(tmp_path):
    def write(form="png", origin=GENERATED, texts=TEXTS):
        path = tmp_path / f"picture{SUFFIXES[form]}"
        path.write_bytes(encode(PictureToSave(PIXELS, form), texts, packet(origin)))
        return path

    return write


@pytest.fixture
def foreign(tmp_path):
    def write(xmp):
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        Pil.new("RGB", (4, 4)).save(tmp_path / "foreign.png", pnginfo=info)
        return tmp_path / "foreign.png"

    return write


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("origin", [GENERATED, COMPOSITE])
def test_every_form_carries_its_label_beside_its_workflow(form, origin, saved):
    path = saved(form, origin)
    label = label_of(path)
    assert (label.source_type, label.origin) == (origin, origin)
    assert label.tool.startswith("Latentloom ")
    fields = "Label ContentProducer ProduceID ReservedCode1 ContentPropagator PropagateID ReservedCode2"
    assert list(label.aigc) == fields.split()
    assert (label.aigc["Label"], label.aigc["ContentProducer"]) == ("1", "Latentloom")
    assert read_making(path)[0] == TEXTS[WORKFLOW_CHUNK]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_intact_until_a_byte_of_it_changes(form, saved):
    data = saved(form).read_bytes()
    assert is_intact(data) is True
    for at in np.linspace(len(data) // 3, len(data) - 1, 40).astype(int):
        changed = bytearray(data)
        changed[at] ^= 1
        inside = data.find(MARK) - 400 < at < data.find(MARK) + 800  # the packet, with its CRC
        assert inside or is_intact(bytes(changed)) is False
    assert is_intact(data + b"\0") is False


def test_a_changed_label_is_noticed(saved):
    data = saved().read_bytes()
    assert is_intact(data.replace(b'"Label":"1"', b'"Label":"2"')) is False


@pytest.mark.parametrize("form", FORMS)
def test_the_label_changes_no_pixel(form, saved):
    bare = saved(form).with_name(f"bare{SUFFIXES[form]}")
    bare.write_bytes(encode(PictureToSave(PIXELS, form), {}))
    assert np.array_equal(Pil.open(bare), Pil.open(saved(form)))


def test_a_packet_without_a_label_still_has_a_checksum(saved):
    path = saved(origin=None)
    assert (label_of(path).origin, label_of(path).source_type) == (None, "")
    assert is_intact(path.read_bytes()) is True


@pytest.mark.parametrize("form", FORMS)
def test_the_id_comes_from_the_content_and_the_same_picture_is_the_same_file(form, saved):
    data, id = saved(form).read_bytes(), label_of(saved(form)).aigc["ProduceID"]
    assert (len(id), int(id, 16) > 0) == (32, True)
    assert saved(form).read_bytes() == data
    assert is_intact(data) is True
    assert label_of(saved(form, COMPOSITE)).aigc["ProduceID"] != id


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIDAT", MARK + b"g" * 64 + b'"'])
def test_a_file_without_a_checksum_is_neither_intact_nor_changed(data):
    assert is_intact(data) is None
    assert sealed(data) == data


@pytest.mark.parametrize(
    ("xmp", "label"),
    [
        ("", Label()),
        ("not xml <<<", Label()),
        ("<" * 2_000_000, Label()),
        (
            "<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture</a>",
            Label("digitalCapture"),
        ),
        (
            'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"'
            " <xmp:CreatorTool>A &amp; B</xmp:CreatorTool>",
            Label("trainedAlgorithmicMedia", "A & B"),
        ),
        ("<TC260:AIGC>{&quot;Label&quot;:&quot;2&quot;}</TC260:AIGC>", Label(aigc={"Label": "2"})),
        ('<TC260:AIGC>{"AIGC": {"Label": 1}}</TC260:AIGC>', Label(aigc={"Label": "1"})),
        (f"<TC260:AIGC>{'[' * 4000}</TC260:AIGC>", Label()),
        ("<TC260:AIGC>[1]</TC260:AIGC>", Label()),
    ],
)
def test_the_labels_of_other_programs_are_read(xmp, label, foreign):
    assert label_of(foreign(xmp)) == label


def test_what_is_no_picture_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(FileError):
        label_of(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("origins", "found"),
    [
        ([], None),
        ([None, None], None),
        ([GENERATED, GENERATED], GENERATED),
        ([GENERATED, None], COMPOSITE),
        ([GENERATED, COMPOSITE], COMPOSITE),
    ],
)
def test_a_sheet_is_labelled_by_its_pictures(origins, found):
    assert joint(origins) == found
