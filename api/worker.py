"""The worker process: one per device runs jobs; those without a device answer queries that need plugin code."""

import contextlib
import faulthandler
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from latentloom.api.session import Session
from latentloom.api.worker_queries import LANE_NAMES, LANES, WorkerQueries
from latentloom.api.worker_socket import WorkerSocket, problem_of
from latentloom.engine.document.reading import read
from latentloom.engine.document.workflow import EXACT_INTEGER
from latentloom.engine.engine import Job
from latentloom.engine.errors import Cancelled, LoomError
from latentloom.engine.events import Event, FileSaved, NodePreview, NodeProgress, RunFinished, RunStarted
from latentloom.engine.execution.outcome import Outcome
from latentloom.engine.execution.record import Making
from latentloom.engine.files.lock import device_turn
from latentloom.engine.jobs.effects import Effect
from latentloom.engine.jobs.frames import Frame
from latentloom.engine.jobs.saving import JournalledSaver
from latentloom.engine.models.host_memory import resident_bytes
from latentloom.engine.models.warm_up import warm_up
from latentloom.engine.settings import Settings
from latentloom.engine.types.node_log import send_on
from latentloom.engine.types.spec import FILE_KINDS
from latentloom.engine.types.values import Image

T = TypeVar("T")
HEARTBEAT_SECONDS = 5.0
IDLE_SECONDS = 1.0  # idle time before a worker warms up
PROGRESS_SECONDS = 0.05
FAREWELL_SECONDS = 10.0  # time for the running node to stop after the server is gone
PREVIEW_PIXELS = 512
MAX_WARNINGS = 1000
MAX_RESULT = 2**20  # total characters of JSON of a job's outputs
SEARCHED = ("samplers", "schedules")  # sources of choices that saved files are found by
MAX_TEXTS = 16_384  # characters of the searchable prompts of a saved file
OOM_SCORE = 500  # in -1000..1000; the server keeps its own


