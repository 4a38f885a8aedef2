"""Graphs of defects, many at a time: a node is a defect, an edge two defects at one periodic distance."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.network.graph.elements import atomic_numbers
from defectdb.learn.network.graph.shells import shells


@dataclass(frozen=True)
class Graphs:
    """The defects of many structures, laid out one structure after the other.

    Attributes:
        structure_ids: [structure]
        hosts: id of the pristine supercell [structure]
        materials: id of the material [structure]
        area: of the supercell [structure], square angstrom
        n_nodes, n_edges: numbers of defects and of edges [structure]
        labels: label of every defect [node]
        before, now: atomic number of the host's element and of the one there now, 0 for none [node]
        height: distance from the middle of the layer [node], angstrom
        first, second: nodes that an edge joins, counted over all structures [edge]
        distance: length of the edge, |dz| its part along c, angstrom [edge]
        dz: see ``distance``
        shell: rank of the distance in the plane among those of the two sublattices, 0 off the lattice [edge]
    """

    structure_ids: pl.Series
    hosts: pl.Series
    materials: pl.Series
    area: Floats
    n_nodes: Integers
    n_edges: Integers
    labels: pl.Series
    before: Integers
    now: Integers
    height: Floats
    first: Integers
    second: Integers
    distance: Floats
    dz: Floats
    shell: Integers

    def __len__(self) -> int:
        return len(self.n_nodes)


def load_graphs(db: Database, structure_ids: pl.Series, cutoff: float) -> Graphs:
    """Graphs of stored structures, in the order given, with edges up to ``cutoff`` angstrom.

    Pairs interact through the plane's periodic images, never through the vacuum. Raises UsageError for an element that
    is none.
    """
    ids = pl.DataFrame({"structure_id": structure_ids}).with_row_index("row")
    with db.registered(ids=ids):
        wanted = db.frame(
            'SELECT i."row", i.structure_id, s.structure_key, s.host_id, h.material_id, '
            "abs(h.a_x * h.b_y - h.a_y * h.b_x) AS area FROM ids AS i JOIN structures AS s USING (structure_id) "
            'JOIN hosts AS h USING (host_id) ORDER BY i."row"'
        )
    folder = resources.files("defectdb.learn.network.graph")
    with db.registered(wanted=wanted.select("row", "structure_key", "host_id")):
        nodes = db.frame((folder / "nodes.sql").read_text(encoding="utf-8"))
        edges = db.frame((folder / "edges.sql").read_text(encoding="utf-8"), {"cutoff": cutoff})
    n_nodes = _counts(nodes, len(ids))
    start = np.cumsum(n_nodes) - n_nodes
    row = edges["row"].to_numpy().astype(np.int64)
    first = start[row] + edges["first"].to_numpy()
    second = start[row] + edges["second"].to_numpy()
    return Graphs(
        structure_ids=wanted["structure_id"],
        hosts=wanted["host_id"],
        materials=wanted["material_id"],
        area=wanted["area"].to_numpy().copy(),
        n_nodes=n_nodes,
        n_edges=_counts(edges, len(ids)),
        labels=nodes["label"],
        before=atomic_numbers(nodes["element_from"]),
        now=atomic_numbers(nodes["element_to"]),
        height=nodes["height"].to_numpy().copy(),
        first=first,
        second=second,
        distance=edges["distance"].to_numpy().copy(),
        dz=edges["dz"].to_numpy().copy(),
        shell=shells(
            db, wanted["material_id"], nodes["sublattice"], row, first, second, edges["inplane"], cutoff
        ),
    )


def _counts(frame: pl.DataFrame, n: int) -> Integers:
    """How many rows of a frame every structure has [structure]."""
    return np.bincount(frame["row"].to_numpy().astype(np.int64), minlength=n).astype(np.int64)
