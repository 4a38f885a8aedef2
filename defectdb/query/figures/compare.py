"""Draw laws fitted to the same points: their curves, and beside them their errors on distances left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defectdb.db.read import known
from defectdb.expressions.arrays import Floats
from defectdb.query.figures.style import (
    COLOURS,
    COLUMN,
    SUFFIXES,
    new_figure,
    pretty,
    quantity,
    save_styled,
    scaled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = 6
"""So many of the best laws get a colour; the others are grey."""
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


@dataclass(frozen=True, slots=True)
class Line:
    """One law.

    ``name``: as it is called in the figure.
    ``train``, ``left_out``: mean absolute errors in training and at inner distances left out, eV.
    ``values`` [point]: values on the panel's grid, eV; None for a table.
    """

    name: str
    train: float
    left_out: float
    values: Floats | None


@dataclass(frozen=True, slots=True)
class Panel:
    """One kernel with the laws fitted to it.

    ``label``, ``target``: pair label and target.
    ``window``: window of |dz| as text.
    ``r`` [row], ``y`` [row]: distances (angstrom) and values (eV) fitted to.
    ``grid`` [point]: distances at which the curves are drawn, angstrom.
    ``lines``: the laws, best first.
    ``ours``: name of the law that stands out.
    """

    label: str
    target: str
    window: str
    r: Floats
    y: Floats
    grid: Floats
    lines: Sequence[Line]
    ours: str


def draw_comparison(panels: Sequence[Panel], path: Path) -> None:
    """One row for every kernel: curves over the points, and errors. Raises as ``figures.draw``."""
    known("figure format", path.suffix, SUFFIXES)
    save_styled(lambda: _figure(panels), path)


def _figure(panels: Sequence[Panel]) -> Figure:
    figure = new_figure(2 * COLUMN, 3.0 * len(panels))
    rows = figure.subplots(len(panels), 2, squeeze=False, width_ratios=[3, 2])
    for (left, right), panel in zip(rows, panels, strict=True):
        _curves(left, panel)
        _errors(right, panel)
    return figure


def _look(panel: Panel) -> dict[str, dict[str, Any]]:
    """Colour, dashes and width of every law: ours thick and black, the next best coloured, the others grey."""
    look: dict[str, dict[str, Any]] = {panel.ours: {"color": "black", "lw": 1.8, "zorder": 3}}
    others = [line.name for line in panel.lines if line.name != panel.ours and line.values is not None]
    for number, name in enumerate(others[:DRAWN]):
        look[name] = {"color": COLOURS[number], "ls": STYLES[number], "lw": 1.1, "zorder": 2}
    return look | {name: {"color": "0.8", "lw": 0.6, "zorder": 1} for name in others[DRAWN:]}


def _curves(axes: Axes, panel: Panel) -> None:
    factor, unit = scaled(panel.target)
    look = _look(panel)
    for line in panel.lines:
        if line.values is not None:
            axes.plot(panel.grid, factor * line.values, **look[line.name])
    axes.plot(
        panel.r, factor * panel.y, ls="none", marker="o", ms=4, mfc="white", mec="black", mew=0.8, zorder=4
    )
    low, high = factor * panel.y.min(), factor * panel.y.max()
    margin = 0.15 * (high - low or 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    axes.set_xlabel("distance $r$ (Å)")
    axes.set_ylabel(f"{quantity(panel.target)} ({unit})")
    axes.set_title(f"{pretty(panel.label)} {panel.window}".rstrip(), fontsize=8)


def _errors(axes: Axes, panel: Panel) -> None:
    """Mean absolute errors, best law on top: filled where distances are left out, open in training."""
    look = _look(panel)
    lines = [line for line in panel.lines if np.isfinite(line.left_out)]
    for height, line in enumerate(reversed(lines)):
        colour = look.get(line.name, {"color": "0.4"})["color"]
        axes.plot(1000 * line.left_out, height, marker="o", ms=4, color=colour, ls="none")
        if line.values is not None:
            axes.plot(1000 * line.train, height, marker="o", ms=4, mfc="white", mec=colour, ls="none")
            style = {key: value for key, value in look[line.name].items() if key != "zorder"}
            axes.plot([0.02, 0.13], [height, height], transform=axes.get_yaxis_transform(), **style)
    _log_scale(axes)
    axes.set_yticks(range(len(lines)), [line.name for line in reversed(lines)])
    axes.set_xlabel("MAE (meV)\n○ training   ● inner distances left out")


def _log_scale(axes: Axes) -> None:
    """A logarithmic axis with plain numbers and, on the left, room for the samples of the lines."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left * (left / right) ** 0.2, right)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < 40 * left else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
