"""Fair turns: whose job comes next. Pure functions; the queue and its listing use the same rule.

The rule is round robin among the owners of the jobs with the highest priority (J. Nagle, "On packet switches with
infinite storage", RFC 970, 1985): the owner whose last turn is the longest ago comes next. So between two turns of an
owner, every other owner with a waiting job of that priority gets one.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class Waiting(NamedTuple):
    """A waiting job."""

    owner: str
    priority: int
    id: str


def next_job(heads: Iterable[Waiting], turns: Mapping[str, int]) -> Waiting | None:
    """Return the job that comes next, or None if no job waits.

    `heads` holds the first job of each owner, `turns` the number of each owner's last turn; a larger one is later, and
    an owner without one has had none.
    """
    return min(heads, key=lambda job: _place(job, turns), default=None)


def in_turn(waiting: Iterable[Waiting], turns: Mapping[str, int]) -> Iterator[Waiting]:
    """Yield jobs in the order in which they will come if no further ones are queued.

    `waiting` holds the jobs of each owner in that owner's own order.
    """
    own, turns = defaultdict[str, deque[Waiting]](deque), dict(turns)
    for job in waiting:
        own[job.owner].append(job)
    heads = [(_place(jobs[0], turns), owner) for owner, jobs in own.items()]
    heapq.heapify(heads)
    turn = max(turns.values(), default=0)
    while heads:
        _, owner = heapq.heappop(heads)
        yield own[owner].popleft()
        turns[owner] = turn = turn + 1
        if own[owner]:
            heapq.heappush(heads, (_place(own[owner][0], turns), owner))


def _place(job: Waiting, turns: Mapping[str, int]) -> tuple[int, int, str]:
    return -job.priority, turns.get(job.owner, 0), job.owner
