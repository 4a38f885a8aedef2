"""Draw a kernel: DFT points and the formula's curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defectdb.db import Database
from defectdb.query.figures.style import (
    COLOURS,
    COLUMN,
    MARKERS,
    legend_above,
    new_figure,
    pretty,
    quantity,
    scaled,
)
from defectdb.query.kernels import Kernel, kernel


def training_points(db: Database, found: Kernel) -> pl.DataFrame:
    """The 2-defect structures of a kernel's label: distance, dz [angstrom], value and model [eV].

    Where the kernel is a lattice sum, ``value`` is what the nearest image contributes: the part of all other
    images, as the kernel has it, is taken away.
    """
    column = "interaction" if found.target == "formation_energy" else found.target
    points = db.frame(
        f"SELECT pair_id, distance, dz, {column} AS value FROM pair_energies "
        f"WHERE label = ? AND {column} IS NOT NULL ORDER BY dz, distance",
        [found.label],
    ).with_columns(model=found.polars())
    if not any(part.images == "sum" for part in found.parts):
        return points
    images = db.frame(
        "SELECT pair_id, distance, dz FROM distances JOIN structures USING (structure_id) "
        "WHERE label = ? AND n_defects = 2",
        [found.label],
    )
    sums = images.group_by("pair_id").agg(total=found.polars().sum())
    others = pl.col("total") - pl.col("model")
    return points.join(sums, on="pair_id", maintain_order="left").with_columns(value=pl.col("value") - others)


def draw_kernel(db: Database, label: str, target: str, formula_id: int | None) -> Figure:
    """A pair's kernel with the DFT values it stands for, and below what is left over."""
    found = kernel(db, label, target, formula_id)
    points = training_points(db, found)
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
