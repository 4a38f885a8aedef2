"""The learner on the real two-defect kernels: errors at equal length beside the published formulas, and triangles.

Published energies are per site, half of the pair's interaction: errors are given per site here.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from defectdb.db import Database, open_database
from defectdb.engine.finishing.scored import Scored
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.texts import to_infix
from defectdb.ingest import Options, load
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import settle
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import Kernel, PairTask
from defectdb.learn.pairs.tasks import kernel_tasks
from defectdb.learn.select import select_pairs

Floats = NDArray[np.float64]
DATA = Path(os.environ.get("DEFECTDB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LENGTHS = (9, 11, 13, 15, 19, 25)
FOLDS = 5
READABLE = 19  # tokens of a kernel in the sum for triangles

PUBLISHED: dict[str, Callable[[Floats], Floats]] = {
    "Vac_Mo-Vac_S": lambda r: 4.895091 + (np.cos(0.5) * np.cos(8 - 2 * r) - 1) * r**2 * np.exp(-r),
    "Vac_S-Vac_S dz<1.56": lambda r: np.cos(3 + (r - 4)) / (np.exp(r) - (4 - r)),
    "Vac_S-Vac_S dz>=1.56": lambda r: np.cos(5 - r) / (2**r + 1 + r),
}
"""Formulas per site of Lazarev & Ustyuzhanin, up to a constant that is fitted here."""


def kernels(db: Database, seed: int) -> dict[str, Kernel]:
    """The kernels of the labels with published formulas, each in one thread; one line each."""
    config = LearnConfig(seed=seed)
    job = settle(db, config, ["Vac_Mo-Vac_S", "Vac_S-Vac_S"])
    tasks = kernel_tasks(db, select_pairs(db, job), job)
    found = {}
    for task in tasks:
        kernel = learn_kernel(task)
        found[task.name] = kernel
        cells = " ".join(f"@{n} {_best(kernel.front, n).mse / 4:.1e}" for n in LENGTHS)
        chosen = kernel.front[kernel.chosen]
        rest = task.y / 2 - PUBLISHED[task.name](task.r)
        print(f"{task.name:>22} {cells}  published {rest.var():.1e}  {kernel.seconds:.0f} s", flush=True)
        print(
            f"{'':>22} chosen@{chosen.complexity} left out {500 * chosen.mae_cv:.2f} meV, inner "
            f"{500 * chosen.mae_cv_interior:.2f}: {to_infix(chosen.expression, chosen.constants, 4)}"
        )
    return found


def _best(front: list[Scored], length: int) -> Scored:
    return min((s for s in front if s.complexity <= length), key=lambda s: s.mse)


def triangles(db: Database, seed: int) -> None:
    """Vac_Mo with two Vac_S: one formula for every kind of pair and an offset, five-fold.

    What each distance contributes is first a free table, found with all structures; each table gets a formula by a
    search of its own; then all constants are fitted to the energies together. The forms come from all rows, the
    constants of every fold from the others.
    """
    r, same, y = _rows(db)
    config = LearnConfig(seed=seed, time_limit=30, max_tokens=READABLE)
    begin = time.perf_counter()
    found = [learn_kernel(task) for task in _table_tasks(r, same, y, config)]
    forms = [_best(kernel.front, READABLE) for kernel in found]
    sizes = np.cumsum([1, *(len(s.constants) for s in forms)])
    start = np.concatenate([[y.mean()], *(np.array(s.constants) for s in forms)])

    def model(theta: Floats) -> Floats:
        parts = [theta[a:b] for a, b in pairwise(sizes)]
        mixed, plane, across = (
            lambda x, s=s, p=p: np.broadcast_to(evaluate_numpy(s.expression, {"r": x}, p), x.shape)
            for s, p in zip(forms, parts, strict=True)
        )
        return theta[0] + mixed(r[0]) + mixed(r[1]) + np.where(same, plane(r[2]), across(r[2]))

    def fitted(rows: NDArray[np.bool_]) -> Floats:
        def error(theta: Floats) -> Floats:
            return np.nan_to_num((model(theta) - y)[rows], nan=1e3)

        scale = np.abs(start) + 1e-3
        best = least_squares(error, start, loss="soft_l1", f_scale=0.003, x_scale=scale, max_nfev=300)
        return np.asarray(best.x, dtype=np.float64)

    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    whole = np.abs(model(fitted(np.ones(len(y), dtype=bool))) - y).mean()
    left = np.concatenate([np.abs(model(fitted(fold != k)) - y)[fold == k] for k in range(FOLDS)])
    print(
        f"Vac_Mo + 2 Vac_S: {len(y)} structures, {len(start)} constants, per site {1000 * whole:.2f} meV in sample, "
        f"{1000 * left.mean():.2f} five-fold (median {1000 * np.median(left):.2f}), {time.perf_counter() - begin:.0f} s"
    )
    for kernel, form in zip(found, forms, strict=True):
        print(f"{kernel.task.label:>22} @{form.complexity} {to_infix(form.expression, form.constants, 4)}")


def _table_tasks(r: Floats, same: NDArray[np.bool_], y: Floats, config: LearnConfig) -> list[PairTask]:
    """One task for every kind of pair: its distances, their values of least absolute errors, how often each occurs."""
    kinds = [("Vac_Mo-Vac_S", np.concatenate([r[0], r[1]]), np.tile(np.arange(len(y)), 2))]
    for name, rows in (("two Vac_S, one layer", same), ("two Vac_S, opposite", ~same)):
        kinds.append((name, r[2][rows], np.nonzero(rows)[0]))
    blocks, distances, counts = [np.ones((len(y), 1))], [], []
    for _, x, row in kinds:
        distinct, place, count = np.unique(x.round(3), return_inverse=True, return_counts=True)
        block = np.zeros((len(y), len(distinct)))
        np.add.at(block, (row, place), 1.0)
        blocks.append(block)
        distances.append(distinct)
        counts.append(count)
    values = np.split(_least_absolute(np.hstack(blocks), y)[1:], np.cumsum([len(x) for x in distances])[:-1])
    return [
        PairTask(label=name, x=x[None], y=v - v.mean(), weight=n / n.mean(), config=config, device="cpu")
        for (name, _, _), x, v, n in zip(kinds, distances, values, counts, strict=True)
    ]


def _least_absolute(design: Floats, y: Floats, rounds: int = 60) -> Floats:
    """Coefficients of least absolute errors, by reweighting; the smallest of those that say the same."""
    weight = np.ones(len(y))
    for _ in range(rounds):
        root = np.sqrt(weight)
        beta = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        weight = 1 / np.maximum(np.abs(y - design @ beta), 2e-4)
    return np.asarray(beta, dtype=np.float64)


def _rows(db: Database) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Distances [Mo-S, Mo-S, S-S; structure], whether both S are in one layer, energies per site."""
    frame = db.frame(
        "SELECT list(p.distance ORDER BY p.label, p.pair_id) AS r, any_value(p.dz) FILTER (p.label = 'Vac_S-Vac_S') "
        "AS dz, any_value(t.value) AS y FROM pairs p JOIN structures s USING (structure_id) JOIN targets t "
        "USING (structure_id) WHERE s.descriptor = 'V3' AND t.target = 'formation_energy_per_site' "
        "GROUP BY structure_id ORDER BY structure_id"
    )
    return np.array(frame["r"].to_list()).T, np.abs(frame["dz"].to_numpy()) < 1.56, frame["y"].to_numpy()


def main(seed: int = 0) -> None:
    """Kernels, then triangles; skipped where the data are absent."""
    archive = DATA / "2dmd-train.zip"
    if not archive.exists():
        print(f"skipped: the shared data are absent ({DATA})")
        return
    with tempfile.TemporaryDirectory() as folder, open_database(Path(folder) / "d.duckdb", create=True) as db:
        load(db, [archive], options=Options(only=("2dmd-low-MoS2",)))
        kernels(db, seed)
        triangles(db, seed)


if __name__ == "__main__":
    main()