def main(argv: list[str]) -> None:
    """Serve the socket with the file descriptor `argv[0]` until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server decides
    with contextlib.suppress(OSError):  # Linux: if memory runs out, the system kills a worker first
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    faulthandler.enable()  # prints the stack of a crash in native code; the server logs it
    link = WorkerSocket(socket.socket(fileno=int(argv[0])))
    worker = Worker(link)
    begin("link", lambda: link.listen(worker.hear))
    begin("heartbeat", worker.watch)
    worker.work()
    sys.stdout.flush()
    os._exit(0)  # threads of plugins must not keep the process alive


def begin(name: str, work: Callable[[], None]) -> threading.Thread:
    """Start a thread that the worker depends on: if it fails, the process exits, and the server replaces it."""

    def guarded() -> None:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    thread = threading.Thread(target=guarded, name=f"latentloom-{name}", daemon=True)
    thread.start()
    return thread


class Worker:
    """Runs jobs one after another."""

    def __init__(self, link: WorkerSocket) -> None:
        self._link = link
        self._jobs: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._asks = {name: queue.SimpleQueue[Mapping[str, Any]]() for name in LANE_NAMES}
        self._token = 0
        self._cancelled = threading.Event()
        self._figures: Callable[[], dict[str, int]] = dict
        self._resident: Callable[[], dict[str, float]] = dict
        self._started: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()

    # Runs in the socket's thread

    def hear(self, frame: Frame) -> None:
        """Process a frame from the server."""
        message = frame.message
        if frame.kind == "start":
            self._started.put(message)
        elif frame.kind == "job":  # a cancel may arrive before the main thread takes the job
            self._token = message["token"]
            self._cancelled.clear()
            self._jobs.put(message)
        elif frame.kind == "ask":
            self._asks[LANES.get(message["what"], "quick")].put(message)
        elif frame.kind == "cancel" and message["token"] == self._token:
            self._cancelled.set()
        elif frame.kind == "stop":
            self._cancelled.set()
            self._jobs.put(None)

    def watch(self) -> None:
        """Send heartbeats. When the server is gone, cancel the job, and exit if it does not stop in time."""
        while not self._link.closed.wait(HEARTBEAT_SECONDS):
            self._link.send("heartbeat", memory=resident_bytes(), figures=self._figures(), models=self._resident())
        self._cancelled.set()
        self._jobs.put(None)
        time.sleep(FAREWELL_SECONDS)
        os._exit(1)

    # Runs in the main thread

    def work(self) -> None:
        """Open a session and run jobs until the server sends "stop" or is gone."""
        start = self._started.get()
        settings = Settings.model_validate(start["settings"])
        send_on(settings.log_level.upper(), lambda record: self._link.send("log", **record))
        with Session(settings, has_device=True, inspect="shipped") as session, contextlib.suppress(Cancelled):
            self._figures, self._resident = session.engine.figures, session.engine.models.resident
            models, texts = _warming(session, has_device=start["device"])
            answers = WorkerQueries(session, self._tell)
            for name, asks in self._asks.items():
                warming = texts if name == "plugins" else iter(())
                begin(f"{name} answers", partial(self._answer, answers, asks, warming))
            failed = [asdict(record) for record in session.plugins if record.status == "failed" and record.ships]
            self._link.send("hello", pid=os.getpid(), environment=_environment(session), failed=failed)
            with self._turn(settings):
                self._link.send("claim", models={})
                while (job := _next(self._jobs, models)) is not None:
                    self._run(session, job)

    def _turn(self, settings: Settings) -> contextlib.AbstractContextManager[None]:
        """Hold the accelerator exclusively. The CPU is shared without turns."""
        if settings.device == "cpu":
            return contextlib.nullcontext()
        wait = lambda: self._tell({"event": "device_waiting", "device": settings.device})  # noqa: E731
        return device_turn(settings.data, settings.device, wait, self._cancelled)

    def _tell(self, event: dict[str, Any]) -> None:
        """Send the server an event that belongs to no job."""
        self._link.send("event", token=0, event=event)

    def _answer(
        self, answers: WorkerQueries, asks: "queue.SimpleQueue[Mapping[str, Any]]", warming: Iterator[str]
    ) -> None:
        while True:
            ask = _next(asks, warming)
            try:  # an answer that is not JSON is reported as a problem, too
                self._link.send("answer", to=ask["number"], value=answers(ask["what"], ask["arguments"]))
            except BaseException as error:  # plugin code may raise SystemExit
                self._link.send("answer", to=ask["number"], problem=problem_of(error), problems=_problems(error))

    def _run(self, session: Session, message: Mapping[str, Any]) -> None:
        try:
            job = session.prepare(read(message["document"]), outputs=message["outputs"])
            attempt = Attempt(self._link, session, job, message)
            outcome = attempt.run(self._cancelled)
            self._finished(outcome.status, attempt.result(outcome), outcome.error)
        except (Exception, SystemExit) as error:  # any error fails only this job
            self._finished("failed", {}, error)
        self._link.send("claim", models=self._resident())

    def _finished(self, state: str, result: dict[str, Any], error: BaseException | None) -> None:
        self._link.send("finished", token=self._token, state=state, result=result, problems=_problems(error))


class Attempt:
    """One attempt at a job."""

    def __init__(self, link: WorkerSocket, session: Session, job: Job, message: Mapping[str, Any]) -> None:
        self._link = link
        self._session = session
        self._job = job
        self._id, self._token, self._previews = message["id"], message["token"], message["previews"]
        self._making = Making(job.checked, session.engine.environment)
        self._saver = JournalledSaver(
            session.settings.output, _Ledger(link, self._token), self._about, session.engine.counters
        )
        self._hear = _Throttle(self._send)

    def run(self, cancelled: threading.Event) -> Outcome:
        """Run the job to its end."""
        outcome = self._session.run_job(
            self._job,
            listen=self._hear,
            cancelled=cancelled,
            previews=self._previews,
            resume=self._id,
            saver=self._saver,
        )
        if outcome.error is None:
            self._save_outputs(outcome)
        return outcome

    def result(self, outcome: Outcome) -> dict[str, Any]:
        """Return the outcome as JSON."""
        outputs, left_out = _fitting({name: value for name, value in outcome.outputs.items() if _plain(value)})
        nodes = {
            id: {"type": node.type, "status": node.status, "seconds": round(node.seconds, 4)}
            for id, node in outcome.nodes.items()
        }
        found = {"outputs": outputs, "nodes": nodes, "seconds": round(outcome.seconds, 4)}
        return {**found, "left_out": left_out} if left_out else found

    def _save_outputs(self, outcome: Outcome) -> None:
        """Save pictures in named outputs that do not come from a sink, so that clients can see them."""
        from latentloom.engine.files.encoding import PictureToSave, encode
        from latentloom.engine.files.labels import packet

        for name, edge in self._job.checked.outputs.items():
            value = outcome.outputs.get(name)
            if isinstance(value, Image) and self._job.checked.steps[edge.node].spec.purity != "sink":
                xmp = packet(outcome.origins.get(name))
                for pixels in value.numpy():
                    fields = {
                        "node": edge.node,
                        "output": name,
                        "name": self._job.workflow.name or "picture",
                        "seed": 0,
                    }
                    content = encode(PictureToSave(self._session.engine.check_picture(pixels).pixels), {}, xmp)
                    self._saver.save(content, "{name}-{output}", ".png", fields)

    def _send(self, event: Event) -> None:
        if isinstance(event, NodePreview):
            data = _jpeg(event.image)
            self._link.send("preview", data, token=self._token, node=event.node, step=event.step)
        elif not isinstance(event, RunFinished):  # the final report contains it
            record = event.record()
            del record["number"]
            if isinstance(event, FileSaved):
                record["path"] = Path(event.path).relative_to(self._session.settings.output.resolve()).as_posix()
            if isinstance(event, RunStarted):
                record["run"] = self._id
            self._link.send("event", token=self._token, event=record)

    def _about(self, node: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the searchable facts of a node's file: texts, models, choices upstream, named outputs of the job."""
        steps = [step for step in self._making.upstream(node.partition("/")[0]) if step.spec.purity != "sink"]
        ports = [(port, step.literals.get(port.name)) for step in steps for port in step.spec.inputs]
        texts = [value for port, value in ports if port.kind == "STRING" and isinstance(value, str) and value]
        models = [value for port, value in ports if port.kind in FILE_KINDS and port.kind != "FILE" and value]
        choices = [value for port, value in ports if port.source in SEARCHED and isinstance(value, str)]
        return {
            "texts": "\n".join(dict.fromkeys(texts))[:MAX_TEXTS],
            "models": list(dict.fromkeys(models)),
            "choices": list(dict.fromkeys(choices)),
            "outputs": self._outputs(node, fields),
        }

    def _outputs(self, node: str, fields: Mapping[str, Any]) -> list[str]:
        """Return the named outputs that a file belongs to. A file of `_save_outputs` belongs to one."""
        step = self._job.checked.steps.get(node)
        saved_here = step is not None and step.spec.purity != "sink"
        return [fields["output"]] if saved_here else self._job.checked.names(node)


