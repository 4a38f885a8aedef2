"""Find the formulas of a potential: a spline reference first, a search in its quadratic form, then the true loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from defectdb.engine.equation_learner.learner import Candidate, Found, Learner, LearnerSettings, Strategy
from defectdb.engine.equation_learner.networks import structure_text
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import complexity
from defectdb.expressions.texts import to_infix
from defectdb.learn.potential.fitting.baselines import baselines
from defectdb.learn.potential.fitting.fit import Fitted, PotentialLoss, fit
from defectdb.learn.potential.fitting.metric import MetricTask, metric_of
from defectdb.learn.potential.fitting.spline_eam import SplineEam, splines_near
from defectdb.learn.potential.physics.guards import faults
from defectdb.learn.potential.physics.potential import Potential, Window
from defectdb.learn.potential.spaces import networks

_SEARCH_SHARE = 0.55  # of the time; the rest refines under the true loss
_FINE = (28, 24, 14)  # splines of phi, rho and F that the quadratic form is built around
_FIRST, _LAST = 40, 6  # candidates that are refined a little, and of these to the end


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a potential is looked for.

    ``window``: ends phi and rho at the cutoff.
    ``max_constants``: fitted constants of all three formulas.
    ``time_limit`` (seconds), ``playouts``: what ends the search.
    ``strategy``: "tree", "multistart" or "segvae".
    ``seed``: of the random numbers.
    ``scale``: distances over copper's.
    """

    window: Window
    max_constants: int = 6
    time_limit: float = 240.0
    playouts: int = 20_000
    strategy: Strategy | Literal["segvae"] = "tree"
    seed: int = 0
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """A potential under the true loss.

    ``fitted``: it, with its loss on the tables that it was refined on.
    ``text``: its structure for people.
    """

    fitted: Fitted[Potential]
    text: str

    @property
    def n_constants(self) -> int:
        """Fitted constants of all three formulas."""
        return len(self.fitted.potential.constants)

    @property
    def tokens(self) -> int:
        """Length of the three formulas together."""
        return sum(complexity(part.expression) for part in self.fitted.potential.parts.values())


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """What a search for a potential found.

    ``front``: for every number of constants the best that is safe, where it beats all with fewer.
    ``spline``: the spline reference on the same tables, the floor.
    ``found``: the search's log.
    """

    front: list[Refined]
    spline: Fitted[SplineEam]
    found: Found


def spline_reference(loss: PotentialLoss, window: Window, scale: float = 1.0) -> Fitted[SplineEam]:
    """Splines fitted from Gupta's form, which fits nearly any metal a little."""
    gupta = next(form for form in baselines(window, scale) if form.name == "Gupta")
    start = fit(gupta.potential, loss, iterations=25)
    return fit(splines_near(start.potential, loss.tables, window.cutoff), loss, iterations=40, tolerance=1e-4)


def form_centre(spline: SplineEam, loss: PotentialLoss) -> SplineEam:
    """Finer splines, started from these: the quadratic form around them is true farther off."""
    fine = splines_near(spline, loss.tables, spline.cutoff, _FINE)
    return fit(fine, loss, iterations=40, tolerance=1e-4).potential


