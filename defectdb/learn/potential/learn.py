"""Learn an interatomic potential from the configurations in a database, and store it with its errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.models.formulas import finish_run, start_run
from defectdb.db.potentials.models import PotentialRecord, append_potential
from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Flags, Integers
from defectdb.learn.potential.fitting.fit import PotentialLoss, fit
from defectdb.learn.potential.fitting.tables import Weights, tables
from defectdb.learn.potential.fitting.weights import Scales, factors, weights
from defectdb.learn.potential.judge import Judged, errors_table, fitted_shifts
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import Neighbours, neighbours
from defectdb.learn.potential.physics.potential import ROLES, Potential, Window
from defectdb.learn.potential.search import Refined, SearchOptions, search_potential
from defectdb.learn.potential.select_frames import demand_learnable, demand_shells, select_frames
from defectdb.schema.records import RunRecord
from defectdb.version import __version__

Engine = Literal["equation-learner", "multistart", "segvae"]
_STRATEGIES: Mapping[str, Literal["tree", "multistart", "segvae"]] = MappingProxyType(
    {"equation-learner": "tree", "multistart": "multistart", "segvae": "segvae"}
)
TRAIN = "split = 'train'"
_NEAREST_IN_COPPER = 2.567  # angstrom
_SEARCHED_ATOMS = 3000  # in the search; all configurations count in the end


@dataclass(frozen=True, slots=True)
class PotentialConfig:
    """What is asked of a learner of potentials.

    ``material``: the element.
    ``train``: SQL condition on ``configurations`` of those that are learned from; the others are tests.
    ``cutoff``, ``width`` (angstrom): where phi and rho end, and the length of the window before.
    ``engine``: how formulas are looked for.
    ``time_limit`` (seconds), ``playouts``, ``max_constants``, ``seed``: of the search; it is repeatable where playouts,
    not time, end it.
    ``datasets``: only these; all where there are none.
    ``weights``: dataset or ``config_type:NAME``, and how many times its squared errors count.
    """

    material: str
    train: str = TRAIN
    cutoff: float = 6.0
    width: float = 1.5
    engine: Engine = "equation-learner"
    time_limit: float = 240.0
    playouts: int = 20_000
    max_constants: int = 6
    seed: int = 0
    datasets: tuple[str, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A stored potential.

    ``model_id``: its key.
    ``potential``: its formulas.
    ``front``: for every number of constants the best that was found.
    ``floor``: loss of the spline reference on the configurations of the search.
    ``errors``: by dataset, split and config_type.
    ``remarks``: what is odd about the data.
    """

    model_id: int
    potential: Potential
    front: list[Refined]
    floor: float
    errors: pl.DataFrame
    remarks: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Configurations to learn from.

    ``every``: all, ``train``: those that are learned from. ``near``: neighbours of ``train``.
    ``weights``: scales of the errors on ``train``.
    ``loss``: on all of ``train``; ``search_loss``: on a part of them.
    """

    every: Frames
    train: Frames
    near: Neighbours
    weights: Weights
    loss: PotentialLoss
    search_loss: PotentialLoss
    remarks: list[str]

    @property
    def scale(self) -> float:
        """Distances over copper's, from the nearest neighbours of the lowest configurations."""
        shortest = np.full(len(self.train), np.inf)
        np.minimum.at(shortest, self.near.frame, self.near.distance)
        return float(np.median(shortest[np.isfinite(shortest)])) / _NEAREST_IN_COPPER


def prepare(db: Database, config: PotentialConfig, scales: Scales | None = None) -> Prepared:
    """Read configurations, split them and make the tables of their errors. Raises SelectionError, UnknownNameError."""
    every = select_frames(db, config.material, datasets=config.datasets)
    chosen = set(select_frames(db, config.material, where=config.train, datasets=config.datasets).ids)
    learned_from: Flags = np.array([name in chosen for name in every.ids])
    train, test = every.chosen(learned_from), every.chosen(~learned_from)
    if len(train) < 5:
        raise SelectionError(f"{len(train)} configurations are too few to learn from; give at least 5")
    remarks = demand_learnable(train, test, config.cutoff)
    near = neighbours(train, config.cutoff)
    demand_shells(train, near)
    sizes, factor = scales or Scales(), factors(train, config.weights)
    scaled = weights(train, sizes, factor)
    loss = PotentialLoss(tables(train, near, scaled))
    part = _part(train, config.seed)
    if len(part) < len(train):
        few = train.chosen(part)
        search_loss = PotentialLoss(
            tables(few, neighbours(few, config.cutoff), weights(few, sizes, factor[part]))
        )
    else:
        search_loss = loss
    return Prepared(every, train, near, scaled, loss, search_loss, remarks)


