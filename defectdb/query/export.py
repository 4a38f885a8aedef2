"""Frames as LaTeX (booktabs), Markdown, HTML, CSV and Parquet; formulas stay mathematics in all of them."""

from __future__ import annotations

import datetime
import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.db.read import known
from defectdb.query.output_file import whole_file, write_whole
from defectdb.query.parquet_notes import file_notes

FORMATS = ("latex", "csv", "markdown", "html", "parquet")
SUFFIXES = {".tex": "latex", ".csv": "csv", ".md": "markdown", ".html": "html", ".parquet": "parquet"}
_MATHS = "latex"  # the column that holds mathematics
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip

FORMULA_TABLE = """
    SELECT material_id AS material, pair_label AS pair, target, latex, complexity, n_train,
           1000 * mae_train AS "MAE [meV]", 1000 * mae_cv AS "CV MAE [meV]", r_min AS "r min [Å]", r_max AS "r max [Å]"
    FROM formulas
    WHERE status = 'active' OR NOT EXISTS (FROM formulas WHERE status = 'active')
    ORDER BY material_id, target, pair_label, dz_min, complexity
"""
"""What ``export formulas`` writes for people to read: the active formulas (all where none is active).

The column of materials is left out where there is only one."""


def select(db: Database, query_or_table: str, style: str) -> pl.DataFrame:
    """The rows of a query, table or view. Raises UnknownNameError and QueryError."""
    text = query_or_table.strip()
    if re.search(r"\s", text):
        return db.frame(text)
    known("table", text, db.tables())
    if text == "formulas" and style in ("latex", "markdown", "html"):
        table = db.frame(FORMULA_TABLE)
        return table if table["material"].n_unique() > 1 else table.drop("material")
    return db.frame(f'SELECT * FROM "{text}" ORDER BY ALL')


def style_of(path: Path) -> str:
    """Format that a file name asks for. Raises UnknownNameError."""
    return SUFFIXES[known("file format", path.suffix, list(SUFFIXES))]


def write(frame: pl.DataFrame, style: str, path: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a frame; a Parquet file says what it is ``about``. Raises UnknownNameError and InputDataError where it
    cannot be written."""
    known("format", style, FORMATS)
    if style == "parquet":
        with whole_file(path) as draft:
            frame.write_parquet(draft, metadata=file_notes(frame.columns, about))
    else:
        write_whole(path, render(frame, style))


def render(frame: pl.DataFrame, style: str) -> str:
    """The text of a frame in one of the text formats. Column ``latex`` is mathematics, all else is escaped."""
    known("text format", style, FORMATS[:-1])
    renderers: dict[str, Callable[[pl.DataFrame], str]] = {
        "latex": _latex, "csv": _csv, "markdown": _markdown, "html": _html
    }  # fmt: skip
    return renderers[style](frame)


_NO_CSV = (pl.Binary, pl.Object, pl.Duration)
"""Types that polars writes into no CSV file."""


def _csv(frame: pl.DataFrame) -> str:
    flat = [
        pl.col(name).map_elements(_plain, return_dtype=pl.String)
        for name, kind in frame.schema.items()
        if kind.is_nested() or kind in _NO_CSV
    ]
    text = frame.with_columns(flat)
    calculated = [_uncalculated(name) for name, kind in text.schema.items() if kind == pl.String]
    return text.with_columns(calculated).write_csv()


_CALCULATED = r"^([=@\t\r]|[+-].*[^A-Za-z0-9 .,*/()^_+-])"
"""Texts that a spreadsheet would calculate; signed numbers and formulas without quotes can do no harm."""


def _uncalculated(name: str) -> pl.Expr:
    """A column's texts, with an apostrophe before those that a spreadsheet would calculate."""
    column = pl.col(name)
    return pl.when(column.str.contains(_CALCULATED)).then("'" + column).otherwise(column).alias(name)


def _latex(frame: pl.DataFrame) -> str:
    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        if name == _MATHS:
            return f"${value}$" if is_mathematics(str(value)) else escape_latex(str(value))
        return _latex_number(value) if isinstance(value, float) else escape_latex(_plain(value))

    align = "".join("r" if kind.is_numeric() else "l" for kind in frame.schema.values())
    lines = [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
    lines.append(" & ".join(escape_latex(_heading(name)) for name in frame.columns) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(row) + r" \\" for row in _cells(frame, cell)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


_COMMANDS = frozenset(
    """frac sqrt left right sin cos tan sinh cosh tanh log ln exp cdot times Delta operatorname mathrm text min max
    infty begin end cases vert lvert rvert lfloor rfloor ge le geq leq wedge vee pi quad""".split()  # noqa: SIM905
)


def is_mathematics(text: str) -> bool:
    """Whether LaTeX text holds nothing but what formulas are made of: no command that reads, writes or defines."""
    commands = re.findall(r"\\([A-Za-z]+)", text)
    rest = re.sub(r"\\([A-Za-z]+|[\\,;:! |{}])", "", text)
    plain = re.fullmatch(r"[A-Za-z0-9 _^{}+\-*/=<>.,()|\[\]&'!:;]*", rest) is not None
    return plain and "^^" not in text and _COMMANDS.issuperset(commands)


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(char, char) for char in text)


def _latex_number(value: float) -> str:
    text = _number(value)
    if not math.isfinite(value):
        return rf"\text{{{text}}}"
    mantissa, _, exponent = text.partition("e")
    return f"${mantissa} \\times 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"


def _markdown(frame: pl.DataFrame) -> str:
    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        if name == _MATHS:
            if is_mathematics(str(value)):
                return "$" + str(value).replace("|", r"\vert ") + "$"
            return _escape_markdown(str(value))
        text = _number(value) if isinstance(value, float) else _plain(value)
        return _escape_markdown(text)

    rule = ["---:" if kind.is_numeric() else "---" for kind in frame.schema.values()]
    rows = [[_heading(name) for name in frame.columns], rule, *_cells(frame, cell)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|`*_<>$\[\]])", r"\\\1", text).replace("\n", " ")


def _html(frame: pl.DataFrame) -> str:
    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        if name == _MATHS:
            text = html.escape(str(value))
            return rf"\({text}\)" if is_mathematics(str(value)) else text
        return html.escape(_number(value) if isinstance(value, float) else _plain(value))

    right = [' style="text-align: right"' if kind.is_numeric() else "" for kind in frame.schema.values()]
    head = "".join(f"<th>{html.escape(_heading(name))}</th>" for name in frame.columns)
    lines = ["<table>", f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for row in _cells(frame, cell):
        lines.append(
            "<tr>" + "".join(f"<td{a}>{text}</td>" for a, text in zip(right, row, strict=True)) + "</tr>"
        )
    return "\n".join([*lines, "</tbody>", "</table>", ""])


def _cells(frame: pl.DataFrame, cell: Callable[[str, Any], str]) -> list[list[str]]:
    names: Sequence[str] = frame.columns
    return [[cell(name, value) for name, value in zip(names, row, strict=True)] for row in frame.iter_rows()]


def _heading(name: str) -> str:
    return "formula" if name == _MATHS else name


def _number(value: float) -> str:
    return f"{value:.6g}"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple | pl.Series):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat(sep=" ") if isinstance(value, datetime.datetime) else value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)
