"""The models of a front as a table to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

FRONT_NOTE = "Model front: tokens of all kernels, and what their training errors make of a structure's error"
MOST = 12
"""Models that a table shows."""


def model_front_table(front: pl.DataFrame) -> pl.DataFrame:
    """Some models of a front with tokens, error (eV) and active: evenly spread, the active one marked, and the last."""
    import polars as pl

    row = pl.int_range(pl.len())
    step = max(1, -(-front.height // MOST))
    shown = front.filter((row % step == 0) | pl.col("active") | (row == pl.len() - 1))
    used = pl.when("active").then(pl.lit("*")).otherwise(pl.lit("")).alias("")
    return shown.select(used, "tokens", (1000 * pl.col("error")).alias("error [meV]"))
