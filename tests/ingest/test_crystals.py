"""One crystal in cells of other vacuum, origin, stacking height, orientation and site order is one material."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectdb.ingest.matching.crystals import layer_in
from defectdb.ingest.matching.unit_cells import material_of
from defectdb.ingest.records import UnitCell

PLACES = np.array([[1 / 3, 2 / 3, 0.0], [2 / 3, 1 / 3, -1.565], [2 / 3, 1 / 3, 1.565]])
NUMBERS = np.array([42, 16, 16], dtype=np.uint8)


def cell(
    a=3.1903, c=14.879, shift=(0.0, 0.0, 4.0), *, sixty=False, order=(0, 1, 2), flipped=False, numbers=NUMBERS
):
    """MoS2 in a unit cell of one's liking; heights are in angstrom."""
    angle = np.radians(120)
    lattice = np.array([[a, 0, 0], [a * np.cos(angle), a * np.sin(angle), 0], [0, 0, c]])
    frac = PLACES * (1, 1, -1 if flipped else 1) + shift
    frac[:, 2] /= c
    if sixty:
        turn = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
        lattice, frac = turn @ lattice, frac @ np.linalg.inv(turn)
    chosen = list(order)
    return UnitCell("MoS2", lattice, numbers[chosen], frac[chosen] % 1.0)


def moved(x, y, z):
    """The places of ``cell()`` with the last atom moved (fractions)."""
    frac = cell().frac
    frac[2] += (x, y, z)
    return frac


KNOWN = material_of(cell())


@given(
    st.floats(10, 40), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans(),
    st.permutations([0, 1, 2]),
)  # fmt: skip
def test_vacuum_origin_height_orientation_and_order_do_not_make_another_material(
    c, x, y, z, sixty, flipped, order
):
    other = material_of(cell(c=c, shift=(x, y, z * c), sixty=sixty, flipped=flipped, order=order))
    same = layer_in(KNOWN, other)
    assert same is not None
    assert same.material_id == "MoS2"
    assert same.numbers.tolist() == NUMBERS.tolist()
    assert same.lattice[2, 2] == pytest.approx(c)
    between = (same.frac - same.frac[0]) @ same.lattice
    expected = (KNOWN.frac - KNOWN.frac[0]) @ KNOWN.lattice
    np.testing.assert_allclose(np.abs(between[:, 2]), np.abs(expected[:, 2]), atol=1e-6)
    plane = np.linalg.solve(KNOWN.lattice[:2, :2].T, (between - expected)[:, :2].T)
    turned = np.linalg.solve(KNOWN.lattice[:2, :2].T, (between + expected)[:, :2].T)
    assert min(np.abs(p - np.round(p)).max() for p in (plane, turned)) < 1e-6


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(cell(a=3.21), id="a lattice half a per cent longer"),
        pytest.param(cell(numbers=np.array([74, 16, 16], dtype=np.uint8)), id="another element"),
        pytest.param(UnitCell("MoS2", cell().lattice, NUMBERS, moved(0, 0, 0.01)),
                     id="a thicker layer"),
        pytest.param(UnitCell("MoS2", cell().lattice, NUMBERS, moved(1 / 3, 1 / 3, 0)),
                     id="octahedral instead of prismatic"),
    ],
)  # fmt: skip
def test_another_crystal_is_none_of_it(other):
    assert layer_in(KNOWN, material_of(other)) is None
