"""Structures of one data set as numbers: what linear models of defects and pairs are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.db import Database
from defectdb.db.scope import IN_SCOPE, Scope
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.material.structures import N_FOLDS

SAME_DISTANCE_DIGITS = 3
"""Pairs of one label whose distance and |dz| agree to so many digits after the point (angstrom) are of one class."""


@dataclass(frozen=True)
class PeerRows:
    """Structures of one data set with a value of one target.

    Attributes:
        labels: defect labels, sorted
        n_defects [structure]: number of defects
        fold [structure]: which of five folds it belongs to, by a hash of its id
        y [structure]: value of the target, eV; of a formation energy the total one
        counts [structure, label]: number of defects of each label
        composition [structure]: number of the set of defects that it holds
        classes [structure, class]: number of pairs of each class
        class_members [class, 2]: the labels of its two defects, as columns of ``counts``
        reach [class]: distance of the pairs of each class, angstrom
    """

    labels: tuple[str, ...]
    n_defects: Integers
    fold: Integers
    y: Floats
    counts: Floats
    composition: Integers
    classes: Floats
    class_members: Integers
    reach: Floats


def peer_rows(db: Database, scope: Scope, target: str) -> PeerRows:
    """The structures in scope with a value of the target, by structure_id."""
    frame = db.frame(
        f"""
        SELECT s.structure_key, s.n_defects, s.defect_labels, t.value,
            CAST(CAST('0x' || substr(md5(s.structure_id), 1, 8) AS UBIGINT) % $folds AS INTEGER) AS fold
        FROM structures AS s
        JOIN hosts AS h USING (host_id)
        JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = $target
        WHERE {IN_SCOPE} AND s.n_defects > 0 AND s.charge = 0
        ORDER BY s.structure_id
        """,
        {**scope.parameters(), "target": target, "folds": N_FOLDS},
    )
    with db.registered(peers=frame.select("structure_key").with_row_index("row")):
        pairs = db.frame(
            'SELECT p."row", a.label AS first, b.label AS second, q.label, round(q.distance, $digits) AS r, '
            "round(q.dz, $digits) AS dz FROM peers AS p JOIN pairs AS q USING (structure_key) "
            "JOIN defects AS a ON a.structure_key = q.structure_key AND a.idx = q.defect_i "
            "JOIN defects AS b ON b.structure_key = q.structure_key AND b.idx = q.defect_j",
            {"digits": SAME_DISTANCE_DIGITS},
        )
        defects = db.frame('SELECT p."row", d.label FROM peers AS p JOIN defects AS d USING (structure_key)')
    labels, column = np.unique(defects["label"].to_numpy().astype(str), return_inverse=True)
    counts = np.zeros((frame.height, len(labels)))
    np.add.at(counts, (defects["row"].to_numpy(), column), 1.0)
    keys = pairs.select("label", "r", "dz").unique().sort("label", "r", "dz").with_row_index("class")
    numbered = pairs.join(keys, on=["label", "r", "dz"])
    classes = np.zeros((frame.height, keys.height))
    np.add.at(classes, (numbered["row"].to_numpy(), numbered["class"].to_numpy()), 1.0)
    members = numbered.unique("class").sort("class").select("first", "second").to_numpy().astype(str)
    return PeerRows(
        tuple(map(str, labels)),
        frame["n_defects"].to_numpy().astype(np.int64),
        frame["fold"].to_numpy().astype(np.int64),
        frame["value"].to_numpy().copy(),
        counts,
        np.unique(frame["defect_labels"].to_numpy().astype(str), return_inverse=True)[1].astype(np.int64),
        classes,
        np.searchsorted(labels, members).reshape(-1, 2).astype(np.int64),
        keys["r"].to_numpy().copy(),
    )