def search_potential(
    loss: PotentialLoss, options: SearchOptions, progress: Callable[[str, int, float], None] | None = None
) -> SearchResult:
    """The best safe potentials with up to so many constants. ``progress`` is called with stage, steps, lowest loss."""
    began = time.monotonic()
    spline = spline_reference(loss, options.window, options.scale)
    shortest = float(loss.tables.grid[0])
    task = MetricTask(
        metric_of(form_centre(spline.potential, loss), loss, options.window),
        options.window,
        networks(shortest, options.window.cutoff),
    )
    left = options.time_limit - (time.monotonic() - began)
    budget = max(1.0, _SEARCH_SHARE * left)
    rows = task.metric.n_rows

    def told(playouts: int, value: float) -> None:
        if progress is not None:
            progress("search", playouts, math.sqrt(value / rows))

    if options.strategy == "segvae":
        from defectdb.learn.potential.segvae_parts import segvae_potentials

        pairs = segvae_potentials(
            task.metric, spline.potential, options.window, options.max_constants, budget, options.seed
        )
        starts = [(potential, _formulas_text(potential)) for potential, _ in pairs]
        found = Found([], 0, 0, time.monotonic() - began, ())
    else:
        settings = LearnerSettings(
            strategy=options.strategy, max_constants=options.max_constants, playouts=options.playouts,
            time_limit=budget, seed=options.seed,
        )  # fmt: skip
        found = Learner(task, settings).run(told)
        starts = [
            (task.potential(c.functions, c.constants), structure_text(c.structure))
            for c in _spread(found.candidates)
        ]
    forms = [form for form in baselines(options.window, options.scale) if form.fitted]
    starts = [
        *starts[:_FIRST],
        *((form.potential, form.name) for form in forms if _fits(form.potential, options)),
    ]
    refined = refine(starts, loss, began + options.time_limit, progress)
    safe = [
        one for one in refined if not faults(one.fitted.potential, density_max(one.fitted.potential, loss))
    ]
    return SearchResult(front_of(safe), spline, found)


def _fits(potential: Potential, options: SearchOptions) -> bool:
    return len(potential.constants) <= options.max_constants


def _formulas_text(potential: Potential) -> str:
    return " | ".join(to_infix(part.expression, part.constants, 3) for part in potential.parts.values())


def refine(
    starts: Sequence[tuple[Potential, str]],
    loss: PotentialLoss,
    until: float,
    progress: Callable[[str, int, float], None] | None = None,
) -> list[Refined]:
    """Potentials under the true loss: all a few steps, the best of them to the end.

    ``starts``: with their structures for people. ``until``: seconds of the monotonic clock at which no other is begun.
    """
    first: list[Refined] = []
    lowest = math.inf
    for number, (potential, text) in enumerate(starts):
        if number and time.monotonic() > until:
            break
        bound = lowest

        def hopeless(step: int, value: float, bound: float = bound) -> bool:
            return step >= 5 and math.sqrt(value / loss.tables.n_rows) > 1.4 * bound

        fitted = fit(potential, loss, iterations=12, tolerance=1e-4, give_up=hopeless)
        first.append(Refined(fitted, text))
        lowest = min(lowest, fitted.loss)
        if progress is not None:
            progress("refine", number + 1, lowest)
    done = []
    for number, one in enumerate(sorted(first, key=lambda r: r.fitted.loss)):
        long = number < _LAST and time.monotonic() < until + 30.0
        fitted = fit(one.fitted.potential, loss, iterations=60) if long else one.fitted
        done.append(Refined(fitted, one.text))
    return done


def _spread(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best candidates of every number of constants in turn, best first, at the most ``_FIRST``."""
    groups: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.n_constants, []).append(candidate)
    chosen = list(candidates[: _FIRST // 2])
    seen = {id(c) for c in chosen}
    rounds = [
        group[i] for i in range(_FIRST) for _, group in sorted(groups.items(), reverse=True) if i < len(group)
    ]
    chosen += [c for c in rounds if id(c) not in seen][: _FIRST - len(chosen)]
    return chosen


def density_max(potential: Potential, loss: PotentialLoss) -> float:
    """Largest density of the tables' configurations."""
    densities: Floats = loss.tables.densities(potential.density(loss.tables.grid)[0])
    return float(np.nanmax(densities))


def front_of(found: Sequence[Refined]) -> list[Refined]:
    """The lowest loss of every number of constants, where it is lower than with fewer; fewest constants first."""
    front: list[Refined] = []
    for one in sorted(found, key=lambda r: (r.n_constants, r.fitted.loss)):
        if math.isfinite(one.fitted.loss) and (
            not front or one.fitted.loss < front[-1].fitted.loss * (1 - 1e-3)
        ):
            if front and front[-1].n_constants == one.n_constants:
                continue
            front.append(one)
    return front
