"""Errors of models trained on one part of the stored structures and judged on the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import IN_SCOPE, Scope
from defectdb.db.scratch import add_structures, excerpt
from defectdb.errors import SelectionError, UsageError
from defectdb.learn.config import LearnConfig
from defectdb.learn.from_structures import learn_model
from defectdb.learn.job import check_target, choose_material
from defectdb.learn.judging.simple_models import METHODS, simple_models
from defectdb.learn.material.structures import N_FOLDS
from defectdb.learn.outcome import Progress

COLUMNS = ("formulas", *METHODS)
"""What is compared: formulas found by a search, and models without one."""

_BOUND = re.compile(r"\s*r\s*<\s*([0-9]+(?:\.[0-9]*)?)\s*(?:A|angstrom)?\s*")


def parse_bound(text: str) -> float:
    """The distance in angstrom of a bound such as ``r<9``. Raises UsageError."""
    found = _BOUND.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no bound; write r<9 to train below 9 angstrom and test beyond")
    return float(found.group(1))


def extrapolate(
    db: Database, config: LearnConfig, bound: float, *, datasets: Sequence[str] = (), per_site: bool = False,
    progress: Progress | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Errors (eV) of models trained on the structures whose every pair is nearer than ``bound`` (angstrom).

    A structure is ``beyond`` when any of its pairs is at ``bound`` or farther, ``trained on`` when a model saw its
    value (from pairs: those with one and two defects), else ``below, unseen``. Columns: set, n_defects, n,
    undefined (structures without a prediction) and the mean absolute error of every method of ``COLUMNS``.
    Raises SelectionError where a part is empty. The database stays as it is.
    """
    material, structures = _structures(db, config, datasets)
    part = structures.with_columns(beyond=pl.col("reach").fill_null(0.0) >= bound)
    below, beyond = part.filter(~pl.col("beyond")), part.filter("beyond")
    if beyond.is_empty() or not (below["n_defects"] == 2).any():
        reach = structures.filter(n_defects=2)["reach"].to_list() + structures["reach"].drop_nulls().to_list()
        low, high = min(reach, default=0.0), max(reach, default=0.0)
        side = "beyond" if beyond.is_empty() else "below"
        raise SelectionError(
            f"no structure of {material} lies {side} r<{bound:g}; choose a bound between {low:.4g} and {high:.4g}"
        )
    seen = pl.col("n_defects") <= (2 if config.protocol == "pairs" else 10**6)
    name = pl.when("beyond").then(pl.lit("beyond")).when(seen).then(pl.lit("trained on"))
    part = part.with_columns(set=name.otherwise(pl.lit("below, unseen")))
    with _whole(db, structures) as whole:
        errors = _errors(whole, config, material, below, beyond, per_site, progress)
    table = part.select("structure_id", "set").join(errors, on="structure_id")
    order = pl.col("set").replace_strict(
        {"trained on": 0, "below, unseen": 1, "beyond": 2}, return_dtype=pl.Int8
    )
    return _means(table, ["set", "n_defects"]).sort(order, "n_defects")


