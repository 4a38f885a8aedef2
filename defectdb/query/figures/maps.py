"""Draw a map of a pair kernel on the host's sites: what a second defect feels around the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.query.figures.style import COLUMN, new_figure, pretty, quantity, scaled
from defectdb.query.kernels import Kernel, kernel
from defectdb.schema.labels import split_label, stored_defect
from defectdb.schema.lattice import nearest_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_map(
    db: Database, label: str, target: str, formula_id: int | None = None, scope: Scope = EVERYTHING
) -> Figure:
    """Every site where the second defect can stand, coloured by the kernel; one panel for each |dz|."""
    found = kernel(db, label, target, formula_id, scope)
    offsets, dz, others = _around(db, found, scope.datasets)
    panels = sorted(set(np.round(dz, 2)))
    factor, unit = scaled(target)
    values = factor * found(np.hypot(np.hypot(*offsets.T), dz), dz)
    limits = _limits(values, symmetric=target == "formation_energy")
    figure = new_figure(COLUMN * min(2, len(panels)), 0.85 * COLUMN)
    shown: Any = None
    for axes, height in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        here = np.round(dz, 2) == height
        axes.scatter(*others.T, s=4, color="0.85", linewidths=0)
        shown = axes.scatter(
            *offsets[here].T, c=values[here], s=70, edgecolors="0.4", linewidths=0.3, **limits
        )
        axes.plot(0, 0, marker="+", color="black", ms=9, mew=1.4)
        axes.set_aspect("equal")
        axes.set_xlabel("x, zigzag (Å)")
        axes.set_ylabel("y, armchair (Å)")
        axes.set_title(rf"{pretty(found.label)}, $|\Delta z|$ = {height:.2f} Å", fontsize=8)
    figure.colorbar(shown, ax=figure.axes, label=f"{quantity(target)} ({unit})", shrink=0.8)
    return figure


def _limits(values: Floats, *, symmetric: bool) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    if not symmetric:
        return {"cmap": "cividis", "vmin": finite.min(), "vmax": finite.max()}
    from matplotlib.colors import Normalize, SymLogNorm

    bound, usual = float(np.abs(finite).max()), float(np.median(np.abs(finite)))
    if bound < 20 * usual:
        return {"cmap": "RdBu_r", "norm": Normalize(-bound, bound)}
    linear = max(usual, bound / 100)  # one deep nearest neighbour must not bleach all others
    return {"cmap": "RdBu_r", "norm": SymLogNorm(linear, vmin=-bound, vmax=bound)}


def _around(db: Database, found: Kernel, datasets: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """In-plane offsets [site, 2] and |dz| [site] of the second defect's sites, and offsets of all sites."""
    first, second = (stored_defect(part).element_from for part in split_label(found.label))
    if first is None or second is None:
        raise UsageError("a map needs defects on host sites: vacancies or substitutions")
    host = db.frame(
        "SELECT h.* FROM hosts AS h JOIN structures USING (host_id) JOIN pairs AS p USING (structure_id) "
        f"WHERE p.label = $label AND {IN_SCOPE} ORDER BY h.n_sites DESC, h.host_id LIMIT 1",
        {"label": found.label, **Scope(found.material, tuple(datasets)).parameters()},
    ).to_dicts()
    if not host:
        raise UsageError(f"no structure of {found.material} holds {found.label}")
    lattice = np.array([[host[0][f"{v}_{x}"] for x in "xyz"] for v in "abc"])
    sites = db.frame("SELECT * FROM host_sites WHERE host_id = ? ORDER BY site_index", [host[0]["host_id"]])
    frac = sites.select("frac_x", "frac_y", "frac_z").to_numpy()
    elements = sites["element"].to_numpy()
    apart = (frac - frac[np.flatnonzero(elements == first)[-1]]) @ lattice
    plane = nearest_image(lattice[:2, :2], apart[:, :2])
    there = (elements == second) & (np.hypot(np.hypot(*plane.T), apart[:, 2]) > 1e-6)
    return plane[there], np.abs(apart[there, 2]), plane
