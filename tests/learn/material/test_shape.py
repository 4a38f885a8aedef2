"""Three-body terms made of functions of one edge: products at a corner, functions beside a third defect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectdb.engine.safety.domain import Domain
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_prefix, variables
from defectdb.learn.material.placed_formulas import Function, edge_part, pair_part, product_part
from defectdb.learn.material.structures import TRIPLE_VARIABLES, Block, Triples
from defectdb.learn.material.terms import Shape, corners_of, edge_blocks, edge_values, product_design
from defectdb.learn.material.value_tables import fit_tables, paying_shape

RADII = np.array([2.4, 4.0, 5.1, 6.8, 8.2])
LIKE = "Vac_Mo-Vac_S-Vac_S"
UNLIKE = "Se_S-Vac_Mo-Vac_S"
HEIGHT = 3.13


def formula(text: str, *constants: float, high: float = 9.0) -> Function:
    return Function.guarded(from_prefix(text.split()), constants, domain(high=high))


def domain(low: float = -9.0, high: float = 9.0) -> Domain:
    """Wide open: nothing but values beyond the bounds is refused."""
    import torch

    return Domain(torch.linspace(2.0, 9.0, 50, dtype=torch.float64)[None], 50, low, high, np.inf)


def triples(label: str, seed: int, n: int = 400) -> Triples:
    """One triple a structure at random classes: Mo-S edges at one height, S-S edges at two."""
    rng = np.random.default_rng(seed)
    x = np.zeros((6, n))
    x[:3] = rng.choice(RADII, size=(3, n))
    x[3:] = HEIGHT / 2
    across = 5 if label == LIKE else 4
    x[across] = rng.choice([0.0, HEIGHT], size=n)
    return Triples(label, x, np.arange(n))


def pair_blocks(t: Triples) -> list[Block]:
    """The pair kernel of the edges r12 and r13 together."""
    counts = np.zeros((len(t.rows), len(RADII)))
    for edge in (0, 1):
        np.add.at(counts, (t.rows, np.searchsorted(RADII, t.x[edge])), 1.0)
    return [Block("Vac_Mo-Vac_S", 0.0, 1e9, RADII, 0.0, counts)]


def factor(r: np.ndarray) -> np.ndarray:
    return np.where(r < 6, 0.4, -0.3)


def test_a_corner_must_look_the_same_when_like_defects_are_exchanged() -> None:
    assert {c.edges for c in corners_of(triples(LIKE, 0))} == {("r12", "r13")}
    assert [c.sign for c in corners_of(triples(LIKE, 0))] == [1.0, -1.0]
    assert {c.edges for c in corners_of(triples(UNLIKE, 0))} == {("r12", "r23")}
    assert corners_of(triples("Vac_S-Vac_S-Vac_S", 0)) == []


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_product_is_found_beside_the_pair_kernels_and_outliers(sign: float) -> None:
    t = triples(LIKE, 1)
    [block] = pair_blocks(t)
    y = block.counts @ np.exp(-0.3 * RADII) + sign * factor(t.x[0]) * factor(t.x[1])
    y[:10] += 5.0
    everything = np.ones(len(y), dtype=bool)
    shape = paying_shape([block], [t], y, np.arange(len(y)) % 5, everything)
    assert [c.sign for c in shape.corners] == [sign]
    assert np.abs(shape.tables.residual[10:]).max() < 0.02


def test_every_function_of_a_shape_has_a_name_of_its_own() -> None:
    t = triples(LIKE, 12)
    plain, negative = corners_of(t)
    corners = [plain, negative, replace(plain, rank=2), *corners_of(triples(UNLIKE, 12))]
    blocks = [*pair_blocks(t), *(b for e in edge_blocks(t, len(t.rows)) for b in e)]
    start = fit_tables(blocks, corners, np.zeros(len(t.rows)), np.ones(len(t.rows), dtype=bool), rounds=1)
    shape = Shape(blocks, corners, start)
    names = [shape.function(place)[:2] for place in shape.places()]
    assert len(set(names)) == len(names) == len(blocks) + 3 + 2


def test_what_does_not_pay_is_not_taken() -> None:
    t = triples(LIKE, 2)
    [block] = pair_blocks(t)
    y = block.counts @ np.exp(-0.3 * RADII) + np.random.default_rng(3).normal(0, 0.01, len(t.rows))
    shape = paying_shape([block], [t], y, np.arange(len(y)) % 5, np.ones(len(y), dtype=bool))
    assert shape.corners == []
    assert shape.blocks == [block]


def test_the_design_of_a_product_is_its_derivative() -> None:
    for label in (LIKE, UNLIKE):
        corner = corners_of(triples(label, 4, n=60))[-1]
        rng = np.random.default_rng(5)
        u = rng.normal(size=len(corner.first))
        v = u if corner.shared else rng.normal(size=len(corner.second))
        total, by_first, _ = product_design(corner, (u, v), 60)
        step = 1e-6 * rng.normal(size=len(u))
        moved, _, _ = product_design(corner, (u + step, v + step if corner.shared else v), 60)
        np.testing.assert_allclose(moved - total, by_first @ step, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(a=st.floats(-2, 2), b=st.floats(-1, 1), sign=st.sampled_from([1.0, -1.0]))
def test_a_shared_factor_stands_twice_in_its_formula_with_the_same_constants(
    a: float, b: float, sign: float
) -> None:
    t = triples(LIKE, 6, n=50)
    corner = next(c for c in corners_of(t) if c.sign == sign)
    one = formula("mul c0 exp mul c1 r", a, b)
    part = product_part(corner, one, one)
    assert part.constants == (a, b)
    assert variables(part.expression) == ("r12", "r13")
    expected = sign * a * a * np.exp(b * (t.x[0] + t.x[1]))
    np.testing.assert_allclose(part.values(), expected, rtol=1e-9, atol=1e-12)
    swapped = {"r12": part.x["r13"], "r13": part.x["r12"]}
    np.testing.assert_allclose(
        evaluate_numpy(part.expression, swapped, part.constants), expected, rtol=1e-9, atol=1e-12
    )


def test_two_factors_keep_their_own_constants_and_guards() -> None:
    corner = corners_of(triples(UNLIKE, 7, n=50))[0]
    first = formula("mul c0 r", 0.5, high=5.0)
    part = product_part(corner, first, formula("add c0 div c1 r", 0.1, 2.0, high=2.0))
    assert part.constants == (0.5, 0.1, 2.0)
    assert part.safe()
    expected = 0.5 * part.x["r12"] * (0.1 + 2.0 / part.x["r23"])
    np.testing.assert_allclose(part.values(), expected)
    tight = product_part(corner, first, formula("add c0 div c1 r", 0.1, 2.0, high=1.0))
    assert not tight.safe()


def test_a_sum_of_two_functions_keeps_both_guards() -> None:
    [block] = pair_blocks(triples(LIKE, 11))
    both = formula("mul c0 r", 0.5, high=5.0) + formula("div c0 r", 3.0, high=2.0)
    assert both.constants == (0.5, 3.0)
    part = pair_part(block, both)
    np.testing.assert_allclose(part.values(), 0.5 * RADII + 3.0 / RADII)
    assert part.safe()
    assert not replace(part, constants=(0.5, 5.0)).safe()
    assert not replace(part, constants=(0.9, 3.0)).safe()


def test_an_edge_in_two_layers_has_a_function_for_each() -> None:
    t = triples(LIKE, 8)
    blocks = next(e for e in edge_blocks(t, len(t.rows)) if e[0].edges == ("r23",))
    assert [b.heights for b in blocks] == [(0.0, HEIGHT), (HEIGHT, 0.0)]
    same, across = (formula("mul c0 exp mul c1 r", 1.0, -0.2), formula("div c0 r", 3.0))
    parts = [edge_part(block, t, one) for block, one in zip(blocks, (same, across), strict=True)]
    r, dz = (t.x[TRIPLE_VARIABLES.index(name)] for name in ("r23", "dz23"))
    expected = np.where(dz < 1.5, np.exp(-0.2 * r), 3.0 / r)
    np.testing.assert_allclose(parts[0].values() + parts[1].values(), expected, rtol=1e-6)
    tables = [np.exp(-0.2 * blocks[0].r), 3.0 / blocks[1].r]
    by_table = sum(edge_values(b, t, v) for b, v in zip(blocks, tables, strict=True))
    np.testing.assert_allclose(by_table, expected, rtol=1e-6)
    np.testing.assert_allclose(by_table, sum(b.counts @ v for b, v in zip(blocks, tables, strict=True)))


def test_edges_to_like_defects_share_one_function() -> None:
    t = triples(LIKE, 9)
    [block] = next(e for e in edge_blocks(t, len(t.rows)) if len(e[0].edges) == 2)
    part = edge_part(block, t, formula("mul c0 square r", 0.1))
    np.testing.assert_allclose(part.values(), 0.1 * (t.x[0] ** 2 + t.x[1] ** 2))


def test_tables_start_from_tables_of_fewer_terms() -> None:
    t = triples(LIKE, 10)
    [block] = pair_blocks(t)
    corner = corners_of(t)[0]
    y = block.counts @ np.exp(-0.3 * RADII) + factor(t.x[0]) * factor(t.x[1])
    everything = np.ones(len(y), dtype=bool)
    pairs_only = fit_tables([block], [], y, everything)
    both = fit_tables([block], [corner], y, everything, pairs_only)
    assert np.abs(both.residual).mean() < 0.05 * np.abs(pairs_only.residual).mean()