class _Ledger:
    """The server's effect journal, accessed over the socket."""

    def __init__(self, link: WorkerSocket, token: int) -> None:
        self._link = link
        self._token = token

    def find(self, node: str, item: int) -> Effect | None:
        found = self._link.call("find", token=self._token, arguments=[node, item])
        return None if found is None else Effect(*found)

    def intend(self, node: str, item: int, path: str, sha256: str) -> None:
        self._link.call("intend", token=self._token, arguments=[node, item, path, sha256])

    def begin(self, node: str) -> None:
        self._link.call("begin", token=self._token, arguments=[node])

    def done(self, node: str, item: int, about: Mapping[str, Any]) -> None:
        self._link.call("done", token=self._token, arguments=[node, item, dict(about)])


class _Throttle:
    """Limits events: progress of a node to 20 per second and its last step, and the number of warnings."""

    def __init__(self, send: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._next: dict[str, float] = {}
        self._warnings = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, NodeProgress) and event.step < event.total:
            now = self._clock()
            if now < self._next.get(event.node, 0.0):
                return
            self._next[event.node] = now + PROGRESS_SECONDS
        if event.name == "node_warning":
            self._warnings += 1
            if self._warnings > MAX_WARNINGS:
                return
        self._send(event)


def _warming(session: Session, *, has_device: bool) -> tuple[Iterator[str], Iterator[str]]:
    """Return the warm-up imports of the job thread and of the query thread. Queries go to workers without a device."""
    nothing: Iterator[str] = iter(())
    if not session.settings.warm_up:
        return nothing, nothing
    found = warm_up(session.engine.registry, models=has_device)
    return (found, nothing) if has_device else (nothing, found)


def _next(waiting: "queue.SimpleQueue[T]", warming: Iterator[str]) -> T:
    """Return the next item. While there is none, warm up, one import at a time."""
    with contextlib.suppress(queue.Empty):
        return waiting.get(timeout=IDLE_SECONDS)
    for _ in warming:
        with contextlib.suppress(queue.Empty):
            return waiting.get_nowait()
    return waiting.get()


def exact(value: Any) -> Any:
    """Return a literal that all JSON parsers read exactly: integers above 2^53-1 become text, as in documents."""
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if type(value) is int and abs(value) > EXACT_INTEGER:
        return str(value)
    return value


def _fitting(outputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the outputs that fit into a job's record, and the JSON size in characters of each other output."""
    found, left_out, room = {}, {}, MAX_RESULT
    for name, value in outputs.items():
        plain = exact(value)
        size = len(json.dumps(plain, ensure_ascii=False, allow_nan=False))
        if size <= room:
            found[name], room = plain, room - size
        else:
            left_out[name] = size
    return found, left_out


def _plain(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, bool | int | float | str | dict) for item in items)


def _problems(error: BaseException | None) -> list[dict[str, str]]:
    if error is None:
        return []
    return [problem.record() for problem in error.problems] if isinstance(error, LoomError) else [problem_of(error)]


def _environment(session: Session) -> dict[str, str]:
    with contextlib.suppress(LoomError):
        return session.engine.environment.record()
    return {}


def _jpeg(image: Any) -> bytes:
    import io

    from PIL import Image as Pil

    from latentloom.engine.files.pictures import to_bytes

    picture = Pil.fromarray(to_bytes(image.numpy()[0])).convert("RGB")
    picture.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
