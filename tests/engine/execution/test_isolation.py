"""A write into a value that others hold reaches nobody, and the node that wrote is named."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import toys
from toys import flow, use

from latentloom.api import Session
from latentloom.engine import Array, Cond, Conditioning, Context, Image, Latent, Lazy, Mask, Model, node
from latentloom.engine.errors import MutationError, NodeError
from latentloom.engine.files.model_files import FileIdentity
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES, Patch


def _from_numpy(array: Any) -> None:
    torch.from_numpy(array.numpy()).mul_(0)


def _tensor_numpy(array: Any) -> None:
    numbers = array.tensor().numpy()
    numbers *= 0


def _slice(array: Any) -> None:
    array.tensor()[..., :1].movedim(-1, 0).clamp_(0, 0.1)


def _detach(array: Any) -> None:
    array.tensor().detach().zero_()


def _data(array: Any) -> None:
    array.tensor().data.zero_()


def _writeable(array: Any) -> None:
    view = array.numpy()
    while view.base is not None:
        view = view.base
    view[...] = 0


def _buffer(array: Any) -> None:
    torch.frombuffer(memoryview(array.tensor().numpy()), dtype=torch.float32).zero_()


def _out(array: Any) -> None:
    torch.add(array.tensor(), 1, out=array.tensor())


WRITES: dict[str, Callable[[Any], None]] = {
    write.__name__.strip("_"): write
    for write in (_from_numpy, _tensor_numpy, _slice, _detach, _data, _writeable, _buffer, _out)
}


class Sound:
    """A value of a plugin with a codec of its own."""

    kind: ClassVar[str] = "SOUND"

    def __init__(self, wave: Any, rate: dict[str, int]) -> None:
        self.wave, self.rate = wave, rate

    def numpy(self) -> Any:
        view = self.wave.view()
        view.flags.writeable = False
        return view

    def tensor(self) -> torch.Tensor:
        return torch.from_numpy(self.wave)


class SoundCodec:
    """Takes a sound apart."""

    def split(self, value: Sound) -> tuple[Any, list[Any]]:
        return value.rate, [value.wave]

    def join(self, meta: Any, arrays: Sequence[Any]) -> Sound:
        return Sound(arrays[0], meta)

    def essence(self, value: Sound) -> Any:
        return value.rate


def wave(level: float = 0.5) -> Any:
    return np.full((1, 4, 4, 3), level, np.float32)


@node("Picture")
def picture(level: float = 0.5) -> Image:
    """A grey picture."""
    return Image(wave(level))


@node("MakeMask")
def make_mask() -> Mask:
    """A mask."""
    return Mask(wave()[..., 0])


@node("MakeLatent")
def make_latent() -> Latent:
    """A latent with a mask."""
    return Latent(wave(), Mask(wave()[..., 0]))


@node("MakeConditioning")
def make_conditioning() -> Conditioning:
    """A conditioning with a pooled embedding and a number."""
    return Conditioning([Cond(Array(wave()[0]), {"strength": 0.5, "size": [1, 2]}, {"pooled": Array(wave()[0, 0])})])


@node("MakeModel")
def make_model() -> Model:
    """A model with a patch that holds numbers."""
    return Model("toy", [FileIdentity("f", "0" * 64)], {"scale": [1]}, [Patch("p", {"by": 1}, (), (Array(wave()),))])


@node("MakeSound")
def make_sound() -> Sound:
    """A sound."""
    return Sound(wave(), {"hertz": 8})


def arrays(value: Any) -> list[Any]:
    """Every array inside a value."""
    return list(value.split()[1]) if hasattr(value, "split") else [value]


def number(value: Any) -> float:
    """The sum of all that is inside."""
    found = sum(float(array.numpy().sum()) for array in arrays(value))
    meta = {"rate": value.rate} if isinstance(value, Sound) else value.split()[0]
    return found + len(str(meta))


@node("Write")
def write(value: Any, way: str, at: int = 0) -> float:
    """Write into one of a value's arrays."""
    WRITES[way](arrays(value)[at])
    return 0.0


@node("WriteSecond")
def write_second(images: list[Image], way: str) -> Image:
    """Write into the last picture of a list and give it back."""
    WRITES[way](images[-1])
    return images[-1]


@node("WriteMeta")
def write_meta(value: Any) -> float:
    """Write into what a value holds beside its arrays."""
    if isinstance(value, Conditioning):
        value.entries[0].extra["strength"] = 1.0  # type: ignore[index]
    elif isinstance(value, Model):
        value.patches[0].parameters["by"] = 2  # type: ignore[index]
    elif isinstance(value, Latent):
        value.noise_mask = None
    else:
        value.rate["hertz"] = 9
    return 0.0


