"""The learner against known laws and its own speed: Nguyen and Livermore sets, evaluations and fits per second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.regressor import SymbolicRegressor
from defectdb.expressions.evaluation import evaluate_numpy

Floats = NDArray[np.float64]
_KINDS = ("found", "equal", "held")
RECOVERED = 1e-9
"""Mean squared error to the truth on fresh points below which a law counts as found."""


@dataclass(frozen=True)
class Law:
    """A benchmark law: its function of 1 or 2 columns, the range and the number of its points."""

    name: str
    truth: Callable[..., Floats]
    low: float
    high: float
    points: int = 20
    variables: int = 1


def laws() -> list[Law]:
    """Nguyen-1..12 (Uy et al., Genet. Program. Evolvable Mach. 12, 91 (2011)) and Livermore-1..22 (DSR)."""
    sin, cos, log, exp = np.sin, np.cos, np.log, np.exp
    nguyen = [
        (lambda x: x**3 + x**2 + x, -1, 1),
        (lambda x: x**4 + x**3 + x**2 + x, -1, 1),
        (lambda x: x**5 + x**4 + x**3 + x**2 + x, -1, 1),
        (lambda x: x**6 + x**5 + x**4 + x**3 + x**2 + x, -1, 1),
        (lambda x: sin(x**2) * cos(x) - 1, -1, 1),
        (lambda x: sin(x) + sin(x + x**2), -1, 1),
        (lambda x: log(x + 1) + log(x**2 + 1), 0, 2),
        (lambda x: x**0.5, 0, 4),
        (lambda x, y: sin(x) + sin(y**2), 0, 1),
        (lambda x, y: 2 * sin(x) * cos(y), 0, 1),
        (lambda x, y: x**y, 0, 1),
        (lambda x, y: x**4 - x**3 + y**2 / 2 - y, 0, 1),
    ]
    livermore = [
        (lambda x: 1 / 3 + x + sin(x**2), -10, 10),
        (lambda x: sin(x**2) * cos(x) - 2, -1, 1),
        (lambda x: sin(x**3) * cos(x**2) - 1, -1, 1),
        (lambda x: log(x + 1) + log(x**2 + 1) + log(x), 0, 2),
        (lambda x, y: x**4 - x**3 + x**2 - y, 0, 1),
        (lambda x: 4 * x**4 + 3 * x**3 + 2 * x**2 + x, -1, 1),
        (lambda x: (exp(x) - exp(-x)) / 2, -1, 1),
        (lambda x: (exp(x) + exp(-x)) / 2, -1, 1),
        (lambda x: sum(x**i for i in range(1, 10)), -1, 1),
        (lambda x, y: 6 * sin(x) * cos(y), 0, 1),
        (lambda x, y: x**2 * y**2 / (x + y), 0, 1),
        (lambda x, y: x**5 / y**3, 0, 1),
        (lambda x: x ** (1 / 3), 0, 4),
        (lambda x: x**3 + x**2 + x + sin(x) + sin(x**2), -1, 1),
        (lambda x: x ** (1 / 5), 0, 4),
        (lambda x: x ** (2 / 5), 0, 4),
        (lambda x, y: 4 * sin(x) * cos(y), 0, 1),
        (lambda x: sin(x**2) * cos(x) - 5, -1, 1),
        (lambda x: x**5 + x**4 + x**2 + x, -1, 1),
        (lambda x: exp(-(x**2)), -1, 1),
        (lambda x: sum(x**i for i in range(1, 9)), -1, 1),
        (lambda x: exp(-0.5 * x**2), -1, 1),
    ]
    found = []
    for title, group in (("Nguyen", nguyen), ("Livermore", livermore)):
        for number, (truth, low, high) in enumerate(group, 1):
            count = truth.__code__.co_argcount
            points = 20 if count == 1 else 40
            found.append(Law(f"{title}-{number}", truth, low, high, points, count))
    return found


def sampled(law: Law, seed: int, points: int | None = None) -> tuple[Floats, Floats]:
    """Columns and values at random points of the law's range (a thousandth of it away from its lower end)."""
    generator = np.random.default_rng(seed)
    margin = 1e-3 * (law.high - law.low)
    x = generator.uniform(law.low + margin, law.high, (points or law.points, law.variables))
    return x, law.truth(*x.T)


@dataclass(frozen=True)
class Trial:
    """One law searched once: whether the chosen formula is it, and whether any formula that stands on the front or on
    that of formulas in round numbers is (``held``).
    """

    law: str
    seed: int
    found: bool
    equal: bool
    held: bool
    seconds: float
    formula: str


def attempt(name: str, seed: int, noise: float, time_limit: float, more: int = 1) -> Trial:
    """Search one law from one seed; found where the error on fresh noise-free points is under ``RECOVERED``.

    ``equal`` asks for more: the law itself, not what comes near it in the range it was learned on. ``more`` times the
    law's usual number of points.
    """
    torch.set_num_threads(1)
    law = next(law for law in laws() if law.name == name)
    x, y = sampled(law, seed, more * law.points)
    rms = float(np.sqrt(np.mean(y**2)))
    y = y + noise * rms * np.random.default_rng(seed + 10_000).standard_normal(len(y))
    begin = time.perf_counter()
    found = SymbolicRegressor(seed=seed, time_limit=time_limit, max_tokens=27).fit(x, y)
    seconds = time.perf_counter() - begin
    fresh, truth = sampled(law, seed + 1_000, 1000)
    errors = [_error(s, found, fresh, truth) for s in (found.best_, *found.front_, *found.rounded_)]
    held = min(errors) < RECOVERED
    return Trial(name, seed, errors[0] < RECOVERED, _equal(law, found), held, seconds, found.infix())


