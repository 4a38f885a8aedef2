"""The views over structures, pairs and targets against plain Python over the same toy structures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.schema.labels import join_labels


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    with open_database(":memory:") as opened:
        toy.fill(opened, n=80)
        yield opened


def test_triples_stand_in_the_smallest_order_that_sorts_their_labels(db: Database) -> None:
    found = db.frame("SELECT * FROM triples ORDER BY structure_id")
    expected = []
    for number, members in enumerate(toy.configurations(80)):
        if len(members) != 3:
            continue
        orders = []
        for a, b, c in itertools.permutations(members):
            if [a.label, b.label, c.label] != sorted(m.label for m in members):
                continue
            edges = [toy.vector(*pair) for pair in ((a, b), (a, c), (b, c))]
            lengths = tuple(math.hypot(*edge) for edge in edges)
            heights = tuple(abs(edge[2]) for edge in edges)
            orders.append((tuple(round(x, 6) for x in lengths), heights, lengths))
        _, heights, lengths = min(orders)
        expected.append((f"s{number:04}", join_labels(m.label for m in members), *lengths, *heights))
    assert found.height == len(expected) == 40
    for row, wanted in zip(found.rows(), expected, strict=True):
        assert row[:2] == wanted[:2]
        assert row[2:8] == pytest.approx(wanted[2:], abs=1e-6)


def test_pair_energies_are_formation_energies_less_the_two_defects_alone(db: Database) -> None:
    frame = db.frame("SELECT * FROM pair_energies ORDER BY structure_id")
    pairs = [m for m in toy.configurations(80) if len(m) == 2]
    assert frame.height == len(pairs)
    for row, (a, b) in zip(frame.iter_rows(named=True), pairs, strict=True):
        assert row["label"] == join_labels((a.label, b.label))
        assert (row["energy_i"], row["energy_j"]) == (toy.ENERGIES[a.label], toy.ENERGIES[b.label])
        kernel = toy.energy_kernel(row["label"], row["distance"], row["dz"])
        assert row["pair_energy"] == pytest.approx(kernel + toy.OFFSET, abs=1e-12)


def test_the_host_offset_is_the_median_of_far_pairs(db: Database) -> None:
    raw = db.frame("SELECT pair_energy FROM pair_energies WHERE distance > 9")["pair_energy"]
    [(value, n_pairs)] = db.frame("SELECT value, n_pairs FROM host_offsets").rows()
    assert n_pairs == raw.len()
    assert value == pytest.approx(raw.median(), abs=1e-15)
    gap = db.frame("SELECT max(abs(interaction - pair_energy + ?)) AS gap FROM pair_energies", [value])
    assert gap.item() < 1e-15


def test_without_far_pairs_the_farthest_third_gives_the_host_offset() -> None:
    with open_database(":memory:") as db:
        toy.fill(db, n=80)
        with db.transaction():
            db.execute("DELETE FROM pairs WHERE distance > 8.5")
        raw = db.frame("SELECT distance, pair_energy FROM pair_energies").sort("distance", descending=True)
        value, n_pairs = db.frame("SELECT value, n_pairs FROM host_offsets").row(0)
        assert 0.25 < n_pairs / raw.height < 0.42
        assert value == pytest.approx(raw.head(n_pairs)["pair_energy"].median(), abs=1e-15)


def test_of_two_spin_channels_the_levels_nearest_to_the_gap_count() -> None:
    rows = [("a", "homo", 1.0, "majority"), ("a", "homo", 2.0, "minority"), ("a", "lumo", 3.0, "majority"),
            ("a", "lumo", 3.5, "minority"), ("b", "homo", 5.0, ""), ("b", "homo", 9.0, "majority"),
            ("a", "total_mag", 1.0, "majority")]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["structure_id", "target", "value", "spin"], orient="row")
    with open_database(":memory:") as db:
        with db.transaction():
            db.append("targets", frame.with_columns(unit=pl.lit("eV"), source=pl.lit("test")))
        values = db.frame("SELECT structure_id, target, value FROM target_values ORDER BY ALL").rows()
        wide = db.frame("SELECT structure_id, homo, lumo FROM targets_wide ORDER BY ALL").rows()
    assert values == [("a", "homo", 2.0), ("a", "lumo", 3.0), ("b", "homo", 5.0)]
    assert wide == [("a", 2.0, 3.0), ("b", 5.0, None)]
