"""Draw a kernel: DFT points and the formula's curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.query.figures.style import (
    COLOURS,
    COLUMN,
    MARKERS,
    legend_above,
    new_figure,
    pretty,
    quantity,
    scaled,
    window_name,
)
from defectdb.query.kernels import Kernel, kernel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def training_points(db: Database, found: Kernel, datasets: Sequence[str] = ()) -> pl.DataFrame:
    """The 2-defect structures of a kernel's label and material: distance, dz [angstrom], value and model [eV].

    Where the kernel is a lattice sum, ``value`` is what the nearest image contributes: the part of all other
    images, as the kernel has it, is taken away.
    """
    column = "interaction" if found.target == "formation_energy" else found.target
    rows = Scope(found.material, tuple(datasets)).parameters()
    points = db.frame(
        f"SELECT pair_id, distance, dz, {column} AS value FROM pair_energies "
        f"WHERE label = $label AND {column} IS NOT NULL AND {IN_SCOPE} ORDER BY dz, distance",
        {"label": found.label, **rows},
    ).with_columns(model=found.polars())
    if not any(part.images == "sum" for part in found.parts):
        return points
    images = db.frame(
        "SELECT pair_id, distance, dz FROM distances JOIN structures USING (structure_id) "
        f"JOIN hosts USING (host_id) WHERE label = $label AND n_defects = 2 AND {IN_SCOPE}",
        {"label": found.label, **rows},
    )
    sums = images.group_by("pair_id").agg(total=found.polars().sum())
    others = pl.col("total") - pl.col("model")
    return points.join(sums, on="pair_id", maintain_order="left").with_columns(value=pl.col("value") - others)


def draw_kernel(
    db: Database, label: str, target: str, formula_id: int | None = None, scope: Scope = EVERYTHING
) -> Figure:
    """A pair's kernel with the calculated values that it was learned from, and below them the residuals."""
    found = kernel(db, label, target, formula_id, scope)
    points = training_points(db, found, scope.datasets)
    if points.is_empty():
        return _curves_alone(found)
    factor, unit = scaled(target)
    figure = new_figure(COLUMN, 3.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    heights = sorted({round(dz, 2) for dz in points["dz"]}) or [0.0]
    for number, height in enumerate(heights):
        mine = points.filter(points["dz"].round(2) == height)
        r, value, model = (mine[name].to_numpy() for name in ("distance", "value", "model"))
        style = {"color": COLOURS[number % 6], "marker": MARKERS[number % 6], "ms": 4, "ls": "none"}
        top.plot(r, factor * value, label=rf"$|\Delta z|$ = {height:.2f} Å", mfc="none", **style)
        bottom.plot(r, 1000 * (value - model), mfc="none", **style)
        _curve(top, found, r, float(mine["dz"].to_numpy().mean()), COLOURS[number % 6], factor)
    for axes in (top, bottom) if target == "formation_energy" else (bottom,):
        axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    top.set_ylabel(f"{quantity(target)} ({unit})")
    bottom.set_ylabel("residual (meV)")
    bottom.set_xlabel("distance $r$ (Å)")
    bottom.margins(y=0.2)
    figure.align_ylabels()
    top.margins(y=0.1)
    top.ticklabel_format(useOffset=False)
    legend_above(figure, top, pretty(found.label))
    return figure


def _curve(axes: Axes, found: Kernel, r: Any, dz: float, colour: str, factor: float) -> None:
    fine = np.linspace(r.min(), r.max(), 600)
    axes.plot(fine, factor * found(fine, np.full_like(fine, dz)), color=colour, lw=1)


def _curves_alone(found: Kernel) -> Figure:
    """The kernel where no structure holds its pair alone: one curve for each window of |dz|, without points."""
    factor, unit = scaled(found.target)
    figure = new_figure(COLUMN, 2.2)
    axes = figure.subplots()
    for number, part in enumerate(found.parts):
        r = np.linspace(part.r_min, part.r_max, 600)
        values = found(r, np.full_like(r, part.dz_min))
        axes.plot(
            r, factor * values, color=COLOURS[number % 6], lw=1, label=window_name(part.dz_min, part.dz_max)
        )
    if found.target == "formation_energy":
        axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    axes.set_ylabel(f"{quantity(found.target)} ({unit})")
    axes.set_xlabel("distance $r$ (Å)")
    legend_above(figure, axes, pretty(found.label))
    return figure
