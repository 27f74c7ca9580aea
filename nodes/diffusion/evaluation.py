"""Evaluates networks under several conditions in few forward passes, and blends the predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.entries import Entry, share
from latentloom.nodes.diffusion.prediction import Condition, Predict, fitted, stacked
from latentloom.nodes.diffusion.timeline import Moment


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One of the predictions that guidance compares: the entries that are blended, and the network to evaluate."""

    entries: tuple[Entry, ...]
    predict: Predict


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One entry for one network; `x` [B, ...] is the part of the picture that it sees."""

    predict: Predict
    x: Tensor
    condition: Condition


_Key = tuple[int, int]  # the ids of an entry and a network


class Evaluation:
    """Computes predictions of x0 by branch. Cells that no entry of a branch covers are filled from another branch."""

    def __init__(self, branches: Mapping[str, Branch], most: int | None = None) -> None:
        """`branches` has "positive" and "negative", and others if a guidance rule needs them.

        At most `most` items go through a network at once; None sets no limit.
        """
        self._branches, self._most = branches, most
        self._shares: dict[tuple[int, ...], tuple[Tensor | None, bool]] = {}
        self._weights: dict[int, Tensor] = {}

    def ask(self, names: Sequence[str], x: Tensor, moment: Moment) -> dict[str, Tensor]:
        """Return the predictions of some branches, and of the branches that fill them.

        Raises BadValueError if some cells are covered neither by a branch nor by the branch that fills it.
        """
        active = {name: self._active(name, moment) for name in names}
        for name in names:
            if self._gaps(active[name], x):
                other = _beside(name)
                active.setdefault(other, self._active(other, moment))
        found = self._answers(active, x, moment)
        blended = {name: self._blended(entries, found, name, x) for name, entries in active.items()}
        return {name: self._filled(name, active, blended, x, moment) for name in active}

    def _active(self, name: str, moment: Moment) -> tuple[Entry, ...]:
        return tuple(entry for entry in self._branches[name].entries if entry.active(moment))

    def _answers(self, active: Mapping[str, tuple[Entry, ...]], x: Tensor, moment: Moment) -> dict[_Key, Tensor]:
        """Return a prediction for each distinct pair of entry and network."""
        jobs: dict[_Key, _Job] = {}
        for name, entries in active.items():
            predict = self._branches[name].predict
            for entry in entries:
                jobs.setdefault((id(entry), id(predict)), _job(entry, predict, x))
        found: dict[_Key, Tensor] = {}
        for group in _groups(jobs, self._most):
            found |= _forward(group, jobs, moment, self._most)
        return found

    def _blended(self, entries: tuple[Entry, ...], found: Mapping[_Key, Tensor], name: str, x: Tensor) -> Tensor:
        """Return the weighted mean of a branch's predictions; 0 in cells that no entry covers."""
        predict = self._branches[name].predict
        total, _ = self._share(entries, x)
        if total is None:
            return found[(id(entries[0]), id(predict))]
        mixed = torch.zeros_like(x)
        for entry in entries:
            answer, weight = found[(id(entry), id(predict))], self._weight(entry, x)
            inside = mixed if entry.area is None else entry.area.of(mixed)
            inside += answer * (weight if entry.area is None else entry.area.of(weight))
        return torch.where(total > 0, mixed / total, 0)

    def _filled(
        self,
        name: str,
        active: Mapping[str, tuple[Entry, ...]],
        blended: Mapping[str, Tensor],
        x: Tensor,
        moment: Moment,
    ) -> Tensor:
        if not self._gaps(active[name], x):
            return blended[name]
        other = _beside(name)
        own, _ = self._share(active[name], x)
        if own is None or self._gaps((*active[name], *active[other]), x):
            raise BadValueError(
                f"at step {moment.step + 1} of {moment.total} no conditioning covers the whole picture",
                expected="entries of positive or negative for every part and every step",
                got="a part or a step without one",
                hint="combine them with a conditioning that has no area, mask or time range",
            )
        return torch.where(own > 0, blended[name], blended[other])

    def _gaps(self, entries: tuple[Entry, ...], x: Tensor) -> bool:
        """Whether the entries leave some cells without weight."""
        return not entries or self._share(entries, x)[1]

    def _share(self, entries: tuple[Entry, ...], x: Tensor) -> tuple[Tensor | None, bool]:
        """Return `entries.share` on x's device, and whether it has gaps. Computed once for each set of entries."""
        key = tuple(id(entry) for entry in entries)
        if key not in self._shares:
            total = share(entries, *x.shape[-2:])
            gaps = total is not None and bool((total <= 0).any())
            self._shares[key] = (None if total is None else total.to(x), gaps)
        return self._shares[key]

    def _weight(self, entry: Entry, x: Tensor) -> Tensor:
        if id(entry) not in self._weights:
            self._weights[id(entry)] = entry.weight(*x.shape[-2:]).to(x)
        return self._weights[id(entry)]


def _beside(name: str) -> str:
    """Return the branch that fills the gaps of another."""
    return "positive" if name == "negative" else "negative"


def _job(entry: Entry, predict: Predict, x: Tensor) -> _Job:
    """Make the job of an entry: x, and every condition that is a map of x's size, are cropped to the entry's area."""
    if entry.area is None:
        return _Job(predict, x, entry.condition)
    maps = {name: value for name, value in entry.condition.items() if value.shape[2:] == x.shape[2:]}
    return _Job(predict, entry.area.of(x), {**entry.condition, **{k: entry.area.of(v) for k, v in maps.items()}})


def _groups(jobs: Mapping[_Key, _Job], most: int | None) -> list[list[_Key]]:
    """Group jobs so that each group fits into one forward pass; the order is kept."""
    found: list[list[_Key]] = []
    for key, job in jobs.items():
        for group in found:
            first = jobs[group[0]]
            if most is not None and (len(group) + 1) * first.x.shape[0] > most:
                continue
            together = [*(jobs[other].condition for other in group), job.condition]
            if first.predict is job.predict and first.x.shape == job.x.shape and fitted(together):
                group.append(key)
                break
        else:
            found.append([key])
    return found


def _forward(keys: list[_Key], jobs: Mapping[_Key, _Job], moment: Moment, most: int | None) -> dict[_Key, Tensor]:
    """Run one forward pass, or several with at most `most` items each."""
    batch = jobs[keys[0]].x.shape[0]
    condition = stacked([jobs[key].condition for key in keys], batch)
    assert condition is not None
    x, predict = torch.cat([jobs[key].x for key in keys]), jobs[keys[0]].predict
    parts = [slice(n, n + (most or len(x))) for n in range(0, len(x), most or len(x))]
    answers = torch.cat([predict(x[part], moment, {k: v[part] for k, v in condition.items()}) for part in parts])
    return dict(zip(keys, answers.chunk(len(keys)), strict=True))
