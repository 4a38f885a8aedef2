"""Kernels, fronts, predictions and interactions to figures of publication size (PNG, PDF, SVG)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.read import known
from defectdb.errors import InputDataError, UsageError
from defectdb.query.kernels import Kernel, kernel
from defectdb.query.predict import predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette: told apart with any colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "P")
COLUMN = 3.375  # inches: one column of a two-column page
SUFFIXES = (".png", ".pdf", ".svg")
NAMES = {
    "formation_energy": "formation energy",
    "formation_energy_per_site": "formation energy per site",
    "homo_lumo_gap": "HOMO–LUMO gap",
    "homo": "HOMO",
    "lumo": "LUMO",
}
_STYLE = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.linewidth": 0.6, "lines.linewidth": 1.2, "savefig.dpi": 300, "svg.hashsalt": "defectdb",
    "xtick.direction": "in", "ytick.direction": "in", "legend.frameon": False, "pdf.fonttype": 42,
}  # fmt: skip


def draw(
    db: Database,
    kind: str,
    path: Path,
    *,
    label: str | None = None,
    target: str,
    formula_id: int | None = None,
) -> None:
    """Draw one figure into a file: ``kernel``, ``front``, ``parity`` or ``map``.

    Raises UnknownNameError and UsageError; InputDataError where the file cannot be written.
    """
    from defectdb.query.figures.fronts import draw_front
    from defectdb.query.figures.maps import draw_map

    kinds: dict[str, Callable[[], Figure]] = {
        "kernel": lambda: draw_kernel(db, _needed(label, kind), target, formula_id),
        "front": lambda: draw_front(db, _needed(label, kind), target),
        "parity": lambda: draw_parity(db, target),
        "map": lambda: draw_map(db, _needed(label, kind), target, formula_id),
    }
    known("figure", kind, list(kinds))
    known("figure format", path.suffix, SUFFIXES)
    save_styled(kinds[kind], path)


def save_styled(make: Callable[[], Figure], path: Path) -> None:
    """Make a figure in the style of all figures and write it. Raises UsageError and InputDataError."""
    _demand_matplotlib()
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        _save(make(), path)


def _needed(label: str | None, kind: str) -> str:
    if label is None:
        raise UsageError(f"`plot {kind}` needs a pair label, such as Vac_Mo-Vac_S")
    return label


def _demand_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as cause:
        raise UsageError("figures need matplotlib: pip install 'defectdb[plots]'") from cause


def _save(figure: Figure, path: Path) -> None:
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    try:
        figure.savefig(path, metadata=metadata)
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause.strerror or cause}", path=str(path)) from cause


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) that belongs to no window."""
    from matplotlib.figure import Figure as New

    figure: Figure = New(figsize=(width, height), layout="constrained")
    return figure


def scaled(target: str) -> tuple[float, str]:
    """Factor from eV and unit in which a kernel of the target is drawn."""
    return (1000.0, "meV") if target == "formation_energy" else (1.0, "eV")


def quantity(target: str) -> str:
    """What a kernel of the target is called on an axis."""
    return "interaction" if target == "formation_energy" else NAMES[target]


# ---------------------------------------------------------------- kernels


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


def legend_above(figure: Figure, axes: Axes, title: str) -> None:
    """A legend above the axes, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=3, columnspacing=1.2,
                  handletextpad=0.4, borderpad=0.1)  # fmt: skip


def _curve(axes: Axes, found: Kernel, r: Any, dz: float, colour: str, factor: float) -> None:
    fine = np.linspace(r.min(), r.max(), 600)
    axes.plot(fine, factor * found(fine, np.full_like(fine, dz)), color=colour, lw=1)


def pretty(label: str) -> str:
    """A label as mathematics: V_Mo – V_S with subscripts."""
    parts = (part.split("_") for part in label.split("-"))
    return " – ".join(rf"$\mathrm{{{'V' if a == 'Vac' else a}}}_{{\mathrm{{{b}}}}}$" for a, b in parts)


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
