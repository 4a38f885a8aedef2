"""The tables of a paper, as frames and as LaTeX: formulas, accuracy and data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import Scope
from defectdb.expressions.evaluation import to_latex
from defectdb.expressions.expression import from_ast
from defectdb.query.export import escape_latex, render
from defectdb.query.figures.style import NAMES, pretty
from defectdb.query.output_file import write_whole
from defectdb.query.paper.digits_needed import digits_needed
from defectdb.schema.labels import COMPOSITION

_COLUMNS = r"\begin{tabular}{ll>{\raggedright\arraybackslash}p{0.5\linewidth}llrrr}"
_HEADS = {"|dz| [Å]": r"$|\Delta z|$ [Å]", "& r [Å]": "& $r$ [Å]"}


def write_table(folder: Path, name: str, frame: pl.DataFrame, latex: str) -> Iterator[Path]:
    """Write a table as .tex and .csv; yields the paths."""
    for suffix, text in ((".tex", latex), (".csv", render(frame, "csv"))):
        write_whole(folder / f"{name}{suffix}", text)
        yield folder / f"{name}{suffix}"


def formulas(db: Database, scope: Scope) -> pl.DataFrame:
    """The active formulas of one material, constants rounded as far as the stated errors allow."""
    rows = db.frame(
        "SELECT * FROM formulas WHERE status = 'active' AND material_id = ? "
        "ORDER BY target, pair_label, dz_min, formula_id",
        [scope.material],
    ).to_dicts()
    found = []
    for row in rows:
        tree, constants = from_ast(row["ast"]), tuple(row["constants"])
        digits = digits_needed(db, tree, constants, row)
        error = row["mae_cv"]
        found.append(
            {
                "pair": row["pair_label"],
                "property": NAMES[row["target"]],
                "latex": _breakable(to_latex(tree, constants, digits)),
                "|dz| [Å]": _window(row["dz_min"], row["dz_max"]),
                "r [Å]": _range(row),
                "size": row["complexity"],
                "MAE [meV]": round(1000 * row["mae_train"], 3),
                "CV MAE [meV]": None if error is None else round(1000 * error, 3),
            }
        )
    return pl.DataFrame(found, infer_schema_length=None)


def _breakable(latex: str) -> str:
    """Mathematics that may go on in the next line: TeX never breaks between \\left and \\right."""
    plain = latex.replace(r"\left(", "(").replace(r"\right)", ")")
    return plain.replace(") (", r")\allowbreak (")


def _range(row: Mapping[str, Any]) -> str:
    """Where the formula was learned: distances in angstrom, or numbers of defects."""
    if row["pair_label"] == COMPOSITION:
        return f"{row['r_min']:.0f} to {row['r_max']:.0f} defects"
    return f"{row['r_min']:.2f} to {row['r_max']:.2f}"


def _window(low: float, high: float) -> str:
    if low == 0 and high >= 1e8:
        return "all"
    return f"below {high:.2f}" if low == 0 else f"from {low:.2f}"


def formulas_tex(frame: pl.DataFrame) -> str:
    """Formulas as LaTeX: labels as mathematics, errors with equal digits, formulas over several lines."""
    errors = [c for c in frame.columns if c.endswith("[meV]")]
    rounded = [pl.col(c).map_elements(lambda x: f"{x:.2f}", return_dtype=pl.String) for c in errors]
    text = render(frame.with_columns(rounded), "latex")
    text = re.sub(r"\\begin\{tabular\}\{\w+\}", lambda _: _COLUMNS, text, count=1)
    for old, new in _HEADS.items():
        text = text.replace(old, new, 1)
    for label in sorted(set(frame["pair"]), key=len, reverse=True):
        text = text.replace(f"\n{escape_latex(label)} &", f"\n{pair_text(label)} &")
    return text


def accuracy_tex(frame: pl.DataFrame) -> str:
    """Errors as LaTeX, the materials with subscripts."""
    return re.sub(
        r"^([A-Z]\w*\d)(?= [a-z]* ?&)", lambda m: material_text(m[1]), render(frame, "latex"), flags=re.M
    )


def judged_text(ours: pl.DataFrame) -> str:
    """Which structures our errors are of, for the caption; ``ours`` as from ``own_errors``."""
    every = ours["method"].str.starts_with("this work, all").all()
    return "all stored structures" if every else "the stored structures with three or more defects"


def with_materials(text: str) -> str:
    """Plain text as LaTeX, materials with subscripts."""
    return re.sub(
        r"\b((?:[A-Z][a-z]?\d*)*[A-Z][a-z]?\d+)\b", lambda m: material_text(m[1]), escape_latex(text)
    )


def pair_text(label: str) -> str:
    """A label as LaTeX: V_Mo--V_S with subscripts."""
    return pretty(label).replace(" – ", "--")


def material_text(material: str) -> str:
    """A material as LaTeX: MoS$_2$."""
    return re.sub(r"(\d+)", r"$_{\1}$", escape_latex(material), count=1)


def datasets(db: Database, scope: Scope) -> pl.DataFrame:
    """The data sets that hold structures in scope, with their size, licence and reference."""
    return db.frame(
        "SELECT name, format, n_structures AS structures, licence, doi, left(sha256, 12) AS sha256 "
        f"FROM datasets WHERE {HOLDS_SCOPE} ORDER BY name",
        scope.parameters(),
    )


HOLDS_SCOPE = (
    "n_structures > 0 AND coalesce(list_contains(CAST($datasets AS VARCHAR[]), dataset_id), TRUE) AND "
    "($material IS NULL OR dataset_id IN (SELECT s.dataset_id FROM structures AS s JOIN hosts AS h USING (host_id) "
    "WHERE h.material_id = $material))"
)
"""SQL predicate over table datasets: those that hold structures of a scope."""
