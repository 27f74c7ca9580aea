"""Fair turns: whose job comes next. Pure functions; the queue and its listing use the same rule.

The rule is round robin among the owners of the jobs with the highest priority (J. Nagle, "On packet switches with
infinite storage", RFC 970, 1985): the owner whose last turn is the longest ago comes next. So between two turns of an
owner, every other owner with a waiting job of that priority gets one.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class Waiting(NamedTuple):
    """A waiting job."""

    owner: str
    priority: int
    id: str


def in_turn(waiting: Iterable[Waiting], turns: Mapping[str, int]) -> Iterator[Waiting]:
    """Yield jobs in the order in which they will come if no further ones are queued.

    `waiting` holds the jobs of each owner in that owner's own order.
    """
    own = defaultdict[str, list[Waiting]](list)
    for job in waiting:
        own[job.owner].append(job)
    return merged(own.values(), turns)


def merged(own: Iterable[Iterable[Waiting]], turns: Mapping[str, int]) -> Iterator[Waiting]:
    """Yield the jobs of several owners like `in_turn`. A job is taken from its iterable when it can come next."""
    rests, turns = [iter(jobs) for jobs in own], dict(turns)
    heads = [(_place(job, turns), n, job) for n, jobs in enumerate(rests) if (job := next(jobs, None)) is not None]
    heapq.heapify(heads)
    turn = max(turns.values(), default=0)
    while heads:
        _, n, job = heapq.heappop(heads)
        yield job
        turns[job.owner] = turn = turn + 1
        if (following := next(rests[n], None)) is not None:
            heapq.heappush(heads, (_place(following, turns), n, following))


def _place(job: Waiting, turns: Mapping[str, int]) -> tuple[int, int, str]:
    return -job.priority, turns.get(job.owner, 0), job.owner
