"""The equation learner: points and formulas, the tree, least squares, closed connections, and plain data."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.engine.equation_learner.least_squares import minimise
from defectdb.engine.equation_learner.networks import Built, Network, decoded, encoded, structure_text
from defectdb.engine.equation_learner.sparsity import closed
from defectdb.engine.equation_learner.tree_search import TreeSearch
from defectdb.engine.equation_learner.units import UNITS
from defectdb.engine.equation_learner.variations import varied
from defectdb.engine.regressor import SymbolicRegressor
from defectdb.errors import UsageError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import n_constants

NETWORK = Network("f", ("r",), (1.0,), (6.0,), ("exp", "gauss_at", "power", "identity"), slots=2)


class Rows:
    """Squared errors of a formula on points."""

    def __init__(self, built: Built, x: np.ndarray, y: np.ndarray) -> None:
        self.built, self.x, self.y = built, x, y

    def residuals(self, constants: np.ndarray) -> np.ndarray:
        return evaluate_numpy(self.built.expression, {"r": self.x}, constants.tolist()) - self.y

    def both(self, constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = 1e-6 * np.maximum(np.abs(constants), 1e-3)
        columns = [
            (self.residuals(constants + step * np.eye(len(constants))[i]) - self.residuals(constants)) / step
            for i, step in enumerate(steps)
        ]
        return self.residuals(constants), np.stack(columns, axis=1)


def test_a_point_and_its_constants_come_back_from_the_box() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        point = rng.random(NETWORK.size)
        structure, [function] = decoded([NETWORK], point)
        assert n_constants(function.expression) == len(function.start) == len(function.linear)
        again = encoded([NETWORK], point, [function.start])
        same, [other] = decoded([NETWORK], again)
        assert same == structure
        assert other.start == pytest.approx(function.start)


def test_every_unit_is_finite_over_its_variable_and_those_from_zero_start_there() -> None:
    for name, unit in UNITS.items():
        network = Network(
            "f", ("r",), (0.0 if unit.from_zero else 0.5,), (4.0,), (name,), slots=1, products=False
        )
        _, [function] = decoded([network], np.full(network.size, 0.4))
        values = evaluate_numpy(
            function.expression, {"r": np.linspace(network.low[0] + 1e-9, 4.0, 50)}, function.start.tolist()
        )
        assert np.isfinite(values).all(), name
        if unit.from_zero:
            assert abs(values[0]) < 1e-1, name


def test_the_tree_finds_a_narrow_valley_with_fewer_playouts_than_chance() -> None:
    centre = np.full(8, 0.3)

    def playout(point: np.ndarray) -> tuple[float, np.ndarray]:
        return float(((point - centre) ** 2).sum()), point

    tree = TreeSearch(8, playout, np.random.default_rng(1))
    for _ in range(600):
        tree.step()
    chance = min(playout(p)[0] for p in np.random.default_rng(1).random((600, 8)))
    assert tree.root.best < 0.3 * chance
    assert tree.root.visits == 601


def test_least_squares_finds_the_constants_and_a_closed_slot_stays_closed() -> None:
    x = np.linspace(1.0, 6.0, 60)
    y = 5.0 * np.exp(-1.2 * x)
    point = np.full(NETWORK.size, 0.1)
    point[NETWORK.size // 2] = 0.9  # the second slot is open
    point[NETWORK.size // 2 + 1] = 0.3  # a Gaussian at a place
    structure, [function] = decoded([NETWORK], point)
    assert len(structure[0]) == 2
    end = minimise(Rows(function, x, y), function.start, iterations=100, tolerance=1e-14)
    rows = np.arange(len(x)) % 5 == 0

    def outside(built: Built, constants: np.ndarray) -> float:
        errors = Rows(built, x[rows], y[rows]).residuals(constants)
        return float(errors @ errors) + 1e-12

    sparse = closed(NETWORK, structure[0], end.constants, lambda b: Rows(b, x[~rows], y[~rows]), outside)
    assert len(sparse.terms) == 1
    assert sparse.constants == pytest.approx([5.0, 1.2], rel=1e-4)


def test_plain_data_are_learned_by_the_other_engine() -> None:
    x = np.linspace(0.5, 6.0, 30)
    found = SymbolicRegressor(engine="equation-learner", generations=1, population=40, time_limit=20.0).fit(
        x, 3.0 * np.exp(-1.3 * x) + 0.5
    )
    assert found.best_.mse < 1e-6
    with pytest.raises(UsageError, match="unknown engine 'gp'; try segvae, equation-learner"):
        SymbolicRegressor(engine="gp").fit(x, x)


def test_a_neighbour_changes_one_slot_of_one_function_and_stays_in_the_box() -> None:
    generator = np.random.default_rng(0)
    other = Network("g", ("r",), (1.0,), (6.0,), ("exp", "gauss_at", "power"), slots=3)
    networks = (NETWORK, other)
    seen: set[str] = set()
    for _ in range(300):
        point = generator.random(NETWORK.size + other.size)
        moved = varied(networks, point, generator)
        assert ((moved >= 0.0) & (moved <= 1.0)).all()
        rows = [
            (a.reshape(net.slots, -1), b.reshape(net.slots, -1))
            for net, a, b in zip(
                networks, np.split(point, [NETWORK.size]), np.split(moved, [NETWORK.size]), strict=True
            )
        ]
        assert sum(int((a != b).any(axis=1).sum()) for a, b in rows) == 1
        before, after = (structure_text(decoded(networks, p)[0]) for p in (point, moved))
        seen.add("same" if before == after else "more" if len(after) > len(before) else "less")
    assert seen == {"same", "more", "less"}


def test_a_unit_that_stays_in_a_product_keeps_its_constants() -> None:
    generator = np.random.default_rng(1)
    network = Network("f", ("r",), (1.0,), (6.0,), ("exp", "gauss_at", "power"), slots=1)
    kept = 0
    for _ in range(200):
        point = generator.random(network.size)
        moved = varied((network,), point, generator)
        (a,), (b,) = (decoded((network,), p)[1] for p in (point, moved))
        terms = [decoded((network,), p)[0][0][0].units for p in (point, moved)]
        if len(terms[0]) == 1 and len(terms[1]) == 2:
            kept += 1
            assert set(a.start[1:].tolist()) <= set(b.start[1:].tolist())
    assert kept > 5