def _error(scored: Scored, found: SymbolicRegressor, x: Floats, truth: Floats) -> float:
    """Mean squared error of one formula; infinite where it has no value."""
    env = {name: x[:, i] for i, name in enumerate(found.variables_)}
    with np.errstate(all="ignore"):
        error = float(np.mean((evaluate_numpy(scored.expression, env, scored.constants) - truth) ** 2))
    return error if np.isfinite(error) else np.inf


def _equal(law: Law, found: SymbolicRegressor, tolerance: float = 1e-6) -> bool:
    """Whether formula and law agree over half the range more on both sides, wherever both have a value."""
    reach = 0.5 * (law.high - law.low)
    x = np.random.default_rng(7).uniform(law.low - reach, law.high + reach, (1000, law.variables))
    with np.errstate(all="ignore"):
        truth, values = law.truth(*x.T), found.predict(x)
    defined = np.isfinite(truth) & np.isfinite(values)
    return bool((np.abs(values - truth)[defined] <= tolerance * (1 + np.abs(truth[defined]))).mean() > 0.99)


def recovery(
    group: str, seeds: int, noise: float = 0.0, time_limit: float = 60.0, more: int = 1
) -> list[Trial]:
    """Every law of a group from every seed, two searches at a time; one line a law."""
    names = [law.name for law in laws() if law.name.startswith(group)]
    trials: list[Trial] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [
            (n, pool.submit(attempt, n, s, noise, time_limit, more)) for n in names for s in range(seeds)
        ]
        for name in names:
            part = [future.result() for n, future in futures if n == name]
            trials += part
            median = float(np.median([t.seconds for t in part]))
            shown = next((t.formula for t in part if t.found), part[0].formula)
            counts = " ".join(f"{sum(getattr(t, kind) for t in part):>3}" for kind in _KINDS) + f" of {seeds}"
            print(f"{name:>14} {counts} {median:>7.1f} s  {shown[:90]}", flush=True)
    shares = ", ".join(
        f"{kind} {100 * sum(getattr(t, kind) for t in trials) / len(trials):.0f} %" for kind in _KINDS
    )
    print(f"{group}: {shares} of {len(trials)}; noise {noise:.0%}, {more} x the points", flush=True)
    return trials


def _formulas(seed: int, count: int = 12_000) -> tuple[torch.Tensor, Grammar, torch.Generator]:
    """Distinct random formulas of up to 15 tokens (13.7 in the mean) with 1 to 4 constants."""
    grammar = Grammar(max_length=15, max_constants=4)
    generator = torch.Generator().manual_seed(seed)
    parts = [random_formulas(grammar, 30_000, generator, leaf_bias=bias) for bias in (0.15, 0.25, 0.35)]
    tokens = torch.unique(torch.cat(parts), dim=0)
    tokens = tokens[count_constants(tokens, grammar) > 0]
    return tokens[torch.randperm(len(tokens), generator=generator)][:count], grammar, generator


def _throughput(seed: int) -> tuple[float, float]:
    """Evaluations and fits per second of one thread at 20 points; the better of three rounds.

    An evaluation is one formula with one set of constants at all points, laying out included.
    """
    torch.set_num_threads(1)
    tokens, grammar, generator = _formulas(seed)
    x = torch.linspace(1.0, 12.0, 20, dtype=torch.float64)
    problem = Problem.of(x, torch.exp(-0.4 * x) * torch.cos(1.7 * x))
    evaluations, fits = 0.0, 0.0
    for _ in range(3):
        begin = time.perf_counter()
        for k in range(1, 5):
            members = tokens[count_constants(tokens, grammar) == k]
            for part in members.split(2000):
                theta = torch.rand(len(part), 8, k, dtype=torch.float64)
                build(part, grammar).values(x.unsqueeze(0), theta)
        evaluations = max(evaluations, 8 * len(tokens) / (time.perf_counter() - begin))
        begin = time.perf_counter()
        fit(tokens, grammar, problem, generator, starts=2, iterations=(6, 10))
        fits = max(fits, len(tokens) / (time.perf_counter() - begin))
    return evaluations, fits


def throughput() -> None:
    """Sum over two processes."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rates = list(pool.map(_throughput, (0, 1)))
    evaluations, fits = (sum(r[i] for r in rates) for i in (0, 1))
    print(
        f"two processes: {evaluations:,.0f} evaluations/s, {fits:,.0f} fits/s (2 starts, up to 16 steps each)"
    )


def main(seeds: int = 2) -> None:
    """Throughput, recovery without and with noise."""
    throughput()
    recovery("Nguyen", seeds)
    recovery("Livermore", seeds)
    recovery("Nguyen", seeds, noise=0.1)
    recovery("Nguyen", seeds, noise=0.1, more=10)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
