"""The program of a pack's process: loads one pack and answers messages on its standard input.

Messages: `scan` -> the descriptions of all classes; `run` -> the outputs of a class; `fingerprint` -> what IS_CHANGED
says; `lazy` -> the lazy inputs that a class wants. While a class runs, `progress` messages go first. What the pack
prints goes to stderr.
"""

import asyncio
import contextlib
import importlib.util
import inspect
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from latentloom.plugins.comfyui.bridge import missing, standins
from latentloom.plugins.comfyui.bridge.describing import described
from latentloom.plugins.comfyui.bridge.schemas import Autogrow, Blocker, ComfyNode, DynamicCombo, Hiding, NodeOutput
from latentloom.plugins.comfyui.bridge.values import Returned, given
from latentloom.plugins.isolation.child_io import Line, opened
from latentloom.plugins.isolation.frames import Message

PACK = "loom_pack"


class Child:
    """One pack: its classes by name."""

    def __init__(self, line: Line, folder: Path, models: list[str], input: str) -> None:
        self._line = line
        self._folder = folder
        self._files = standins.Files(models, input)
        self._classes: dict[str, Any] = {}
        self._titles: dict[str, str] = {}

    def load(self) -> None:
        """Import the pack. Raises whatever its code raises."""
        missing.install()
        standins.install(self._files, self._progress)
        main = self._folder / "__init__.py" if self._folder.is_dir() else self._folder
        places = [str(self._folder)] if self._folder.is_dir() else None
        spec = importlib.util.spec_from_file_location(PACK, main, submodule_search_locations=places)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = module
        spec.loader.exec_module(module)
        self._classes = dict(getattr(module, "NODE_CLASS_MAPPINGS", None) or {})
        self._titles = dict(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {})
        entry = getattr(module, "comfy_entrypoint", None)
        if entry is not None:
            asyncio.run(self._extension(entry))

    async def _extension(self, entry: Any) -> None:
        extension = entry()
        extension = await extension if inspect.isawaitable(extension) else extension
        await extension.on_load()
        for cls in await extension.get_node_list():
            name, title = cls.__name__, ""
            with contextlib.suppress(Exception):  # the description of the class tells why
                schema = cls.define_schema()
                name, title = schema.node_id, schema.display_name or ""
            self._classes[name], self._titles[name] = cls, title

    def _progress(self, step: int, total: int) -> None:
        self._line.send({"is": "progress", "step": step, "total": total})

    # Messages

    def answer(self, message: Message) -> tuple[dict[str, Any], list[Any]]:
        """Answer a message. Raises whatever the pack's code raises."""
        body = message.body
        if body["is"] == "scan":
            titles = {name: str(self._titles.get(name, "")) for name in self._classes}
            return {"classes": [described(str(n), cls, titles[n]) for n, cls in self._classes.items()]}, []
        cls = self._classes[body["class"]]
        values = {name: given(value, message.arrays) for name, value in body["inputs"].items()}
        if body["is"] == "fingerprint":
            return {"value": self._fingerprint(cls, values)}, []
        if body["is"] == "lazy":
            return {"names": _wanted(cls, body, {**values, **dict.fromkeys(body["lazy"])})}, []
        return self._run(cls, body, values)

    def _fingerprint(self, cls: Any, values: dict[str, Any]) -> str | None:
        ask = getattr(cls, "IS_CHANGED", None) or cls.fingerprint_inputs
        found = _settled(ask(**_accepted(ask, values)))
        return None if found != found else repr(found)  # NaN: always changed

    def _run(self, cls: Any, body: dict[str, Any], values: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        with self._folders() as saved:
            _validate(cls, values, body["types"])
            _refuse_more(cls, body, values)
            hidden = {name: body["hidden"].get(kind) for name, kind in body["wants"].items()}
            if issubclass(cls, ComfyNode):
                cls.hidden = Hiding(**hidden)
                result = _settled(cls.execute(**grouped(cls.define_schema().inputs, values)))
            else:
                act = getattr(cls(), body["function"])  # a new object: a result depends on the inputs alone
                result = _settled(act(**values, **hidden))
            return _answered(result, body, saved)

    @contextlib.contextmanager
    def _folders(self) -> Any:
        root = Path(tempfile.mkdtemp(prefix="loom-pack-"))
        try:
            for name in ("output", "temp"):
                (root / name).mkdir()
                setattr(self._files, name, str(root / name))
            yield root / "output"
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _settled(result: Any) -> Any:
    async def wait() -> Any:
        return await result

    return asyncio.run(wait()) if inspect.isawaitable(result) else result


def _accepted(function: Any, values: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return values
    return {name: value for name, value in values.items() if name in parameters}


def _validate(cls: Any, values: dict[str, Any], types: dict[str, str]) -> None:
    """Ask VALIDATE_INPUTS. Raises ValueError with its words if they are not True. `types` are those of the inputs."""
    ask = getattr(cls, "VALIDATE_INPUTS", None) or getattr(cls, "validate_inputs", None)
    if ask is None:
        return
    plain = {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}
    known: dict[str, Any] = {name: plain.get(name) for name in _accepted(ask, values)}
    if "input_types" in inspect.signature(ask).parameters:
        known["input_types"] = types
    found = _settled(ask(**known))
    if found is not True:
        raise ValueError(f"its inputs are not valid: {found if isinstance(found, str) else 'no reason was given'}")


def _wanted(cls: Any, body: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Return the lazy inputs that a class wants; those that are not computed are None."""
    ask = cls.check_lazy_status if issubclass(cls, ComfyNode) else cls().check_lazy_status
    found = _settled(ask(**_accepted(ask, values))) or ()
    return [name for name in found if name in body["lazy"]]


def _refuse_more(cls: Any, body: dict[str, Any], values: dict[str, Any]) -> None:
    """Raise ValueError if a class wants more lazy inputs now than at first: they are computed in one step only."""
    if not body["lazy"]:
        return
    first = _wanted(cls, body, {**values, **dict.fromkeys(body["lazy"])})
    more = [name for name in _wanted(cls, body, values) if values.get(name) is None and name not in first]
    if more:
        raise ValueError(f"it asks for {', '.join(more)} in a second step, which is not supported")


def grouped(inputs: list[Any], values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return what a V3 class takes: dicts in place of the inputs that others add.

    Raises ValueError if one is missing.
    """
    found = {}
    for port in inputs:
        name = f"{before}{port.id}"
        if isinstance(port, Autogrow):
            given = {sub: values.get(f"{name}.{sub}") for sub in port.template.names}
            found[port.id] = {sub: value for sub, value in given.items() if value is not None}
        elif name not in values:
            if before and not port.optional:
                raise ValueError(f"'{name}' has no value, which the choice '{before[:-1]}' needs")
        elif isinstance(port, DynamicCombo):
            more = port.added.get(str(values[name]), [])
            found[port.id] = {port.id: values[name], **grouped(more, values, f"{name}.")}
        else:
            found[port.id] = values[name]
    return found


def _answered(result: Any, body: dict[str, Any], saved: Path) -> tuple[dict[str, Any], list[Any]]:
    ui: Any = None
    if isinstance(result, NodeOutput):
        stop, given = result.block_execution, result.args
        result, ui, expand = given if stop is None else Blocker(str(stop)), result.ui, result.expand
    elif isinstance(result, dict):
        result, ui, expand = result.get("result", ()), result.get("ui"), result.get("expand")
    else:
        expand = None
    if expand is not None:
        raise TypeError("it expands to further nodes, which is not supported")
    kinds = body["returns"]
    result = (result,) * len(kinds) if isinstance(result, Blocker) else result
    values = tuple(result) if isinstance(result, (tuple, list)) else () if result is None else (result,)
    if len(values) < len(kinds):
        raise TypeError(f"it gave {len(values)} values for {len(kinds)} outputs")
    made = Returned()
    outputs = [
        [made.value(kind, item) for item in value]
        if many and not isinstance(value, Blocker)
        else made.value(kind, value)
        for kind, many, value in zip(kinds, body["lists"], values, strict=False)
    ]
    ui = ui.as_dict() if hasattr(ui, "as_dict") else ui
    texts: Any = ui.get("text", ui.get("string", ())) if isinstance(ui, dict) else ()
    texts = [texts] if isinstance(texts, str) else texts or ()
    return {
        "outputs": outputs,
        "texts": [str(text) for text in texts],
        "files": _saved(saved, body["keep"], _shown(ui)),
    }, made.arrays


def _shown(ui: Any) -> list[Path]:
    """Return the temporary files that a class shows, relative to the folder of its kind."""
    lists = [one for one in ui.values() if isinstance(one, (list, tuple))] if isinstance(ui, dict) else []
    files = [file for one in lists for file in one if isinstance(file, dict) and file.get("type") == "temp"]
    return [Path(str(file.get("subfolder") or ""), str(file.get("filename"))) for file in files]


def _saved(folder: Path, keep: str, shown: list[Path]) -> list[str]:
    """Move what the class saved, and what it shows, to a folder of the caller; return the names."""
    if not keep:
        return []
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    temp = folder.parent / "temp"
    pairs = [(folder / name, name) for name in found]
    pairs += [(temp / name, "previews" / name) for name in dict.fromkeys(shown) if _is_inside(temp / name, temp)]
    for source, name in pairs:
        target = Path(keep, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    return [name.as_posix() for _, name in pairs]


def _is_inside(file: Path, folder: Path) -> bool:
    return file.is_file() and not file.is_symlink() and file.resolve().is_relative_to(folder.resolve())


def _failed(error: BaseException) -> dict[str, Any]:
    frames_of = [frame for frame in traceback.extract_tb(error.__traceback__) if PACK in frame.name or frame.filename]
    where = f"{Path(frames_of[-1].filename).name}, line {frames_of[-1].lineno}" if frames_of else ""
    name = f"needs {error}" if isinstance(error, missing.MissingName) else f"{type(error).__name__}: {error}"
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    return {"is": "error", "message": name, "where": where, "module": module}


def main() -> None:
    """Load the pack named by the arguments and answer until the input ends."""
    folder, input, *models = sys.argv[1:]
    line = opened()
    child = Child(line, Path(folder), models, input)
    loaded: dict[str, Any] | None = None
    try:
        child.load()
    except (Exception, SystemExit) as error:
        loaded = _failed(error)
    while True:
        message = line.receive()
        try:
            body, arrays = (loaded, []) if loaded is not None else child.answer(message)
            line.send({"is": "answer", **body}, arrays)
        except (Exception, SystemExit) as error:
            line.send(_failed(error))


if __name__ == "__main__":
    main()
