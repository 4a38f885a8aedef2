"""Draw predicted against computed values."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from defectdb.db import Database
from defectdb.errors import UsageError
from defectdb.query.figures.style import COLOURS, COLUMN, MARKERS, NAMES, new_figure
from defectdb.query.predict import predict


def draw_parity(db: Database, target: str) -> Figure:
    """Predicted against stored values, by number of defects, with the mean absolute errors."""
    predict(db, target)  # raises for an unknown target or one without a model
    rows = db.frame(
        "SELECT n_defects, predicted, actual FROM prediction_errors "
        "WHERE target = ? AND predicted IS NOT NULL ORDER BY n_defects DESC, structure_id",
        [target],
    )
    if rows.is_empty():
        raise UsageError(f"no stored values of {target} to compare with")
    figure = new_figure(COLUMN, 3.1)
    axes = figure.subplots()
    ends = [rows.select(pl.min_horizontal("predicted", "actual").min()).item(),
            rows.select(pl.max_horizontal("predicted", "actual").max()).item()]  # fmt: skip
    axes.plot(ends, ends, color="0.5", lw=0.6, zorder=0)
    for number, group in enumerate(rows.partition_by("n_defects", maintain_order=True)):
        errors = (group["predicted"] - group["actual"]).to_numpy()
        n, error = int(group["n_defects"][0]), 1000 * float(np.abs(errors).mean())
        text = f"{n} defect{'s' if n > 1 else ''}: MAE {error:.3g} meV ({group.height})"
        axes.plot(
            group["actual"], group["predicted"], ls="none", marker=MARKERS[number % 6], ms=3, mfc="none",
            mew=0.6, color=COLOURS[number % 6], label=text, rasterized=group.height > 500,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel(f"DFT {NAMES[target]} (eV)")
    axes.set_ylabel(f"predicted {NAMES[target]} (eV)")
    axes.legend(loc="upper left")
    return figure