def few_data(
    db: Database, config: LearnConfig, sizes: Sequence[int], seeds: Sequence[int], *, datasets: Sequence[str] = (),
    per_site: bool = False, progress: Callable[[int, int], Progress] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Errors (eV) on held-out structures of models trained on few others, a row for every size and seed.

    A fifth of all structures with two or more defects, chosen by a hash of their ids, is always held out. From the
    others ``size`` are drawn, kinds of defects in turn, in an order that the seed gives; those with one defect come
    on top. From pairs, structures with two defects are drawn, else any. ``progress`` makes the display of a size
    and seed. Raises SelectionError where fewer structures than a size can be drawn. The database stays as it is.
    """
    material, structures = _structures(db, config, datasets)
    single, many = structures.filter(n_defects=1), structures.filter(pl.col("n_defects") > 1)
    held, rest = many.filter(fold=0), many.filter(pl.col("fold") > 0)
    pool = rest.filter(n_defects=2) if config.protocol == "pairs" else rest
    if held.is_empty() or max(sizes) > pool.height:
        raise SelectionError(
            f"{max(sizes)} structures cannot be drawn; {material} offers {pool.height} to train on and "
            f"{held.height} held out: name sizes up to {pool.height}"
        )
    rows = []
    with _whole(db, structures) as whole:
        for size in sizes:
            for seed in seeds:
                drawn = _drawn(whole, pool, seed).head(size)
                own = config.model_copy(update={"seed": seed})
                display = progress(size, seed) if progress else None
                errors = _errors(whole, own, material, pl.concat([single, drawn]), held, per_site, display)
                errors = errors.join(held, on="structure_id", how="semi").with_columns(
                    n_train=size, seed=seed
                )
                rows.append(_means(errors, ["n_train", "seed"]))
    return pl.concat(rows)


def _whole(db: Database, structures: pl.DataFrame) -> Database:
    """All these structures in memory, and the file free for others while models are trained."""
    copy = excerpt(db, structures["structure_id"].to_list())
    db.release()
    return copy


def _structures(db: Database, config: LearnConfig, datasets: Sequence[str]) -> tuple[str, pl.DataFrame]:
    """The material, and of its structures with a value of the target: id, number of defects, kind, reach, fold.

    ``reach`` is the distance of the farthest pair, angstrom. ``datasets`` (empty: all) leave out those of others.
    """
    check_target(config.target)
    material = choose_material(db, config.material)
    frame = db.frame(
        f"""
        SELECT
            s.structure_id, s.n_defects,
            (SELECT string_agg(d.label, '-' ORDER BY d.label) FROM defects AS d
             WHERE d.structure_id = s.structure_id) AS kind,
            (SELECT max(p.distance) FROM pairs AS p WHERE p.structure_id = s.structure_id) AS reach,
            CAST(CAST('0x' || substr(md5(s.structure_id), 1, 8) AS UBIGINT) % $folds AS INTEGER) AS fold
        FROM structures AS s
        JOIN hosts AS h USING (host_id)
        JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = $target
        WHERE {IN_SCOPE} AND s.n_defects > 0 AND s.charge = 0
        ORDER BY s.structure_id
        """,
        {"folds": N_FOLDS, "target": config.target, **Scope(material, tuple(datasets)).parameters()},
    )
    return material, frame


def _drawn(db: Database, pool: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The pool in the order in which the seed draws it: every kind of defects once, then every kind twice ..."""
    with db.registered(pool=pool):
        order = db.frame(
            "SELECT structure_id, md5($seed || structure_id) AS hash FROM pool", {"seed": f"{seed}/"}
        )
    turn = pl.col("hash").rank("ordinal").over("kind")
    drawn = pool.join(order, on="structure_id").with_columns(turn=turn).sort("turn", "hash")
    return drawn.select(pool.columns)


def _errors(
    db: Database, config: LearnConfig, material: str, train: pl.DataFrame, test: pl.DataFrame, per_site: bool,
    progress: Progress | None,
) -> pl.DataFrame:  # fmt: skip
    """Absolute errors (eV) of every method on all structures of both parts: structure_id, n_defects, COLUMNS."""
    config = config.model_copy(update={"material": material, "warm": False})
    with excerpt(db, train["structure_id"].to_list()) as copy:
        learn_model(copy, config, progress)
        simple = simple_models(copy, config)
        add_structures(copy, db, test["structure_id"].to_list())
        found = copy.frame(
            "SELECT p.structure_id, p.n_defects, p.value AS formulas, t.value AS actual FROM predictions AS p "
            "JOIN target_values AS t USING (structure_id, target) WHERE p.target = ?",
            [config.target],
        )
        defects = copy.frame("SELECT structure_id, label FROM defects")
        pairs = copy.frame("SELECT structure_id, label, distance AS r, dz FROM pairs")
    both = found.join(simple.predict(defects, pairs), on="structure_id")
    divisor = pl.col("n_defects") if per_site else pl.lit(1)
    errors = ((pl.col(name) - pl.col("actual")).abs() / divisor for name in COLUMNS)
    return both.select("structure_id", "n_defects", *errors)


def _means(errors: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    undefined = pl.col("formulas").null_count().alias("undefined")
    return errors.group_by(by).agg(pl.len().alias("n"), undefined, pl.col(*COLUMNS).mean()).sort(by)
