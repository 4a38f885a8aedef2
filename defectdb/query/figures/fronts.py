"""Draw a front: error against complexity of every stored formula of a pair, or of a material's whole models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.models.model_fronts import newest_front
from defectdb.db.read import pair_label
from defectdb.db.scope import EVERYTHING, Scope, chosen_material, one_material
from defectdb.errors import UsageError
from defectdb.query.figures.style import (
    COLOURS,
    COLUMN,
    MARKERS,
    NAMES,
    legend_above,
    new_figure,
    pretty,
    window_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_front(db: Database, label: str, target: str, scope: Scope = EVERYTHING) -> Figure:
    """Error in cross-validation against complexity of every stored formula of one material; the active ones marked."""
    from matplotlib.ticker import MaxNLocator

    label = pair_label(db, label)
    rows = _stored(db, label, target, scope)
    figure = new_figure(COLUMN, 3.0)
    axes = figure.subplots()
    top = _highest_shown(rows)
    for number, window in enumerate(rows.partition_by("dz_min", "dz_max", maintain_order=True)):
        _draw_window(axes, window, top, COLOURS[number % 6], MARKERS[number % 6])
    axes.plot([], [], ls="none", marker="*", ms=8, mfc="white", mec="black", mew=0.5, label="in use")
    _error_axis(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if 1000 * max(rows["error"]) > top:
        axes.axhline(top, color="0.6", lw=0.5, ls=":")
        axes.set_ylim(top=1.8 * top)
        axes.annotate("or more", (0.99, 1.05 * top), xycoords=("axes fraction", "data"), ha="right", size=6)
    axes.set_xlabel("complexity (tokens)")
    axes.set_ylabel("MAE in cross-validation (meV)")
    legend_above(figure, axes, f"{pretty(label)}, {NAMES[target]}")
    return figure


def draw_model_front(db: Database, target: str, scope: Scope = EVERYTHING) -> Figure:
    """Estimated error of a structure against the total length of the model's formulas: the newest model front."""
    from matplotlib.ticker import MaxNLocator

    material = chosen_material(db, scope)
    rows = newest_front(db, material, target)
    figure = new_figure(COLUMN, 3.0)
    axes = figure.subplots()
    errors = 1000 * rows["error"].to_numpy()
    axes.step(
        rows["tokens"], errors, where="post", color=COLOURS[0], lw=1.0, label="most accurate of that length"
    )
    used = rows.filter("active")
    axes.plot(
        used["tokens"], 1000 * used["error"].to_numpy(), ls="none", marker="*", ms=10, color=COLOURS[0],
        mec="black", mew=0.5, label="in use",
    )  # fmt: skip
    _error_axis(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("tokens of all kernels")
    axes.set_ylabel("estimated error of a structure (meV)")
    legend_above(figure, axes, f"{material}, {NAMES[target]}")
    return figure


def _stored(db: Database, label: str, target: str, scope: Scope) -> pl.DataFrame:
    """Complexity, error (eV), |dz| window and status of the formulas of one material. Raises UsageError."""
    rows = db.frame(
        "SELECT material_id, complexity, coalesce(mae_cv, mae_train) AS error, dz_min, dz_max, status "
        "FROM formulas WHERE pair_label = ? AND target = ? ORDER BY dz_min, complexity",
        [label, target],
    )
    material = one_material(db, scope, rows["material_id"].to_list(), f"formulas of {label}")
    if material is None:
        raise UsageError(f"{label} has no formulas of {target}; `defectdb learn --pair {label}` finds some")
    return rows.filter(material_id=material)


def _draw_window(axes: Axes, rows: pl.DataFrame, top: float, colour: str, marker: str) -> None:
    """The formulas of one window of |dz|, the best of each size as steps, the active ones as stars."""
    size, error = rows["complexity"].to_numpy(), np.minimum(1000 * rows["error"].to_numpy(), top)
    axes.plot(
        size,
        error,
        ls="none",
        marker=marker,
        ms=3.5,
        mfc="none",
        color=colour,
        label=window_name(rows["dz_min"][0], rows["dz_max"][0]),
    )
    axes.step(size, np.minimum.accumulate(error), where="post", color=colour, lw=0.8, alpha=0.7)
    chosen = rows.filter(status="active")
    errors = np.minimum(1000 * chosen["error"].to_numpy(), top)
    axes.plot(chosen["complexity"], errors, ls="none", marker="*", ms=10, color=colour, mec="black", mew=0.5)


def _error_axis(axes: Axes) -> None:
    """A logarithmic axis with plain numbers: 0.1, 2, 50; within one decade every tick has its number."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    named = "12345678" if high < 10 * low else "25"
    axes.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in named else "")


def _highest_shown(rows: pl.DataFrame) -> float:
    """Where the axis ends [meV]: formulas that fail in cross-validation are drawn on that line."""
    best = rows.group_by("dz_min").agg(pl.col("error").min())["error"]
    return 1000 * 100 * max(float(error) for error in best)
