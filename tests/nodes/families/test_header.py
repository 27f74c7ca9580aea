"""Headers of weights files: whatever is in one, it is read in linear time or refused, and ends no list."""

import contextlib
import json
import re
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.api import Session
from latentloom.engine.errors import FileError
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.header import counted, read_header

TENSORS = 8_000
SECONDS = 20  # of the processor; linear reading takes a fraction


def weights(path: Path, header: Any) -> Path:
    """A file of no tensor's bytes; the header is JSON, or text as it is."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode(errors="surrogatepass")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def tensor(*shape: Any, offsets: Any = (0, 0)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE = {
    "offsets of text": {"a": tensor(1, offsets="xy")},
    "offsets of both kinds": {"a": tensor(1, offsets=(0, 0)), "b": tensor(1, offsets=(0, "x"))},
    "negative offsets": {"a": tensor(1, offsets=(0, -4))},
    "a shape of text": {"a": tensor("x")},
    "a shape of fractions": {"a": tensor(1.5)},
    "a shape of truths": {"a": tensor(True)},
    "no numbers": {"a": tensor(1, offsets=(0, float("nan")))},
    "deep": "[" * 100_000,
    "deep metadata": '{"__metadata__":' + '{"a":' * 100_000,
    "metadata of a list": {"__metadata__": []},
    "an endless number": '{"a": ' + "1" * 10_000 + "}",
    "half a pair": '{"a\ud800": 1}',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_header_is_a_file_error(case: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"'m\.safetensors' is not a safetensors file"):
        read_header(weights(tmp_path / "m.safetensors", HOSTILE[case]))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_length_that_begins_as_a_pickle_does_is_a_length(protocol: int, tmp_path: Path) -> None:
    """Such a length is 0x0280, 0x0380, ...: one file in 2,000 has one."""
    text = json.dumps({"a": tensor(0)})
    path = weights(tmp_path / "m.safetensors", text.ljust(0x80 + (protocol << 8)))
    assert path.read_bytes()[:2] == bytes([0x80, protocol])
    assert read_header(path).shapes == {"a": (0,)}


def test_what_cannot_be_opened_is_a_file_error(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "gone", "No such file or directory")):
        with pytest.raises(FileError, match="cannot be read") as caught:
            read_header(path)
        assert caught.value.problem.got == why


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


LEVELS = {
    **{f"input_blocks.{n}.0.op.weight": tensor(1) for n in range(1, TENSORS)},
    "input_blocks.0.0.weight": tensor(320, 4, 3, 3),
    "out.2.weight": tensor(4),
    **{f"input_blocks.{n}.0.out_layers.3.weight": tensor(1) for n in range(1, TENSORS)},
    "input_blocks.1.1.attn2.to_k.weight": tensor(320, 768),
    "input_blocks.1.1.proj_in.weight": tensor(320, 320),
}
CASES = {
    "blocks": {f"model.diffusion_model.input_blocks.{n}.0.weight": tensor(1) for n in range(2 * TENSORS)},
    "levels": {f"model.diffusion_model.{name}": size for name, size in LEVELS.items()},
    "body": {f"body.{n}.weight": tensor(1) for n in range(2 * TENSORS)},
    "long names": {f"output_blocks.{'output_blocks.' * 3000}{n}": tensor(1) for n in range(100)},
    "esrgan": {
        "model.0.weight": tensor(1),
        "model.1.sub.0.RDB1.conv1.0.weight": tensor(1),
        "model.x.weight": tensor(1),
        **{f"model.1.sub.{n}.weight": tensor(1) for n in range(2 * TENSORS)},
    },
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_a_header_with_a_name_for_everything_is_read_in_linear_time(case: str, session: Session) -> None:
    path = weights(session.settings.models[0] / "m.safetensors", CASES[case])
    begin = time.process_time()

    with contextlib.suppress(FileError):
        session.engine.recognise(path)

    assert time.process_time() - begin < SECONDS


def test_whatever_a_model_kind_raises_is_an_error_of_the_file(session: Session) -> None:
    path = weights(session.settings.models[0] / "m.safetensors", CASES["esrgan"])

    with pytest.raises(FileError) as caught:
        session.engine.recognise(path)

    assert caught.value.problem.message == "'m.safetensors' cannot be read as upscaler"
    assert caught.value.problem.got == "ValueError: invalid literal for int() with base 10: 'x'"


NUMBERED = re.compile(r"a\.(0|[1-9][0-9]*)\.")


@given(st.lists(st.integers(0, 12), max_size=12), st.lists(st.text("0123456789.a", max_size=4), max_size=5))
def test_layers_are_counted_by_their_highest_number(numbers: list[int], others: list[str]) -> None:
    names = [*(f"a.{n}.b" for n in numbers), *(f"a.{other}" for other in others)]
    there = {int(m[1]) for name in names if (m := NUMBERED.match(name))}

    found = counted(names, "a.{}.")

    assert found == min(max(there, default=-1) + 1, 2 * len(there))
    if there == set(range(len(there))):
        assert found == len(there)
