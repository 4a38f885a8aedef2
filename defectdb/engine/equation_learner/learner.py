"""The search of an equation learner: structures and constants by tree search or by many starts, best per structure.

Most playouts start from a neighbour of one of the best structures so far: trees and starts find the region,
neighbours what improves on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from defectdb.engine.equation_learner.least_squares import Objective, minimise
from defectdb.engine.equation_learner.networks import (
    Built,
    Network,
    Structure,
    decoded,
    encoded,
)
from defectdb.engine.equation_learner.tree_search import TreeSearch, TreeSettings
from defectdb.engine.equation_learner.variations import varied
from defectdb.expressions.arrays import Flags, Floats

Strategy = Literal["tree", "multistart"]

_PARENTS = 15  # structures whose neighbours are tried

_FORBIDDEN = 2.0  # times its loss is what the tree is told of a place that may be no answer


class Task(Protocol):
    """What is to be learned: functions that together make a sum of squares."""

    @property
    def networks(self) -> Sequence[Network]:
        """The functions."""

    def objective(self, functions: Sequence[Built]) -> Objective:
        """The sum of squares of the functions' constants, in their order, and of numbers of the task's own behind."""

    def start(self, functions: Sequence[Built]) -> Floats:
        """First guesses of the task's own numbers."""

    def permits(self, functions: Sequence[Built], constants: Floats) -> bool:
        """Whether functions with all constants, the task's own numbers behind, may be an answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A structure with the best constants found for it.

    ``structure``, ``functions``: what it is.
    ``constants`` [k]: of all functions, in their order.
    ``loss``: sum of squared residuals.
    ``point``: in the box.
    """

    structure: Structure
    functions: tuple[Built, ...]
    constants: Floats
    loss: float
    point: Floats

    @property
    def n_constants(self) -> int:
        """Fitted constants of all functions."""
        return len(self.constants)

    @property
    def parts(self) -> list[Floats]:
        """The constants of every function."""
        ends = np.cumsum([len(f.start) for f in self.functions])[:-1]
        return np.split(self.constants, ends)


@dataclass(frozen=True, slots=True)
class LearnerSettings:
    """How a search is done.

    ``strategy``: "tree", or "multistart": the same playouts from points all over the box.
    ``max_constants``: of all functions together.
    ``playouts``, ``evaluations`` (of residuals), ``time_limit`` (seconds): what ends it.
    ``steps``: of least squares in a playout.
    ``price``: share of the loss that one more constant must gain for the tree to prefer it.
    ``varied``: share of the playouts that start from a neighbour of one of the best structures so far.
    ``seed``: of the random numbers.
    ``tree``: how the tree grows.
    """

    strategy: Strategy = "tree"
    max_constants: int = 6
    playouts: int = 2000
    evaluations: int = 10**9
    time_limit: float = 120.0
    steps: int = 12
    price: float = 0.02
    varied: float = 0.7
    seed: int = 0
    tree: TreeSettings = field(default_factory=TreeSettings)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    ``candidates``: the best of every structure, lowest loss first.
    ``playouts``, ``evaluations``, ``seconds``: what it took.
    ``history``: (playout, lowest loss so far) wherever it fell.
    """

    candidates: list[Candidate]
    playouts: int
    evaluations: int
    seconds: float
    history: tuple[tuple[int, float], ...]


class Learner:
    """One search; ``run`` does it."""

    def __init__(self, task: Task, settings: LearnerSettings) -> None:
        self.task, self.settings = task, settings
        self.best: dict[Structure, Candidate] = {}
        self.lowest, self.evaluations, self.history = math.inf, 0, list[tuple[int, float]]()

    def run(self, progress: Callable[[int, float], None] | None = None) -> Found:
        """Search until the playouts or the time are used up."""
        began = time.monotonic()
        s = self.settings
        generator = np.random.default_rng(s.seed)
        dimension = sum(network.size for network in self.task.networks)
        tree = TreeSearch(dimension, self._playout, generator, s.tree)
        played = 0
        drawn = 0
        while played < s.playouts and drawn < 200 * s.playouts and self.evaluations < s.evaluations:
            if time.monotonic() - began > s.time_limit:
                break
            before = self.evaluations
            if self.best and generator.random() < s.varied:
                self._playout(self._neighbour(generator))
            elif s.strategy == "tree":
                tree.step()
            else:
                self._playout(generator.random(dimension))
            drawn += 1
            played += self.evaluations > before
            if (self.history and self.history[-1][1] > self.lowest) or not self.history:
                self.history.append((played, self.lowest))
                if progress is not None:
                    progress(played, self.lowest)
        ranked = sorted(self.best.values(), key=lambda c: c.loss)
        return Found(ranked, played, self.evaluations, time.monotonic() - began, tuple(self.history))

    def _neighbour(self, generator: np.random.Generator) -> Floats:
        """A neighbour of one of the best structures, those that are priced lower the more often."""
        price = 1.0 + self.settings.price
        ranked = sorted(self.best.values(), key=lambda c: c.loss * price**c.n_constants)
        chosen = int(len(ranked[:_PARENTS]) * generator.random() ** 2)
        return varied(self.task.networks, ranked[chosen].point, generator)

    def _playout(self, point: Floats) -> tuple[float, Floats]:
        """Descend from a point; the loss that the tree is told, and where the descent ended."""
        structure, functions = decoded(self.task.networks, point)
        count = sum(len(f.start) for f in functions)
        if count > self.settings.max_constants:
            return math.inf, point
        own = self.task.start(functions)
        theta = np.concatenate([*(f.start for f in functions), own])
        linear = np.concatenate([*(f.linear for f in functions), np.zeros(len(own), dtype=np.bool_)])
        objective = self.task.objective(functions)
        with np.errstate(all="ignore"):
            theta = with_amplitudes(objective, theta, linear)
        self.evaluations += 1
        found = minimise(
            objective, theta, iterations=self.settings.steps, tolerance=1e-4, give_up=self._hopeless
        )
        self.evaluations += found.evaluations
        if not math.isfinite(found.loss):
            return math.inf, point
        constants = found.constants[:count]
        parts = np.split(constants, np.cumsum([len(f.start) for f in functions])[:-1])
        end = encoded(self.task.networks, point, parts)
        told = found.loss * (1.0 + self.settings.price) ** count
        known = self.best.get(structure)
        if known is not None and known.loss <= found.loss:
            return told, end
        if not self.task.permits(functions, found.constants):
            return _FORBIDDEN * told, end
        self.best[structure] = Candidate(structure, tuple(functions), constants, found.loss, end)
        self.lowest = min(self.lowest, found.loss)
        return told, end

    def _hopeless(self, step: int, loss: float) -> bool:
        """Whether a descent is so far behind that its end will not matter."""
        return step >= 4 and loss > 50.0 * self.lowest


def with_amplitudes(objective: Objective, theta: Floats, linear: Flags) -> Floats:
    """The constants with their amplitudes solved for, the others as they are."""
    if not linear.any():
        return theta
    now = objective.both(theta)
    if now is None:
        return theta
    errors, slopes = now
    columns = slopes[:, linear]
    size = np.linalg.norm(columns, axis=0) + 1e-300
    if not (np.isfinite(size).all() and np.isfinite(errors).all()):
        return theta
    step, *_ = np.linalg.lstsq(columns / size, -errors, rcond=1e-8)
    out = theta.copy()
    out[linear] += step / size
    return out
