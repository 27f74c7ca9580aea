"""Converts between jobs and ComfyUI's HTTP API: prompts, histories and messages. Pure functions."""

import json
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.bridge.imported import PREFIX, use_packs
from latentloom.plugins.comfyui.graph import read_graph
from latentloom.plugins.comfyui.importer import Importer
from latentloom.plugins.comfyui.object_info import SINKS, class_table
from latentloom.plugins.comfyui.report import Report

TAG = "comfyui"
PREVIEWS = "previews/ComfyUI_{counter}"
WEBSOCKET = "SaveImageWebsocket"
PREVIEW, JPEG, PNG = 1, 1, 2  # type of the binary message, formats of its picture
STATES = {
    "queued": "pending", "claimed": "in_progress", "running": "in_progress", "cancelling": "in_progress",
    "done": "completed", "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A graph as a client sent it, and the converted document."""

    graph: Mapping[str, Any]
    document: dict[str, Any]
    nodes: Mapping[str, str]  # ComfyUI's ids by ours
    unknown: Mapping[str, str]  # why a node has no counterpart, by ComfyUI's ids


def prompt_of(graph: Mapping[str, Any], targets: Sequence[str] | None, registry: Registry) -> Prompt:
    """Convert a graph to a document. With `targets`, all other nodes that save or show pictures are muted.

    Classes of installed packs become nodes.

    Raises WorkflowError for a graph with wrong types.
    """
    report = Report("ComfyUI, API format")
    importer = Importer(read_graph(graph, report), report)
    document = importer.document()
    use_packs(document, report.record(), registry)
    nodes = {ours: theirs for theirs, ours in importer.ids.items()}
    nodes |= {ours: theirs for (theirs, _), ours in importer.inner.items()}
    for ours, theirs in nodes.items():
        node = document["nodes"].get(ours)
        if node is None:
            continue
        if node["type"] == "PreviewImage":  # clients fetch previews as files
            node |= {"type": "SaveImage", "inputs": {**node["inputs"], "name": PREVIEWS}}
        if targets is not None and theirs not in targets and _saves(graph[theirs]["class_type"], registry):
            node["mode"] = "mute"
    return Prompt(graph, document, nodes, importer.placeholders)


def _saves(kind: str, registry: Registry) -> bool:
    """Whether a class is an output of a graph."""
    found = registry.nodes.get(f"{PREFIX}{kind}")
    return kind in SINKS or (found is not None and found.spec.purity == "sink")


def prompt_id(job: str) -> str:
    """Return the prompt id of a job: a UUID with dashes."""
    return str(uuid.UUID(hex=job))


def job_id(given: Any) -> str | None:
    """Return the job id of a prompt id; None if it is not a canonical UUID."""
    try:
        return uuid.UUID(given).hex if type(given) is str and str(uuid.UUID(given)) == given else None
    except ValueError:
        return None


def kept(prompt: Prompt, extra: Any) -> dict[str, Any]:
    """Return the data that is stored in a job's document for later answers."""
    return {"comfyui": {"prompt": dict(prompt.graph), "nodes": dict(prompt.nodes), "extra": extra}}


# Refusals


def refusal(type: str, message: str, details: str = "", nodes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the body of an answer that rejects a prompt."""
    error = {"type": type, "message": message, "details": details, "extra_info": {}}
    return {"error": error, "node_errors": dict(nodes or {})}


_TYPES = {
    "unknown_choice": ("value_not_in_list", "Value not in list"),
    "missing_file": ("value_not_in_list", "Value not in list"),
    "missing_input": ("required_input_missing", "Required input is missing"),
    "type_mismatch": ("return_type_mismatch", "Return type mismatch between linked nodes"),
    "unknown_output": ("return_type_mismatch", "Return type mismatch between linked nodes"),
    "wrong_type": ("invalid_input_type", "Failed to convert an input value"),
    "out_of_range": ("value_out_of_range", "Value out of range"),
}


def refused_problems(prompt: Prompt, problems: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the answer that rejects a prompt with an invalid document. Problems are grouped by node."""
    found: dict[str, Any] = {}
    rest: list[str] = []
    for problem in problems:
        if problem["code"] == "no_outputs":
            return refusal("prompt_no_outputs", "Prompt has no outputs")
        theirs = prompt.nodes.get(problem.get("node") or "")
        if theirs is None:
            rest.append(problem["message"])
            continue
        kind = prompt.graph[theirs]["class_type"]
        entry = found.setdefault(theirs, {"errors": [], "dependent_outputs": [theirs], "class_type": kind})
        entry["errors"].append(_node_error(problem, prompt.unknown.get(theirs)))
    if any(prompt.graph[id]["class_type"].strip() not in class_table() for id in found):
        kinds = sorted({prompt.graph[id]["class_type"] for id in found if id in prompt.unknown})
        return refusal("missing_node_type", f"Nodes that do not run here: {', '.join(kinds)}", "; ".join(rest), found)
    return refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", "; ".join(rest), found)


def _node_error(problem: Mapping[str, Any], unknown: str | None) -> dict[str, Any]:
    type, message = _TYPES.get(problem["code"], (problem["code"], problem["message"]))
    words = [
        unknown or problem["message"],
        *(f"{key}: {problem[key]}" for key in ("expected", "got") if key in problem),
    ]
    return {
        "type": type,
        "message": message,
        "details": ", ".join(words),
        "extra_info": {"input_name": problem.get("input")},
    }


# Jobs


@dataclass(frozen=True, slots=True)
class Told:
    """A job with the data for ComfyUI clients."""

    job: str
    number: int
    state: str
    prompt: Mapping[str, Any]
    nodes: Mapping[str, str]
    extra: Any
    client: str
    created: float
    started: float | None
    finished: float | None
    problems: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> str:
        """The prompt id."""
        return prompt_id(self.job)

    def theirs(self, node: str) -> str:
        """Return ComfyUI's id of one of our nodes. A node inside an expansion has the id of the expanded node."""
        return self.nodes.get(node.split("/")[0], node)

    def kind(self, node: str) -> str:
        """Return the class of a ComfyUI node."""
        found = self.prompt.get(node)
        return str(found.get("class_type", "")) if type(found) is dict else ""

    def queued(self) -> list[Any]:
        """Return the job as an entry of queue and history."""
        sinks = [id for id in self.prompt if self.kind(id) in SINKS]
        return [self.number, self.id, self.prompt, self.extra, sinks]


def told_of(document: str, job: str, **facts: Any) -> Told:
    """Create a Told from a job's document and further facts."""
    extra = json.loads(document).get("extra")
    known = extra.get("comfyui", {}) if type(extra) is dict else {}
    return Told(
        job, prompt=known.get("prompt", {}), nodes=known.get("nodes", {}), extra=known.get("extra", {}), **facts
    )


def picture(path: str) -> dict[str, str]:
    """Return a saved file in the format in which clients request it."""
    folder, _, name = path.rpartition("/")
    return {"filename": name, "subfolder": folder, "type": "output"}


def history(described: Told, files: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the history entry of an ended job. `files` are pairs of node and path."""
    outputs: dict[str, Any] = {}
    for node, path in files:
        if described.kind(described.theirs(node)) == WEBSOCKET:
            continue
        outputs.setdefault(described.theirs(node), {"images": []})["images"].append(picture(path))
    good = described.state == "done"
    messages = [["execution_start", {"prompt_id": described.id, "timestamp": _milliseconds(described.started)}]]
    messages += [[message["type"], message["data"]] for message in ended(described, described.problems)[:-1]]
    status = {"status_str": "success" if good else "error", "completed": good, "messages": messages}
    return {"prompt": described.queued(), "outputs": outputs, "status": status, "meta": {}}


def listed(described: Told, files: int) -> dict[str, Any]:
    """Return a job in the format of the job routes."""
    found = {
        "id": described.id,
        "status": STATES[described.state],
        "priority": described.number,
        "outputs_count": files,
    }
    times = {
        "create_time": described.created,
        "execution_start_time": described.started,
        "execution_end_time": described.finished,
    }
    return {**found, **{name: _milliseconds(time) for name, time in times.items() if time is not None}}


def _milliseconds(seconds: float | None) -> int:
    return round(1000 * (seconds or 0))


# Messages


def status(remaining: int, sid: str | None = None) -> Message:
    """Return the status message with the number of remaining jobs."""
    data: Message = {"status": {"exec_info": {"queue_remaining": remaining}}}
    return {"type": "status", "data": data | ({"sid": sid} if sid is not None else {})}


def messages(described: Told, record: Mapping[str, Any], saved: dict[str, list[str]]) -> list[Message]:
    """Return the messages for an event of a job. `saved` collects the files of each node until it has finished."""
    event, time = record["event"], _milliseconds(record.get("time"))
    node = described.theirs(str(record.get("node", "")))
    if event == "job_running":
        return [_message(described, "execution_start", timestamp=time)]
    if event == "node_cached":
        return [_message(described, "execution_cached", nodes=[node], timestamp=time)]
    if event == "node_started":
        return [_message(described, "executing", node=node, display_node=node)]
    if event == "node_progress":
        return [_message(described, "progress", value=record["step"], max=record["total"], node=node)]
    if event == "file_saved":
        saved.setdefault(node, []).append(record["path"])
    if event == "node_finished" and node in saved:
        output = {"images": [picture(path) for path in saved.pop(node)]}
        return [_message(described, "executed", node=node, display_node=node, output=output)]
    if event in ("job_done", "job_failed", "job_cancelled"):
        return ended(described, record.get("problems", ()), time)
    return []


def ended(described: Told, problems: Sequence[Mapping[str, Any]], time: int | None = None) -> list[Message]:
    """Return the messages for the end of a job. The last one, that no node is running, is always sent."""
    time = _milliseconds(described.finished) if time is None else time
    last = _message(described, "executing", node=None)
    problem = next(iter(problems), None)
    node = described.theirs(problem.get("node") or "") if problem else ""
    where = {"node_id": node, "node_type": described.kind(node), "executed": [], "timestamp": time}
    if described.state == "cancelled":
        return [_message(described, "execution_interrupted", **where), last]
    if problem is None:
        return [_message(described, "execution_success", timestamp=time), last]
    more = {"exception_message": problem["message"], "exception_type": problem["code"], "traceback": []}
    more |= {"current_inputs": {}, "current_outputs": []}
    return [_message(described, "execution_error", **where, **more), last]


def _message(described: Told, type: str, **data: Any) -> Message:
    return {"type": type, "data": {**data, "prompt_id": described.id}}


def is_sent(described: Told, record: Mapping[str, Any]) -> bool:
    """Whether the picture of a `file_saved` event goes to the client as a binary message, not as the name of a file."""
    return described.kind(described.theirs(str(record.get("node", "")))) == WEBSOCKET


def sent_picture(data: bytes) -> bytes:
    """Return the binary message with a picture, a PNG."""
    return struct.pack(">II", PREVIEW, PNG) + data


def preview(body: bytes) -> bytes:
    """Convert a preview message to ComfyUI's format. The input is a length in four bytes, a JSON head, a JPEG."""
    (length,) = struct.unpack(">I", body[:4])
    return struct.pack(">II", PREVIEW, JPEG) + body[4 + length :]