def _part(frames: Frames, seed: int) -> Integers:
    """Some configurations of every source, about as many atoms of each, for the search."""
    order = np.random.default_rng(seed).permutation(len(frames))
    chosen: list[int] = []
    share = _SEARCHED_ATOMS / len(set(frames.source.tolist()))
    for source in np.unique(frames.source):
        own = order[frames.source[order] == source]
        upto = np.searchsorted(np.cumsum(frames.counts[own]), share) + 1
        chosen += own[:upto].tolist()
    return np.array(sorted(chosen), dtype=np.int64)


def learn_potential(
    db: Database, config: PotentialConfig, progress: Callable[[str, int, float], None] | None = None
) -> Learned:
    """Search, refine on all configurations, judge and store. Raises SelectionError where nothing safe is found."""
    ready = prepare(db, config)
    window = Window(config.cutoff, config.width)
    options = SearchOptions(
        window, config.max_constants, config.time_limit, config.playouts, seed=config.seed, scale=ready.scale,
        strategy=_STRATEGIES[config.engine],
    )  # fmt: skip
    result = search_potential(ready.search_loss, options, progress)
    if not result.front:
        raise SelectionError("no safe potential was found; give more time or more constants")
    best = result.front[-1]
    whole = fit(best.fitted.potential, ready.loss, iterations=30)
    potential = whole.potential
    judged = judge_all(potential, ready)
    errors = errors_table(judged)
    model_id = _store(db, config, ready, potential, judged, errors)
    return Learned(model_id, potential, result.front, result.spline.loss, errors, ready.remarks)


def judge_all(potential: Potential, ready: Prepared) -> Judged:
    """Errors on all configurations, with the datasets' shifts from those that were learned from."""
    shifts = fitted_shifts(
        predict(potential, ready.train, ready.near), ready.train, ready.weights.energy**-2.0
    )
    predicted = predict(potential, ready.every, neighbours(ready.every, potential.window.cutoff))
    return Judged(ready.every, predicted, fitted_shifts(predicted, ready.every) | shifts)


def _store(
    db: Database,
    config: PotentialConfig,
    ready: Prepared,
    potential: Potential,
    judged: Judged,
    errors: pl.DataFrame,
) -> int:
    train = set(ready.train.ids)
    learned_from = np.array([name in train for name in ready.every.ids])
    densities = judged.predicted.densities[learned_from[ready.every.frame_of_atom]]
    trained = judged.errors(learned_from)
    record = PotentialRecord(
        material_id=config.material,
        formulas={role: (potential.parts[role].expression, potential.parts[role].constants) for role in ROLES},
        cutoff=config.cutoff, window_width=config.width,
        r_min=float(ready.near.distance.min()), density_max=float(densities.max()), density_min=float(densities.min()),
        n_train=len(ready.train), mae_train=float(trained["energy_mae"] or 0.0),
        shifts={
            name: (judged.shifts[name], not zero)
            for name, zero in zip(ready.every.sources, ready.every.atoms_zero, strict=True)
        },
        errors=errors,
    )  # fmt: skip
    digest = hashlib.sha256("".join(ready.train.ids).encode()).hexdigest()
    with db.transaction():
        run_id = start_run(
            db,
            RunRecord(
                kind="potential", config=json.dumps(asdict(config)), selection_sql=config.train,
                selection_hash=digest, n_rows=len(ready.train), seed=config.seed, device="cpu", version=__version__,
            ),
        )  # fmt: skip
        model_id = append_potential(db, run_id, record)
        finish_run(db, run_id, "done")
    return model_id