@node("Number")
def number_of(value: Any) -> float:
    """What a value adds up to."""
    return number(value)


KEPT: list[Any] = []


@node("Keep")
def keep(image: Image) -> Image:
    """Remember what came in and what goes out."""
    made = torch.full((1, 4, 4, 3), 0.25)
    KEPT[:] = [image.tensor(), made]
    return Image(made)


@node("WriteLater")
def write_later(after: Any) -> int:
    """Write into what another node remembered."""
    for tensor in KEPT:
        tensor.zero_()
    return 1


GO, WRITTEN = threading.Event(), threading.Event()


@node("WriteBeside")
def write_beside(image: Image) -> Image:
    """Leave a thread behind that writes once it is told to."""
    seen, made = image.tensor(), np.full((1, 4, 4, 3), 0.25, np.float32)

    def later() -> None:
        GO.wait(30)
        seen.zero_()
        made.fill(0)
        WRITTEN.set()

    threading.Thread(target=later, daemon=True).start()
    return Image(made)


@node("Release")
def release(after: Any) -> int:
    """Let that thread write, and wait until it has."""
    GO.set()
    assert WRITTEN.wait(30)
    return 1


def _needs(image: Image) -> list[str]:
    image.tensor().data.zero_()
    return ["yes"]


@node("AskAndWrite", needs=_needs)
def ask_and_write(image: Image, yes: Lazy[Image], no: Lazy[Image]) -> Image:
    """Write into an input where the lazy ones are chosen."""
    assert yes is not None
    return yes


@node("WriteAndRaise")
def write_and_raise(image: Image) -> int:
    """Write, and then fail."""
    image.tensor().data.zero_()
    raise ValueError("no such luck")


@node("WriteAsync")
async def write_async(image: Image) -> Image:
    """Write without holding others up."""
    image.tensor().data.zero_()
    return image


@node("PassOn")
def pass_on(image: Image) -> Image:
    """The same picture."""
    image.tensor()
    return image


@node("WriteFacts")
def write_facts(ctx: Context) -> str:
    """Write into what an extension says of itself."""
    facts = ctx.facts("sampler", "slow")
    found = str(facts["list"])
    facts["list"].append(1)
    return found


NODES = tuple(thing for thing in list(globals().values()) if hasattr(thing, "__loom_node__"))
MAKERS = ("Picture", "MakeMask", "MakeLatent", "MakeConditioning", "MakeModel", "MakeSound")


def open_session(home: Path, **flags: Any) -> Session:
    made = Registration(Distribution("writers", "1.0", "toys", "code"))
    made.node(*NODES)
    made.sampler("slow", toys.make_up, list=[])
    for cls in VALUE_TYPES:
        made.type(cls)
    made.type(Sound, SoundCodec)
    return Session(load_settings(flags, {"LATENTLOOM_HOME": str(home)}), Registry([made]))


def out(name: str) -> str:
    """The output that a maker has."""
    return {"Picture": "image"}.get(name, name.removeprefix("Make").lower())


def culprit(session: Session, document: dict[str, Any]) -> str:
    with pytest.raises(MutationError) as caught:
        session.run(document)
    problem = caught.value.problem
    return f"{problem.node} {problem.input}: {problem.message}"


FUNCTIONS = {"Picture": picture, "MakeMask": make_mask, "MakeLatent": make_latent}
FUNCTIONS |= {"MakeConditioning": make_conditioning, "MakeModel": make_model, "MakeSound": make_sound}


def clean(home: Path, maker: str, session: Session | None = None) -> None:
    """What was made before, in this process and in the next, is what it was."""
    expected = {"o0": number(FUNCTIONS[maker]())}
    document = flow("n", v=use(maker), n=use("Number", value=f"@v.{out(maker)}"))
    if session is not None:
        assert session.run(document).outputs == expected
    with open_session(home) as fresh:
        assert fresh.run(document).outputs == expected
        assert number(fresh.run(flow(f"v.{out(maker)}", v=use(maker)))["o0"]) == expected["o0"]


@pytest.mark.parametrize("way", WRITES)
@pytest.mark.parametrize(("maker", "at"), [(m, n) for m in MAKERS for n in range(2 if m in MAKERS[2:4] else 1)])
def test_a_write_into_an_array_is_noticed_and_reaches_nobody(tmp_path: Path, maker: str, at: int, way: str) -> None:
    value = f"@v.{out(maker)}"
    writer, reader = use("Write", value=value, way=way, at=at), use("Number", value=value)
    with open_session(tmp_path) as session:
        found = culprit(session, flow("w n", v=use(maker), w=writer, n=reader))
        assert found == "w value: toys/Write changed its input in place"
        clean(tmp_path, maker, session)


