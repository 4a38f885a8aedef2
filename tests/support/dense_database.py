"""The toy database with a second supercell that holds dense structures only, whose gaps follow a known law."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from support import toy_database as toy

from defectdb.db import Database

DENSE_HOST = "MoS2 8x8x1 dense"

Law = Callable[[tuple[toy.Placed, ...]], float]


def dense_configurations(n: int, seed: int = 1) -> list[tuple[toy.Placed, ...]]:
    """``n`` structures with four to twelve defects on different sites."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        placed: dict[tuple[int, int, int], toy.Placed] = {}
        wanted = rng.randint(4, 12)
        shares = [rng.random() for _ in toy.ENERGIES]
        while len(placed) < wanted:
            [label] = rng.choices(list(toy.ENERGIES), shares)
            layer = rng.choice([1, -1]) if label == "Vac_S" else 0
            member = toy.Placed(label, rng.randrange(toy.CELLS), rng.randrange(toy.CELLS), layer)
            placed.setdefault((member.i, member.j, member.layer), member)
        found.append(tuple(placed.values()))
    return found


def fill_dense(
    db: Database, law: Law, n: int = 200, *, alone: bool, low: int = 60
) -> dict[str, tuple[tuple[toy.Placed, ...], float]]:
    """Load toy and dense structures, or the dense ones ``alone``; these with their gaps, by id ``d0000`` ..."""
    toy.fill(db, 0 if alone else low)
    members = dense_configurations(n)
    with db.transaction():
        db.append("hosts", db.frame(f"SELECT * REPLACE ('{DENSE_HOST}' AS host_id) FROM hosts"))
        toy._fill_structures(db, list(members), "d")
        db.execute("UPDATE structures SET host_id = ? WHERE starts_with(structure_id, 'd')", [DENSE_HOST])
        if alone:
            _drop_low(db)
        found = {f"d{i:04}": (m, law(m)) for i, m in enumerate(members)}
        for key, (_, value) in found.items():
            set_gap(db, key, value)
    return found


def set_gap(db: Database, structure_id: str, value: float | None) -> None:
    """Give a structure this gap, or none."""
    where = "structure_id = ? AND target = 'homo_lumo_gap'"
    if value is None:
        db.execute(f"DELETE FROM targets WHERE {where}", [structure_id])
    else:
        db.execute(f"UPDATE targets SET value = ? WHERE {where}", [value, structure_id])


def _drop_low(db: Database) -> None:
    for table in ("targets", "pairs", "defects", "structures"):
        db.execute(f"DELETE FROM {table} WHERE starts_with(structure_id, 's')")
    db.execute("DELETE FROM hosts WHERE host_id <> ?", [DENSE_HOST])


def number_of(members: Sequence[toy.Placed], label: str) -> int:
    """How many defects have the label."""
    return sum(m.label == label for m in members)


def smallest_of_all(members: tuple[toy.Placed, ...]) -> float:
    """The smallest one-defect gap and pair gap of the toy, eV."""
    return min(toy.gap(members), *(toy.GAPS[m.label] for m in members))


def counting_law(members: tuple[toy.Placed, ...]) -> float:
    """1.5 eV, less 0.5 eV where an Mo is missing, less 6 eV times the concentration of S vacancies."""
    here = math.tanh(20 * number_of(members, "Vac_Mo"))
    return 1.5 - 0.5 * here - 6 * number_of(members, "Vac_S") / 192
