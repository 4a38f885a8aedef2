"""One gap or level model for both densities: what low density teaches, and its law where defects are many.

In a dilute cell one pair decides the gap. Among many defects the smallest (of HOMO levels the largest) value of all
single defects and pairs still says most of it; how many metal vacancies there are says the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, Number, Variable
from defectdb.learn.composition.dense_model import formula_kernel
from defectdb.learn.composition.law import GapLaw, learn_law
from defectdb.learn.composition.library import counting_texts, function_of, regime_texts, usable
from defectdb.learn.composition.structures import DenseStructures
from defectdb.learn.job import Job
from defectdb.learn.pairs.kernel_task import Kernel
from defectdb.schema.labels import COMPOSITION, count_variable

SATURATED = 20.0
"""tanh of this is 1 to double precision."""


@dataclass(frozen=True)
class LowDensity:
    """The structures that the deciding-level model is learned from.

    Attributes:
        n_defects: number of defects [structure]
        sites: sites of the pristine supercell [structure]
        values: what the model's terms give [structure], eV
        y: the target [structure], eV
    """

    n_defects: Floats
    sites: Floats
    values: Floats
    y: Floats


def deciding_values(
    data: DenseStructures, singles: Mapping[str, float], kernels: Sequence[Kernel], *, largest: bool
) -> Floats:
    """The smallest, or largest, value of all one-defect terms and pair kernels of every structure [structure], eV.

    Raises SelectionError for a defect that no 1-defect structure has a value of.
    """
    if missing := [kind for kind in data.kinds if kind not in singles]:
        raise SelectionError(
            f"{missing[0]} occurs in dense structures, and no 1-defect structure of it has a value; "
            "ingest one or leave these structures out with --where"
        )
    extreme, none = (np.maximum, -np.inf) if largest else (np.minimum, np.inf)
    own = np.where(data.numbers > 0, np.array([singles[kind] for kind in data.kinds]), none)
    values: Floats = own.max(1) if largest else own.min(1)
    pairs = data.pairs
    for kernel in kernels:
        task, best = kernel.task, kernel.best
        there = (pairs.labels == task.label) & (pairs.dz >= task.dz_min) & (pairs.dz < task.dz_max)
        each = np.zeros(int(there.sum())) + evaluate_numpy(
            best.expression, {"r": pairs.r[there], "dz": pairs.dz[there]}, best.constants
        )
        extreme.at(values, pairs.rows[there], each)
    return values


def law_by_regime(data: DenseStructures, deciding: Floats, name: str) -> GapLaw:
    """The law in the deciding value (variable ``name``), concentrations, and which vacancies there are how often."""
    variables = {**data.variables, name: deciding}
    counts = counting_texts(data.kinds, float(data.sites.mean()))
    scalars = [name, f"square {name}", *(text for texts in counts for text in (texts[0], texts[2]))]
    vacancies = [count_variable(kind) for kind in data.kinds if kind.startswith("Vac_")]
    regimes = regime_texts(*vacancies) if len(vacancies) == 2 else []
    texts = [*scalars, *regimes, *(f"mul {regime} {scalar}" for regime in regimes for scalar in scalars)]
    return learn_law(data.y, data.fold, [usable([function_of(text, variables) for text in texts])])


def above_density(low: LowDensity, data: DenseStructures) -> Expression:
    """A function that is 0 at the concentrations of all low structures and 1 at those of all dense ones.

    Raises SelectionError where the concentrations overlap.
    """
    dilute = float((low.n_defects / low.sites).max())
    dense = float((data.numbers.sum(1) / data.sites).min())
    if dilute >= dense:
        raise SelectionError(
            f"supercells with 1-defect structures reach {dilute:.4f} defects per site and those without begin at "
            f"{dense:.4f}: one law cannot tell them apart; leave one kind out with --where"
        )
    middle = float(f"{(dilute + dense) / 2:.3g}")
    steep = np.ceil(SATURATED / min(middle - dilute, dense - middle) / 1000) * 1000
    share = Call("sub", (Call("div", (Variable("n"), Variable("sites"))), Number(middle)))
    step = Call("tanh", (Call("mul", (Number(float(steep)), share)),))
    return Call("div", (Call("add", (Number(1.0), step)), Number(2.0)))


def replacing_term(
    job: Job, low: LowDensity, data: DenseStructures, law: GapLaw, deciding: Floats, name: str
) -> Kernel:
    """The composition formula that leaves low density as it is and puts the law in its place where defects are many."""
    tree, constants = law.formula()
    whole = Call("mul", (above_density(low, data), Call("sub", (tree, Variable("v")))))
    # of dense structures v is taken as 0: the formula replaces it, so that its error is that of the law
    dense = {**data.variables, "v": np.zeros(len(data.y)), name: deciding}
    none = np.zeros(len(low.y))
    dilute = {**dict.fromkeys(dense, none), "n": low.n_defects, "sites": low.sites}
    dilute |= {"v": low.values, name: low.values}
    variables = {key: np.concatenate([dilute[key], dense[key]]) for key in dense}
    y = np.concatenate([low.y - low.values, data.y])
    return formula_kernel(
        job, COMPOSITION, variables, y, whole, constants, blind=float(np.abs(law.residual_cv).mean())
    )


def low_density(db: Database, job: Job, frame: pl.DataFrame, residual: Floats) -> LowDensity:
    """The structures of ``frame`` (structure_id, n_defects, value), whose targets the model misses by ``residual``
    [structure], eV, and before them those with one defect.
    """
    rows = frame.select("structure_id").with_row_index("row")
    with db.registered(chosen=rows):
        sites = db.frame(
            "SELECT h.n_sites FROM chosen AS c JOIN structures USING (structure_id) JOIN hosts AS h USING (host_id) "
            'ORDER BY c."row"'
        )["n_sites"].to_numpy()
    singles = db.frame(
        "SELECT o.value, h.n_sites FROM one_defect_energies AS o JOIN hosts AS h USING (host_id) "
        "WHERE h.material_id = ? AND o.target = ? AND o.charge = 0 ORDER BY ALL",
        [job.material, job.target],
    )
    alone, y = singles["value"].to_numpy(), frame["value"].to_numpy()
    return LowDensity(
        np.concatenate([np.ones(len(alone)), frame["n_defects"].to_numpy()]),
        np.concatenate([singles["n_sites"].to_numpy(), sites]).astype(float),
        np.concatenate([alone, y - residual]),
        np.concatenate([alone, y]),
    )