@pytest.mark.parametrize("maker", MAKERS[2:])
def test_a_write_beside_the_arrays_is_noticed_and_reaches_nobody(tmp_path: Path, maker: str) -> None:
    with open_session(tmp_path) as session:
        found = culprit(session, flow("w", v=use(maker), w=use("WriteMeta", value=f"@v.{out(maker)}")))
        assert found == "w value: toys/WriteMeta changed its input in place"
        clean(tmp_path, maker, session)


@pytest.mark.parametrize("way", WRITES)
def test_a_write_into_a_value_of_a_list_is_noticed(tmp_path: Path, way: str) -> None:
    nodes = {"v": use("Picture"), "u": use("Picture", level=0.25)}
    nodes["w"] = use("WriteSecond", images=["@u.image", "@v.image"], way=way)
    with open_session(tmp_path) as session:
        assert culprit(session, flow("w.image", **nodes)) == "w images: toys/WriteSecond changed its input in place"
        clean(tmp_path, "Picture", session)


def test_an_async_node_is_watched_too(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        document = flow("w.image", v=use("Picture"), w=use("WriteAsync", image="@v.image"))
        assert culprit(session, document) == "w image: toys/WriteAsync changed its input in place"
        clean(tmp_path, "Picture", session)


def test_a_node_that_writes_and_fails_leaves_the_value_as_it_was(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        with pytest.raises(NodeError, match="no such luck"):
            session.run(flow("w", v=use("Picture"), w=use("WriteAndRaise", image="@v.image")))
        clean(tmp_path, "Picture", session)


def test_a_write_where_lazy_inputs_are_chosen_reaches_nobody(tmp_path: Path) -> None:
    nodes = {"v": use("Picture"), "a": use("AskAndWrite", image="@v.image", yes="@v.image", no="@v.image")}
    with open_session(tmp_path) as session:
        assert number(session.run(flow("a.image", **nodes))["o0"]) == number(picture())
        clean(tmp_path, "Picture", session)


def test_what_a_node_keeps_and_writes_into_later_is_its_own(tmp_path: Path) -> None:
    nodes = {"v": use("Picture"), "k": use("Keep", image="@v.image"), "l": use("WriteLater", after="@k.image")}
    nodes |= {"n": use("Number", value="@v.image"), "m": use("Number", value="@k.image")}
    document = flow("l m n", **nodes)
    expected = {"o0": 1, "o1": number(Image(wave(0.25))), "o2": number(picture())}
    with open_session(tmp_path) as session:
        assert session.run(flow("l", **nodes)).outputs == {"o0": 1}
        assert session.run(document).outputs == expected
    with open_session(tmp_path) as session:
        assert session.run(document).outputs == expected
        assert session.run(document, cache=False).outputs == expected


def test_a_thread_that_writes_after_its_node_returned_reaches_nobody(tmp_path: Path) -> None:
    GO.clear(), WRITTEN.clear()
    nodes = {"v": use("Picture"), "b": use("WriteBeside", image="@v.image"), "r": use("Release", after="@b.image")}
    nodes |= {"n": use("Number", value="@v.image"), "m": use("Number", value="@b.image")}
    with open_session(tmp_path) as session:
        assert session.run(flow("r", **nodes)).outputs == {"o0": 1}
        expected = {"o0": number(Image(wave(0.25))), "o1": number(picture())}
        assert session.run(flow("m n", **nodes)).outputs == expected
    with open_session(tmp_path) as session:
        assert session.run(flow("m n", **nodes)).outputs == expected


@pytest.mark.parametrize("way", WRITES)
def test_who_runs_a_workflow_may_write_into_what_comes_out(tmp_path: Path, way: str) -> None:
    with open_session(tmp_path) as session:
        WRITES[way](session.run(flow("v.image", v=use("Picture")))["o0"])
        clean(tmp_path, "Picture", session)


def test_a_value_that_is_passed_on_is_not_copied(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        found = session.run(flow("v.image p.image", v=use("Picture"), p=use("PassOn", image="@v.image")))
        one, two = found["o0"], found["o1"]
        assert one._pixels._source is two._pixels._source


def test_what_an_extension_says_of_itself_stays_what_it_said(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        for _ in range(2):
            assert session.run(flow("f", f=use("WriteFacts")), cache=False).outputs == {"o0": "[]"}
