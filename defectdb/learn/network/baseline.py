"""What the numbers of defects say by themselves: reference energies that the network need not learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.expressions.arrays import Flags, Floats, Integers
from defectdb.learn.network.graph.graphs import Graphs

_RIDGE = 1e-6  # keeps kinds apart that always come in fixed proportion; of no weight beside the data
_LEAST_SCALE = 1e-12  # eV: where nothing is left to learn, the network adds nothing


@dataclass(frozen=True)
class Baseline:
    """A value per site that is linear in the share of each kind of defect and in one over their number.

    For an energy: reference energies of the defects alone plus the host's offset, spread over n sites.

    Attributes:
        materials: ids of the materials learned
        kinds: ``material label`` of every kind of defect, sorted
        values: of each kind [kind], eV
        offsets: of one over the number of defects [material], eV
        mean, scale: of what is left, eV
    """

    materials: tuple[str, ...]
    kinds: tuple[str, ...]
    values: tuple[float, ...]
    offsets: tuple[float, ...]
    mean: float
    scale: float

    def predict(self, graphs: Graphs) -> Floats:
        """The value of every structure [structure]; NaN where it holds a kind of defect that was not learned."""
        design, known = _design(graphs, self.materials, self.kinds)
        found = design @ np.array([*self.values, *self.offsets])
        value: Floats = np.where(known, found, np.nan)
        return value


def fit_baseline(graphs: Graphs, y: Floats, trained: Flags) -> Baseline:
    """Least squares over the structures of the training; ``y`` the target of each [structure], eV.

    Kinds of defects that occur nowhere in the training stay unknown.
    """
    row = np.repeat(np.arange(len(graphs)), graphs.n_nodes)
    materials = tuple(sorted(set(graphs.materials.filter(pl.Series(trained)))))
    kinds = tuple(sorted(set(pl.Series(node_kinds(graphs)).filter(pl.Series(trained[row])))))
    design, _ = _design(graphs, materials, kinds)
    design, y = design[trained], y[trained]
    ridge = _RIDGE * len(y) * np.eye(design.shape[1])
    found = np.linalg.solve(design.T @ design + ridge, design.T @ y)
    left = y - design @ found
    scale = float(left.std()) if len(left) > 1 else 0.0
    values = tuple(float(x) for x in found)
    return Baseline(
        materials,
        kinds,
        values[: len(kinds)],
        values[len(kinds) :],
        float(left.mean()),
        max(scale, _LEAST_SCALE),
    )


def node_kinds(graphs: Graphs) -> list[str]:
    """``material label`` of every defect [node]."""
    row = np.repeat(np.arange(len(graphs)), graphs.n_nodes)
    kinds: list[str] = (graphs.materials.gather(row) + " " + graphs.labels).to_list()
    return kinds


def _design(graphs: Graphs, materials: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[Floats, Flags]:
    """Shares of the kinds and one over the number of defects by material [structure, term]; which are all known."""
    row = np.repeat(np.arange(len(graphs)), graphs.n_nodes)
    column = (
        pl.Series(node_kinds(graphs), dtype=pl.String)
        .replace_strict(list(kinds), range(len(kinds)), default=-1, return_dtype=pl.Int64)
        .to_numpy()
    )
    place = material_numbers(graphs, materials)
    design = np.zeros((len(graphs), len(kinds) + len(materials)))
    share = 1.0 / graphs.n_nodes[row]
    np.add.at(design, (row[column >= 0], column[column >= 0]), share[column >= 0])
    inside = place >= 0
    design[np.flatnonzero(inside), len(kinds) + place[inside]] = 1.0 / graphs.n_nodes[inside]
    strange = np.bincount(row[column < 0], minlength=len(graphs))
    return design, inside & (strange == 0)


def material_numbers(graphs: Graphs, materials: tuple[str, ...]) -> Integers:
    """Number of every structure's material among ``materials`` [structure], -1 for none of them."""
    numbers: Integers = graphs.materials.replace_strict(
        list(materials), range(len(materials)), default=-1, return_dtype=pl.Int64
    ).to_numpy()
    return numbers
