"""Draw errors against the number of training structures: means over the draws, bars from least to greatest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from defectdb.db.read import known
from defectdb.query.figures.style import COLOURS, COLUMN, MARKERS, NAMES, SUFFIXES, new_figure, save_styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_few_data(frame: pl.DataFrame, path: Path, target: str) -> None:
    """``frame``: n_train, seed, n, undefined and errors (eV) of one method per further column.

    Raises as ``figures.draw``.
    """
    known("figure format", path.suffix, SUFFIXES)
    save_styled(lambda: _figure(frame, target), path)


def _figure(frame: pl.DataFrame, target: str) -> Figure:
    methods = [name for name in frame.columns if name not in ("n_train", "seed", "n", "undefined")]
    figure = new_figure(COLUMN, 2.8)
    axes = figure.subplots()
    for number, method in enumerate(methods):
        rows = frame.group_by("n_train").agg(
            mean=pl.col(method).mean(), low=pl.col(method).min(), high=pl.col(method).max()
        )
        size, mean, low, high = (
            rows.sort("n_train")[c].to_numpy() for c in ("n_train", "mean", "low", "high")
        )
        bars = 1000 * np.stack([mean - low, high - mean])
        axes.errorbar(
            size, 1000 * mean, yerr=bars, marker=MARKERS[number % 6], ms=4, capsize=2, color=COLOURS[number % 6],
            mfc="none" if number else None, lw=1.6 if number == 0 else 0.9, label=method,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted(set(frame["n_train"]))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training structures with two or more defects")
    axes.set_ylabel(f"MAE of the {NAMES[target]} (meV)")
    axes.legend()
    return figure
