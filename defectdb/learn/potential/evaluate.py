"""Errors and crystals of a stored potential beside fixed forms and splines fitted to the same configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator

import polars as pl

from defectdb.db import Database
from defectdb.db.potentials.models import StoredPotential, stored_potential
from defectdb.errors import SelectionError
from defectdb.learn.potential.fitting.baselines import baselines, fitted_baselines
from defectdb.learn.potential.judge import Judged, errors_table, fitted_shifts
from defectdb.learn.potential.learn import PotentialConfig, Prepared, prepare
from defectdb.learn.potential.output.properties import PROPERTIES, properties
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import Neighbours, neighbours
from defectdb.learn.potential.physics.potential import Model, Window
from defectdb.learn.potential.search import spline_reference
from defectdb.learn.potential.select_frames import frames_of, select_frames
from defectdb.learn.potential.stored import potential_of


def evaluate_potential(
    db: Database,
    model_id: int | None = None,
    material: str | None = None,
    *,
    by: str = "split",
    with_baselines: bool = True,
    rows: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Errors by potential, dataset, split and ``by``, in eV and angstrom.

    ``rows``: other configurations, as ``configurations_of`` gives them; their energies are shifted by the dataset's
    shift where its name is known, else by the mean difference. Raises as ``stored_potential`` does.
    """
    stored = stored_potential(db, model_id=model_id, material=material)
    frames = frames_of(rows) if rows is not None else select_frames(db, stored.material_id)
    near = neighbours(frames, stored.cutoff)
    tables = [_errors("learned", potential_of(stored), frames, near, dict(stored.shifts), by)]
    if with_baselines:
        ready = _prepared(db, stored)
        tables += [
            _errors(name, model, frames, near, _shifts(model, ready), by)
            for name, model in _references(stored, ready)
        ]
    return pl.concat(tables)


def reference_properties(db: Database, stored: StoredPotential) -> pl.DataFrame:
    """Properties of the crystals of fixed forms and splines, fitted to what ``stored`` was learned from.

    A row per property, a column per potential; NULL where one binds no face-centred cubic crystal.
    """
    table: dict[str, list[float | None]] = {}
    for name, model in _references(stored, _prepared(db, stored)):
        try:
            table[name] = [p.value for p in properties(model, stored.material_id)]
        except SelectionError:
            table[name] = [None] * len(PROPERTIES)
    return pl.DataFrame(
        {"property": list(PROPERTIES), **table}, schema_overrides=dict.fromkeys(table, pl.Float64)
    )


def _references(stored: StoredPotential, ready: Prepared) -> Iterator[tuple[str, Model]]:
    """Fixed forms and splines, fitted to these configurations, by name."""
    window = Window(stored.cutoff, stored.window_width)
    for form, fitted in fitted_baselines(baselines(window, ready.scale), ready.loss):
        yield form.name, fitted.potential
    spline = spline_reference(ready.loss, window, ready.scale).potential
    yield f"splines, {len(spline.constants)} numbers", spline


def _prepared(db: Database, stored: StoredPotential) -> Prepared:
    """The configurations that the potential was learned from."""
    config = db.value(
        "SELECT r.config FROM models AS m JOIN runs AS r USING (run_id) WHERE m.model_id = ?",
        [stored.model_id],
    )
    known = json.loads(config)
    return prepare(
        db,
        PotentialConfig(
            stored.material_id, known["train"], stored.cutoff, datasets=tuple(known["datasets"]),
            weights=tuple((name, factor) for name, factor in known.get("weights", ())),
        ),
    )  # fmt: skip


def _shifts(model: Model, ready: Prepared) -> dict[str, float]:
    return fitted_shifts(predict(model, ready.train, ready.near), ready.train, ready.weights.energy**-2.0)


def _errors(
    name: str, model: Model, frames: Frames, near: Neighbours, shifts: dict[str, float], by: str
) -> pl.DataFrame:
    predicted = predict(model, frames, near)
    table = errors_table(Judged(frames, predicted, fitted_shifts(predicted, frames) | shifts), by)
    return table.select(pl.lit(name).alias("potential"), pl.all())
