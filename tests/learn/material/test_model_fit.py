"""The whole-material fit on made-up data with known answers: tables, metrics, joint refinement, three-body terms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from defectdb.engine.safety.domain import Domain
from defectdb.expressions.expression import from_prefix
from defectdb.learn import LearnConfig
from defectdb.learn.material.fit_model import paying
from defectdb.learn.material.placed_formulas import Function, pair_part, triple_part
from defectdb.learn.material.refine import cross_validate, predict, refine
from defectdb.learn.material.structures import Block, Triples
from defectdb.learn.material.tasks import REACH, metric_task, triple_task
from defectdb.learn.material.value_tables import fit_tables, robust_weights
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.sparse_model import conformal_quantile

QUICK = LearnConfig(generations=0, population=64, exhaustive_size=5, workers=1, max_tokens=15, protocol="all")
RADII = np.array([2.4, 3.2, 4.0, 5.1, 6.4, 8.2, 9.3, 11.3])


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def crystal(seed: int, n: int = 300, most: int = 40) -> tuple[Block, Block]:
    """Structures with up to ``most`` pairs of either of two labels, at random classes."""
    rng = np.random.default_rng(seed)
    blocks = []
    for label in ("A_X-B_X", "A_X-C_X"):
        counts = rng.multinomial(1, np.full(len(RADII), 1 / len(RADII)), size=(n, most)).astype(float)
        keep = rng.integers(1, most + 1, size=n)
        counts *= (np.arange(most)[None, :] < keep[:, None])[..., None]
        blocks.append(Block(label, 0.0, 1e9, RADII, 0.0, counts.sum(1)))
    return blocks[0], blocks[1]


def learned(task: KernelTask) -> Kernel:
    return learn_kernel(replace(task, config=QUICK))


def first(r: np.ndarray) -> np.ndarray:
    return 0.8 * np.exp(-0.6 * r)


def second(r: np.ndarray) -> np.ndarray:
    return -1.5 * np.cos(1.1 * r) / r**2


def test_the_table_is_the_least_absolute_error_solution() -> None:
    a, b = crystal(0, n=120, most=4)
    rng = np.random.default_rng(1)
    y = a.counts @ first(RADII) + b.counts @ second(RADII) + rng.standard_t(1.5, 120) * 0.02
    table = fit_tables([a, b], [], y, np.ones(120, dtype=bool), rounds=200).pairs
    ours = np.abs(y - a.counts @ table[0] - b.counts @ table[1]).sum()
    counts = np.hstack([a.counts, b.counts])
    n, k = counts.shape
    exact = linprog(
        np.r_[np.zeros(k), np.ones(2 * n)],
        A_eq=np.hstack([counts, np.eye(n), -np.eye(n)]),
        b_eq=y,
        bounds=[(None, None)] * k + [(0, None)] * 2 * n,
    ).fun
    assert ours == pytest.approx(exact, rel=0.01)
    assert ours >= exact - 1e-9


def test_the_kernels_metric_equals_the_squared_error_of_the_structures() -> None:
    a, b = crystal(2)
    rng = np.random.default_rng(3)
    y = a.counts @ first(RADII) + b.counts @ second(RADII) + rng.normal(0, 0.01, 300)
    weights = np.ones(300)
    counts = np.hstack([a.counts, b.counts])
    table = np.split(np.linalg.lstsq(counts, y, rcond=None)[0], 2)
    task = metric_task("a", (0.0, 1e9), RADII, table[0], a.counts, weights, 1.0)
    trial = table[0] + rng.normal(0, 0.05, len(RADII))

    def structures(values: np.ndarray) -> float:
        return float(((y - a.counts @ values - b.counts @ table[1]) ** 2).sum())

    by_metric = float(((task.y - task.mixing @ trial) ** 2).sum())
    assert by_metric == pytest.approx(structures(trial) - structures(table[0]), rel=1e-6)


def test_every_three_body_term_that_does_not_pay_is_dropped() -> None:
    """One that the energies hold stays; three that they do not go, not only the first of them."""
    a, _ = crystal(7)
    rng = np.random.default_rng(8)
    rows = np.arange(300)
    there, *absent = (Triples(f"A_X-B_X-{i}", rng.uniform(2.0, 9.0, (3, 300)), rows) for i in range(4))
    form = from_prefix(["mul", "c0", "inv", "r12"])
    y = a.counts @ first(RADII) + 0.9 / there.x[0] + rng.normal(0, 0.01, 300)
    parts = [
        pair_part(a, Function(from_prefix(["mul", "c0", "exp", "mul", "c1", "r"]), (0.8, -0.6))),
        *(triple_part(t, form, (0.1,), ("r12",)) for t in (absent[0], there, *absent[1:])),
    ]
    kernel = learned(metric_task("a", (0.0, 1e9), RADII, first(RADII), a.counts, np.ones(300), 1.0))
    train = np.ones(300, dtype=bool)
    kept, blind = paying([(kernel, part) for part in parts], y, rows % 5, train)
    assert [part.label for _, part in kept] == ["A_X-B_X", there.label]
    assert np.abs(blind).mean() < 0.01


def test_structures_of_many_defects_give_back_both_kernels() -> None:
    """Up to 40 pairs of each label a structure: the kernels are only ever seen through their sums."""
    a, b = crystal(4)
    y = a.counts @ first(RADII) + b.counts @ second(RADII)
    everything = np.ones(len(y), dtype=bool)
    tables = fit_tables([a, b], [], y, everything)
    parts = []
    for block, values in zip((a, b), tables.pairs, strict=True):
        weights = robust_weights(tables.residual, REACH)
        task = metric_task(block.label, (0.0, 1e9), RADII, values, block.counts, weights, 1.0)
        kernel = learned(task)
        best = min(kernel.front, key=lambda s: s.mse)
        parts.append(pair_part(block, Function(best.expression, best.constants)))
    refined = refine(parts, y, everything)
    assert np.abs(y - predict(refined, len(y))).max() < 1e-3
    values = [p.contribution(len(y)) for p in refined]
    shift = np.abs(
        values[0] - a.counts @ first(RADII)
    ).max()  # a constant per pair may move between the labels
    assert shift < 5e-2


def test_refinement_returns_to_known_constants_despite_outliers() -> None:
    a, _ = crystal(5, most=3)
    y = a.counts @ first(RADII)
    y[:20] += 3.0
    tree = from_prefix(["mul", "c0", "exp", "mul", "c1", "r"])
    start = pair_part(a, Function(tree, (0.5, -0.9)))
    [refined] = refine([start], y, np.ones(len(y), dtype=bool), rounds=60)
    assert refined.constants == pytest.approx((0.8, -0.6), rel=1e-3)


def test_held_out_structures_do_not_shape_their_own_prediction() -> None:
    a, _ = crystal(6, most=3)
    y = a.counts @ first(RADII)
    fold = np.arange(len(y)) % 5
    spoiled = y.copy()
    spoiled[fold == 2] += 100.0
    part = pair_part(a, Function(from_prefix(["mul", "c0", "exp", "mul", "c1", "r"]), (0.7, -0.7)))
    everything = np.ones(len(y), dtype=bool)
    clean = cross_validate([part], y, fold, everything)
    dirty = cross_validate([part], spoiled, fold, everything)
    assert np.abs(clean).max() < 1e-3
    np.testing.assert_allclose(dirty[fold == 2], 100.0, atol=1e-2)


def test_a_three_body_law_is_found_on_what_the_pairs_leave() -> None:
    rng = np.random.default_rng(7)
    x = np.zeros((6, 150))
    x[:3] = rng.uniform(2.4, 9.0, size=(3, 150))
    rows = np.arange(150)
    left = 8.0 / (x[0] * x[1])
    triples = Triples("A_X-B_X-B_X", x, rows)
    task = triple_task(triples, left, np.ones(150), np.full(150, 3))
    assert task is not None
    assert task.variables == ("r12", "r13", "r23")
    kernel = learned(task)
    best = min(kernel.front, key=lambda s: s.mse)
    [part] = refine([triple_part(triples, best.expression, best.constants)], left, np.ones(150, dtype=bool))
    assert np.abs(left - predict([part], 150)).mean() < 1e-3 * np.abs(left).mean()
    assert triple_task(triples, left, np.ones(150), np.full(150, 4)) is None


def test_conformal_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(8)
    covered = []
    for _ in range(200):
        scores = np.abs(rng.standard_t(3, 100))
        covered.append((np.abs(rng.standard_t(3, 200)) <= conformal_quantile(scores, 0.9)).mean())
    assert 0.88 < np.mean(covered) < 0.93


def test_refinement_never_takes_a_formula_out_of_its_domain() -> None:
    """The data pull 1 / (r - c) towards a pole between two distances; the domain forbids the last step."""
    a, _ = crystal(9, most=3)
    y = a.counts @ np.where(RADII < 6, 0.1, -0.1)
    domain = Domain.of(torch.from_numpy(RADII), torch.from_numpy(1 / (RADII - 1.0)), cutoff=30.0)
    start = pair_part(a, Function.guarded(from_prefix(["div", "c0", "sub", "r", "c1"]), (1.0, 1.0), domain))
    [refined] = refine([start], y, np.ones(len(y), dtype=bool))
    assert refined.safe()
    assert refined.constants[1] < RADII[0]


def test_a_constant_without_a_derivative_does_not_hold_the_others_back() -> None:
    a, b = crystal(10, most=3)
    y = a.counts @ first(RADII) + b.counts @ np.full(len(RADII), 0.2)
    edge = pair_part(
        b, Function(from_prefix(["mul", "c0", "exp", "sqrt", "c1"]), (0.2, 0.0))
    )  # sqrt ends at 0
    moving = pair_part(a, Function(from_prefix(["mul", "c0", "exp", "mul", "c1", "r"]), (0.6, -0.8)))
    refined = refine([moving, edge], y, np.ones(len(y), dtype=bool), rounds=60)
    assert refined[0].constants == pytest.approx((0.8, -0.6), rel=1e-3)
    assert refined[1].constants[1] == 0.0
