"""Formulas exchanged for shorter ones of their fronts, and how long the functions of a term may be."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.safety.domain import Domain
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import complexity, from_prefix
from defectdb.learn.material.exchange import shortened
from defectdb.learn.material.formulas import Formulas
from defectdb.learn.material.placed_formulas import Function, edge_part, pair_part, product_part
from defectdb.learn.material.structures import Block, ModelData, Triples
from defectdb.learn.material.tasks import shape_tasks
from defectdb.learn.material.terms import Corner, Shape, Tables, corners_of, edge_blocks
from defectdb.learn.pairs.kernel_task import Kernel
from defectdb.learn.select import Selection

RADII = np.array([2.4, 3.2, 4.0, 5.1, 6.4, 8.2, 9.3, 11.3])
FUNCTIONS = ("r", "exp r", "mul c0 exp mul c1 r", "add c0 mul c1 cos mul c2 square r")


def data_of(blocks: tuple[Block, ...], y: np.ndarray) -> ModelData:
    n = len(y)
    selection = Selection(pl.DataFrame({"structure_id": [str(i) for i in range(n)]}), "", "")
    return ModelData(selection, np.full(n, 3), y, np.arange(n) % 5, blocks, ())


def counts(seed: int, n: int = 200) -> np.ndarray:
    return (
        np.random.default_rng(seed).multinomial(3, np.full(len(RADII), 1 / len(RADII)), size=n).astype(float)
    )


def candidate(text: str, *constants: float) -> Scored:
    tree = from_prefix(text.split())
    unknown = math.nan
    return Scored(tree, constants, complexity(tree), 0.0, 0.0, unknown, unknown, unknown, ())


def model(
    y: np.ndarray, blocks: tuple[Block, ...], fronts: list[list[Scored]], chosen: list[int]
) -> Formulas:
    values = [evaluate_numpy(f[-1].expression, {"r": RADII}, f[-1].constants) + 0 * RADII for f in fronts]
    shape = Shape(list(blocks), [], Tables(values, [], np.full(len(y), 1e-3)))
    tasks = shape_tasks(shape, np.ones(len(y)))
    kernels = {
        place: (Kernel(task, front, at, [], 0.0, 0),)
        for (place, task), front, at in zip(tasks.items(), fronts, chosen, strict=True)
    }
    return Formulas(data_of(blocks, y), shape, kernels)


SHORT = candidate("mul c0 exp mul c1 r", 0.7, -0.5)
LONG = candidate("add mul c0 exp mul c1 r mul c2 div cos mul c3 r square r", 0.8, -0.6, 1e-5, 1.1)


def test_a_long_formula_that_a_short_one_equals_is_exchanged_and_one_that_is_needed_stays() -> None:
    a, b = (Block(f"A_X-{x}_X", 0.0, 1e9, RADII, 0.0, counts(seed)) for seed, x in enumerate("BC"))
    y = a.counts @ (0.8 * np.exp(-0.6 * RADII)) + b.counts @ (-1.5 * np.cos(1.1 * RADII) / RADII**2)
    needed = [candidate("div c0 r", -0.4), candidate("mul c0 div cos mul c1 r square r", -1.5, 1.1)]
    everything = np.ones(len(y), dtype=bool)
    start = model(y, (a, b), [[SHORT, LONG], needed], [1, 1])
    found = shortened(start, y, everything, None)
    assert [kernels[0].chosen for kernels in found.chosen.values()] == [0, 1]
    assert found.error(y, everything) < 1e-4
    assert found.tokens() < start.tokens()


def test_no_term_stays_longer_than_asked_for_where_its_front_holds_a_shorter_one() -> None:
    block = Block("A_X-B_X", 0.0, 1e9, RADII, 0.0, counts(3))
    y = block.counts @ evaluate_numpy(LONG.expression, {"r": RADII}, (0.8, -0.6, 0.5, 1.1))
    everything = np.ones(len(y), dtype=bool)
    start = model(y, (block,), [[SHORT, LONG]], [1]).refined(y, everything)
    assert shortened(start, y, everything, LONG.complexity).tokens() == LONG.complexity
    assert shortened(start, y, everything, LONG.complexity - 1).tokens() == SHORT.complexity


def triples(label: str, seed: int = 0, n: int = 60) -> Triples:
    rng = np.random.default_rng(seed)
    x = np.zeros((6, n))
    x[:3] = rng.choice(RADII, size=(3, n))
    x[3:] = 1.56
    x[5] = rng.choice([0.0, 3.13], size=n)
    return Triples(label, x, np.arange(n))


DOMAIN = Domain(torch.linspace(2.0, 12.0, 50, dtype=torch.float64)[None], 50, -1e9, 1e9, np.inf)


def function(text: str) -> Function:
    tree = from_prefix(text.split())
    return Function.guarded(tree, tuple(np.linspace(0.1, 0.3, 4))[: text.count("c")], DOMAIN)


@pytest.mark.parametrize("text", FUNCTIONS)
def test_the_room_of_a_function_tells_the_length_of_its_term(text: str) -> None:
    t = triples("Vac_Mo-Vac_S-Vac_S")
    n = len(t.rows)
    corners: list[Corner] = corners_of(t)
    blocks = [b for group in edge_blocks(t, n) for b in group]
    pair = Block("A_X-B_X", 0.0, 1e9, RADII, 0.0, np.ones((n, len(RADII))))
    shape = Shape([pair, *blocks], corners, Tables([], [], np.zeros(n)))
    own = function(text)
    size = complexity(own.expression)
    parts = [pair_part(pair, own), *(edge_part(b, t, own) for b in blocks)]
    parts += [product_part(c, own, own) for c in corners]
    assert {len(b.edges) for b in blocks} == {1, 2}
    assert any(b.heights for b in blocks)
    assert corners
    for at, part in enumerate(parts):
        copies, overhead = shape.room((at, 0))
        assert complexity(part.expression) == overhead + copies * size
