"""The states of a job, and the allowed transitions."""

from typing import Literal

State = Literal["queued", "claimed", "running", "cancelling", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "claimed", "running", "cancelling", "done", "failed", "cancelled")
ACTIVE: tuple[State, ...] = ("claimed", "running", "cancelling")
OPEN: tuple[State, ...] = ("queued", *ACTIVE)
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")

NEXT: dict[State, tuple[State, ...]] = {
    "queued": ("claimed", "cancelled"),
    "claimed": ("running", "queued", "cancelling", "failed", "cancelled"),
    "running": ("queued", "cancelling", "done", "failed", "cancelled"),
    "cancelling": ("done", "failed", "cancelled"),
    "done": (),
    "failed": (),
    "cancelled": (),
}
