"""A front in a notebook: the formulas of every length, as a table, a figure, and one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from defectdb.api.formula import Formula
from defectdb.db import Database
from defectdb.db.scope import Scope, one_material
from defectdb.errors import UsageError
from defectdb.expressions.expression import from_ast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = """
    SELECT formula_id, material_id, pair_label, target, dz_min, complexity, mae_train, mae_cv, status,
        CAST(ast AS VARCHAR) AS ast, constants, run_id
    FROM formulas WHERE run_id = $run AND coalesce(pair_label = $label, TRUE) AND coalesce(target = $target, TRUE)
        AND coalesce(material_id = $material, TRUE)
    ORDER BY pair_label, dz_min, complexity, formula_id
"""


class Front:
    """The formulas that one run found, shortest first within every pair and window of |dz|.

    ``len(front)``, ``front[3]`` and loops give Formulas; ``front.table`` is a frame, errors in meV.
    """

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows

    @classmethod
    def of_run(cls, db: Database, run_id: int) -> Front:
        """All formulas of a run."""
        return cls(db.frame(_ROWS, {"run": run_id, "label": None, "target": None, "material": None}))

    @classmethod
    def of_label(cls, db: Database, label: str, target: str, scope: Scope) -> Front:
        """The newest run's formulas of a pair label. Raises UsageError where there is none or several materials fit."""
        newest = db.frame(
            "SELECT material_id, max(run_id) AS run_id FROM formulas WHERE pair_label = ? AND target = ? GROUP BY ALL",
            [label, target],
        )
        material = one_material(db, scope, newest["material_id"].to_list(), f"formulas of {label}")
        if material is None:
            raise UsageError(f"{label} has no formulas of {target}; db.learn({label!r}) finds some")
        run = newest.filter(material_id=material)["run_id"][0]
        return cls(db.frame(_ROWS, {"run": run, "label": label, "target": target, "material": material}))

    @property
    def table(self) -> pl.DataFrame:
        """formula_id, pair, tokens, errors of the fit and where left out [meV], status, formula."""
        return self._rows.select(
            "formula_id",
            pl.col("pair_label").alias("pair"),
            pl.col("complexity").alias("tokens"),
            (1000 * pl.col("mae_train")).alias("MAE [meV]"),
            (1000 * pl.col("mae_cv")).alias("left out [meV]"),
            "status",
            pl.Series("formula", [str(one) for one in self], dtype=pl.String),
        )

    @property
    def chosen(self) -> list[Formula]:
        """The formulas in use."""
        return [self[i] for i, status in enumerate(self._rows["status"]) if status == "active"]

    def sympy(self) -> list[Any]:
        """The formulas in use as sympy expressions."""
        return [one.sympy for one in self.chosen]

    def plot(self) -> Figure:
        """A matplotlib Figure: error against length, a line for every pair and window. Raises MissingPartError."""
        from defectdb.query.figures.style import COLOURS, COLUMN, MARKERS, new_figure, styled

        def make() -> Figure:
            figure = new_figure(COLUMN, 2.6)
            axes = figure.subplots()
            for number, rows in enumerate(
                self._rows.partition_by("pair_label", "dz_min", maintain_order=True)
            ):
                axes.plot(
                    rows["complexity"].to_numpy(), 1000 * rows["mae_train"].to_numpy(), lw=1, ms=3,
                    color=COLOURS[number % 6], marker=MARKERS[number % 6], label=rows["pair_label"][0],
                )  # fmt: skip
            axes.set_yscale("symlog", linthresh=1e-3)
            axes.set_xlabel("complexity (tokens)")
            axes.set_ylabel("MAE (meV)")
            axes.legend()
            return figure

        return styled(make)

    def __len__(self) -> int:
        return self._rows.height

    def __getitem__(self, index: int) -> Formula:
        row = self._rows.row(index, named=True)
        return Formula(
            row["formula_id"], row["material_id"], row["pair_label"], row["target"], from_ast(row["ast"]),
            tuple(row["constants"]),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Formula]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        pairs = self._rows["pair_label"].unique(maintain_order=True).to_list()
        about = ", ".join(pairs[:3]) + (f" and {len(pairs) - 3} more" if len(pairs) > 3 else "")
        return f"<front of {about}: {len(self)} formulas>"

    def _repr_html_(self) -> str:
        from defectdb.query.export import render

        return render(self.table.with_columns(pl.col("MAE [meV]", "left out [meV]").round(3)), "html")
