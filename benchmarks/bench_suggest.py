"""What suggested calculations are worth: errors on three-defect structures from few pairs, as suggested and at random.

Of MoS2, or of $DEFECTDB_BENCH_MATERIAL, at low density: 40 of the small structures to begin with, 10 more at
a time. Which formulas a kernel may have is what one search on all pairs found (the stored front); their constants are
fitted to the pairs that are there, and of them the one of least corrected information criterion is used, so that 20
repeats take minutes and not days. `python -m benchmarks suggest` needs $DEFECTDB_BENCH: a database with the material's
model front.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import least_squares

from defectdb.db import Database, open_database
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, complexity, from_ast, variables
from defectdb.query.placements.expected_gain import Unknown, choose

Floats = NDArray[np.float64]
START, STEP, REPEATS = 40, 10, 20
MATERIAL = os.environ.get("DEFECTDB_BENCH_MATERIAL", "MoS2")
TARGET = "formation_energy"
_OWN = "dataset_id IN (SELECT DISTINCT dataset_id FROM pair_energies WHERE material_id = $m)"
_LONGEST = 16
"""Tokens: from few points longer formulas cannot be told apart."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """One kernel: its pairs r (angstrom), y (eV), multiplicity; the front's formulas; its pairs in structures."""

    r: Floats
    y: Floats
    often: Floats
    formulas: list[tuple[Expression, tuple[float, ...]]]
    row: NDArray[np.int64]
    far: Floats


@dataclass(frozen=True, eq=False)
class Material:
    """Kernels, and of every three-defect structure what single defects make and the computed energy, eV."""

    kernels: list[Kernel]
    base: Floats
    actual: Floats
    n_singles: int


def load(db: Database) -> Material:
    """The material of the database with its newest front."""
    scope = {"m": MATERIAL}
    pairs = db.frame(
        "SELECT label, dz, distance AS r, interaction AS y FROM pair_energies WHERE material_id = $m ORDER BY ALL",
        scope,
    )
    single = dict(
        db.frame(
            "SELECT t.label, t.value FROM model_terms AS t JOIN models AS m USING (model_id) WHERE m.status = 'active' "
            f"AND m.target = '{TARGET}' AND m.material_id = $m AND t.\"order\" = 1",
            scope,
        ).iter_rows()
    )
    offset = db.value(
        "SELECT median(value) FROM host_offsets JOIN hosts USING (host_id) WHERE material_id = $m", scope
    )
    structures = db.frame(
        "SELECT s.structure_key, s.defect_labels, t.value FROM structures AS s JOIN hosts USING (host_id) "
        "JOIN target_values AS t USING (structure_id) WHERE material_id = $m AND n_defects = 3 "
        f"AND {_OWN} AND target = '{TARGET}' ORDER BY structure_key",
        scope,
    )
    keys = structures["structure_key"].to_numpy()
    own = db.frame(
        "SELECT p.structure_key, p.label, p.dz, p.distance AS r FROM pairs AS p JOIN structures USING (structure_key) "
        "JOIN hosts USING (host_id) WHERE material_id = $m AND n_defects = 3",
        scope,
    ).filter(pl.col("structure_key").is_in(structures["structure_key"].implode()))
    front = db.frame(
        "SELECT pair_label, dz_min, dz_max, ast, constants FROM formulas WHERE run_id = (SELECT max(run_id) FROM "
        f"model_fronts) AND target = '{TARGET}' AND material_id = $m ORDER BY pair_label, dz_min, complexity",
        scope,
    )
    kernels = []
    for (label, low, high), rows in front.group_by(["pair_label", "dz_min", "dz_max"], maintain_order=True):
        here = pl.col("dz").is_between(low, high, closed="left")
        mine, theirs = pairs.filter(here, label=label), own.filter(here, label=label)
        trees = [(from_ast(row["ast"]), tuple(row["constants"])) for row in rows.iter_rows(named=True)]
        r = mine["r"].to_numpy()
        far = theirs["r"].to_numpy()
        often = (np.abs(r[:, None] - far[None, :]) < 0.02).sum(1).astype(float)
        kernels.append(
            Kernel(
                r, mine["y"].to_numpy(), often,
                [(e, c) for e, c in trees if variables(e) and complexity(e) <= _LONGEST],
                np.searchsorted(keys, theirs["structure_key"].to_numpy()), far,
            )
        )  # fmt: skip
    base = (
        np.array([sum(single[x] for x in text.split("+")) for text in structures["defect_labels"]])
        + 2 * offset
    )
    return Material(kernels, base, structures["value"].to_numpy(), len(single))


def fitted(kernel: Kernel, some: NDArray[np.bool_]) -> list[tuple[float, Expression, tuple[float, ...]]]:
    """The front's formulas fitted to some of the pairs, with their corrected information criterion, best first."""
    r, y = kernel.r[some], kernel.y[some]
    n = len(y)
    found = []
    for tree, constants in kernel.formulas:
        k = len(constants)
        if n - k - 1 <= 0:
            continue

        def left(c: Floats, tree: Expression = tree) -> Floats:
            values = np.broadcast_to(evaluate_numpy(tree, {"r": r}, [float(v) for v in c]), r.shape)
            return np.nan_to_num(y - values, nan=1e3, posinf=1e3, neginf=-1e3)

        start = np.asarray(constants)
        if k:
            with np.errstate(all="ignore"):
                start = least_squares(left, start, x_scale=np.abs(start) + 1e-9, max_nfev=15).x
        mse = max(float(np.mean(left(start) ** 2)), 1e-12)
        score = n * np.log(mse) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        found.append((score, tree, tuple(float(v) for v in start)))
    return sorted(found, key=lambda f: f[0])


