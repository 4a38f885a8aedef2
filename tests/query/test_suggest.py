"""Suggested calculations: where formulas disagree, often and apart from one another and from what is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import toy_database as toy

from defectdb.db import open_database
from defectdb.errors import UsageError
from defectdb.query.placements.expected_gain import Unknown, choose, covariance
from defectdb.query.placements.suggest import suggest

R = np.arange(3.0, 12.0, 0.5)


def unknown(
    r: np.ndarray = R, share: np.ndarray | None = None, known: tuple[float, ...] = (), formulas=()
) -> Unknown:  # type: ignore[no-untyped-def,type-arg]
    share = np.full(len(r), 1 / len(r)) if share is None else share
    rows = np.array(list(formulas)).reshape(-1, len(r))
    at = np.array(known)
    return Unknown(r, share, at, 0.5 * at**-2.0, rows, np.ones(len(rows)))


def test_a_batch_spreads_and_stays_off_computed_distances() -> None:
    picks = choose([unknown(known=(3.0, 5.0))], 3)
    chosen = [R[p.candidate] for p in picks]
    assert min(abs(a - b) for i, a in enumerate(chosen) for b in chosen[:i]) >= 1.5
    assert min(abs(a - b) for a in chosen for b in (3.0, 5.0)) >= 0.5
    assert [p.gain for p in picks] == sorted((p.gain for p in picks), reverse=True)
    assert sum(p.gain for p in picks) <= 1.0


def test_what_occurs_often_comes_first() -> None:
    rare, frequent = np.full(len(R), 0.01), np.full(len(R), 0.09)
    [pick] = choose([unknown(share=rare), unknown(share=frequent)], 1)
    assert pick.kernel == 1


def test_where_formulas_disagree_comes_first() -> None:
    far = [np.where(R > 9, sign * 0.3, 0.0) for sign in (-1, 1)]
    [pick] = choose([unknown(known=(3.0, 4.0, 5.0, 6.0, 7.0, 8.0), formulas=far)], 1)
    assert R[pick.candidate] > 9
    assert pick.doubt == pytest.approx(0.3, rel=0.05)


def test_the_covariance_is_that_of_a_process_that_knows_the_computed_values() -> None:
    """Against the textbook's joint Gaussian: the inverse of the joint precision restricted to the candidates."""
    case = unknown(known=(4.0, 6.5))
    found, _ = covariance(case, 0.5)
    every = np.concatenate([R, case.known_r])
    size = 0.5 * every**-2.0
    joint = size[:, None] * size[None, :] * np.exp(-0.5 * ((every[:, None] - every[None, :]) / 1.2) ** 2)
    joint[len(R) :, len(R) :] += np.diag((0.02 * size[len(R) :]) ** 2 + 1e-12)
    jitter = 1e-9 * np.eye(len(every))
    expected = np.linalg.inv(np.linalg.inv(joint + jitter)[: len(R), : len(R)])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_pairs_that_are_not_stored_are_suggested_with_reasons(tmp_path: Path) -> None:
    with open_database(tmp_path / "toy.duckdb", create=True) as db:
        toy.fill(db, n=60)
        stored = set(db.frame("SELECT label || round(distance, 1) AS k FROM pair_energies")["k"])
        found = suggest(db, "MoS2", "8,8,1", 5, "formation_energy")
        assert found.frame.height == 5 == len(found.sites) == len(found.labels)
        assert stored.isdisjoint(
            f"{r['label']}{round(r['distance'], 1)}" for r in found.frame.iter_rows(named=True)
        )
        assert found.frame["drop_percent"].is_sorted(descending=True)
        with db.transaction():
            db.execute("UPDATE hosts SET energy = NULL")
        with pytest.raises(UsageError, match=r"no host of MoS2 has an energy.*pristine 8x8x1 first"):
            suggest(db, "MoS2", "8,8,1", 5, "formation_energy")
