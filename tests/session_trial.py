"""Sessions under fire: streams are left in the middle, runs cancelled and interrupted, and memory runs short. Whatever
hangs ends the process with the stacks of its threads.

python tests/session_trial.py SECONDS SEED, in a home of its own; it prints {"moves": ..., "faults": [...]}
"""

import contextlib
import faulthandler
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any

from latentloom.api.session import Session, open_session
from latentloom.engine.errors import Cancelled, LoomError

HANG_SECONDS = 240
MOVES = ("leave", "leave", "cancel", "interrupt", "shortage", "shortage", "finish")
PICTURE: dict[str, Any] = {"steps": 4, "cache": False}


class SessionTrial:
    """Sessions of one process, one after another."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.moves: Counter[str] = Counter()
        self.faults: list[str] = []

    def run(self, seconds: float) -> None:
        """Open sessions for so long, each move at least once."""
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(self.moves) < len(set(MOVES)):
            self._life()
        faulthandler.cancel_dump_traceback_later()

    def _life(self) -> None:
        """A session with a few moves; it closes in the middle of some."""
        with open_session(device="cpu", dtype=self._dice.choice(("fp32", "bf16"))) as session:
            moves = self._dice.sample(MOVES, 4)
            for move in moves:
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
                getattr(self, f"_{move}")(session)
                self.moves[move] += 1

    def _leave(self, session: Session) -> None:
        count = self._dice.randrange(12)
        for number, _ in enumerate(session.stream("txt2img", seed=self._dice.randrange(100), **PICTURE)):
            if number == count:
                break

    def _cancel(self, session: Session) -> None:
        running, count = session.stream("txt2img", **PICTURE), self._dice.randrange(12)
        for number, _ in enumerate(running):
            if number == count:
                running.cancel()
        with contextlib.suppress(Cancelled):
            running.result()

    def _interrupt(self, session: Session) -> None:
        """Press Ctrl-C while events are read."""
        timer = threading.Timer(self._dice.uniform(0, 0.3), signal.raise_signal, [signal.SIGINT])
        with contextlib.suppress(KeyboardInterrupt):
            timer.start()
            for _ in session.stream("txt2img", **PICTURE):
                pass
            timer.join()
            time.sleep(1)  # a signal is handled in this thread

    def _shortage(self, session: Session) -> None:
        """A node runs out of memory more often than its run bears, or as often as it does bear."""
        times = self._dice.randint(1, 4)
        nodes = {
            "c": {"type": "LoadCheckpoint", "version": 1, "inputs": {"checkpoint": "shapes"}},
            "s": {
                "type": "wild/RunShort",
                "version": 1,
                "inputs": {"model": {"node": "c", "output": "model"}, "times": times},
            },
        }
        outputs = [{"name": "s", "from": {"node": "s", "output": "value"}}]
        try:
            session.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})
        except LoomError as error:
            if error.problems[0].code != "out_of_memory":
                self.faults.append(f"a shortage ended as {error.problems}")
        self._finish(session)

    def _finish(self, session: Session) -> None:
        try:
            result = session.run("txt2img", **PICTURE)
        except LoomError as error:
            self.faults.append(f"a picture ended as {error.problems}")
        else:
            if len(result.files) != 1:
                self.faults.append(f"a picture left {result.files}")


def main(seconds: float, seed: int) -> None:
    """Print what was found."""
    trial = SessionTrial(seed)
    trial.run(seconds)
    print(json.dumps({"moves": trial.moves, "faults": trial.faults}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