class Learner:
    """One repeat: which pairs are computed, and the formulas fitted to them."""

    def __init__(self, material: Material, computed: list[NDArray[np.bool_]]) -> None:
        self.material, self.computed = material, [c.copy() for c in computed]
        self.fits = [fitted(k, c) for k, c in zip(material.kernels, self.computed, strict=True)]

    def add(self, places: list[tuple[int, int]]) -> None:
        """Compute these pairs and fit their kernels again."""
        for kernel, row in places:
            self.computed[kernel][row] = True
        for i in {kernel for kernel, _ in places}:
            self.fits[i] = fitted(self.material.kernels[i], self.computed[i])

    def error(self) -> float:
        """Mean absolute error per site of the three-defect structures, meV."""
        total = self.material.base.copy()
        for kernel, fits, some in zip(self.material.kernels, self.fits, self.computed, strict=True):
            low, high = kernel.y.min() - np.ptp(kernel.y), kernel.y.max() + np.ptp(kernel.y)
            if fits:
                value = np.broadcast_to(
                    evaluate_numpy(fits[0][1], {"r": kernel.far}, fits[0][2]), kernel.far.shape
                )
            else:
                value = np.full(kernel.far.shape, np.median(kernel.y[some]) if some.any() else 0.0)
            np.add.at(total, kernel.row, np.clip(np.nan_to_num(value), low, high))
        return float(1000 * np.abs(total - self.material.actual).mean() / 3)

    def suggested(self, budget: int) -> list[tuple[int, int]]:
        """The pairs that `suggest` would choose."""
        unknowns, places = [], []
        for kernel, fits, some in zip(self.material.kernels, self.fits, self.computed, strict=True):
            left = np.flatnonzero(~some)
            r = kernel.r[left]
            values = [np.broadcast_to(evaluate_numpy(t, {"r": r}, c), r.shape) for _, t, c in fits[:8]]
            weight = (
                np.exp(-0.5 * np.minimum([f[0] - fits[0][0] for f in fits[:8]], 12.0))
                if fits
                else np.zeros(0)
            )
            finite = [bool(np.isfinite(v).all()) for v in values]
            table = np.array([v for v, ok in zip(values, finite, strict=True) if ok]).reshape(
                sum(finite), len(r)
            )
            share = kernel.often[left] / len(self.material.actual)
            known = kernel.r[some], kernel.y[some]
            unknowns.append(Unknown(r, share, *known, table, weight[finite] if fits else weight))
            places.append(left)
        return [(p.kernel, int(places[p.kernel][p.candidate])) for p in choose(unknowns, budget)]


def repeat(material: Material, seed: int) -> tuple[list[float], list[float]]:
    """Errors after 40, 50, 60 ... structures, as suggested and at random."""
    rng = np.random.default_rng(seed)
    every = [(i, j) for i, kernel in enumerate(material.kernels) for j in range(len(kernel.r))]
    order = [every[i] for i in rng.permutation(len(every))]
    n = START - material.n_singles
    begin = [np.zeros(len(k.r), dtype=bool) for k in material.kernels]
    for kernel, row in order[:n]:
        begin[kernel][row] = True
    curves = []
    for wise in (True, False):
        learner, queue = Learner(material, begin), order[n:]
        curve = [learner.error()]
        while not all(c.all() for c in learner.computed):
            places = learner.suggested(STEP) if wise else queue[:STEP]
            queue = queue[STEP:]
            learner.add(places)
            curve.append(learner.error())
        curves.append(curve)
    return curves[0], curves[1]


def needed(curve: list[float], goal: float) -> int:
    """Structures after which the error stays at the goal or below."""
    above = [i for i, error in enumerate(curve) if error > goal]
    return START + STEP * (above[-1] + 1 if above else 0)


def main() -> None:
    """Print the mean curves, and how many structures each order needs for the error of all (and 5 % more)."""
    path = os.environ.get("DEFECTDB_BENCH")
    if path is None:
        print(f"skipped: $DEFECTDB_BENCH names no database with a model front of {MATERIAL}", file=sys.stderr)
        return
    with open_database(Path(path), read_only=True) as db:
        material = load(db)
    repeats = int(os.environ.get("DEFECTDB_REPEATS", str(REPEATS)))
    curves = []
    for seed in range(repeats):
        curves.append(repeat(material, seed))
        counts = [needed(c, 1.05 * c[-1]) for c in curves[-1]]
        print(
            f"seed {seed}: suggested {counts[0]}, random {counts[1]} structures", file=sys.stderr, flush=True
        )
    wise, chance = (np.mean([c[i] for c in curves], axis=0) for i in (0, 1))
    print("structures  suggested  random   (meV per site, mean)")
    for i, (a, b) in enumerate(zip(wise, chance, strict=True)):
        print(f"{START + STEP * i:10d}  {a:9.2f}  {b:6.2f}")
    for slack in (1.0, 1.05, 1.2):
        counts = [[needed(c[i], slack * c[i][-1] + 1e-9) for c in curves] for i in (0, 1)]
        means = [float(np.mean(c)) for c in counts]
        print(f"to {slack:g} of the error of all: suggested {means[0]:.0f}, random {means[1]:.0f} structures")
