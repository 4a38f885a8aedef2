"""Read CSV tables and check their columns and numbers."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8

import polars as pl

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import Container, read_member
from defectdb.ingest.records import Reject

TEXT_COLUMNS = frozenset(
    {"_id", "structure_id", "descriptor_id", "defect_id", "description", "base", "cell", "cell_size", "pbc",
     "defects", "element", "note", "row", "size", "descriptor", "declared"}
)  # fmt: skip


def read_table(container: Container, name: str, required: tuple[str, ...]) -> pl.DataFrame:
    """All columns of a CSV member as text, plus ``row``, the record's line. Raises InputDataError."""
    return parse_table(read_member(container, name), container.uri, name, required)


def parse_table(data: bytes, path: str, member: str | None, required: tuple[str, ...]) -> pl.DataFrame:
    """All columns of CSV bytes as text, empty cells null, plus ``row``. Raises InputDataError."""
    separator = _separator(data)
    _demand_single_columns(data, separator, path, member)
    try:
        frame = pl.read_csv(io.BytesIO(data), infer_schema=False, separator=separator)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError) as cause:
        first = (str(cause).splitlines() or ["unreadable"])[0]
        raise InputDataError(f"no CSV table: {first}", path=path, member=member) from cause
    missing = [column for column in required if column not in frame.columns]
    if missing:
        raise InputDataError(
            f"lacks the column {', '.join(missing)}; it has {', '.join(frame.columns) or 'none'}",
            path=path, member=member,
        )  # fmt: skip
    unnamed = [c for c in frame.columns if not c.strip() or c == "row"]
    texts = frame.drop(unnamed).with_columns(pl.all().replace("", None))
    if separator != ",":
        texts = texts.with_columns(_decimal_points(column) for column in texts.columns)
    return texts.with_row_index("row", offset=2).with_columns(pl.col("row").cast(pl.Int64))


def _header(data: bytes) -> str:
    """The first line of a table."""
    return data.removeprefix(BOM_UTF8).split(b"\n", 1)[0][:1_000_000].decode("utf-8", "replace")


def _separator(data: bytes) -> str:
    """What stands between the fields of a table: a comma, or a semicolon or tab where the header holds no comma."""
    header = _header(data)
    return next((mark for mark in (";", "\t") if mark in header and "," not in header), ",")


def _demand_single_columns(data: bytes, separator: str, path: str, member: str | None) -> None:
    """Raises InputDataError where a column name stands twice in the header."""
    try:
        names = [name.strip() for name in next(csv.reader([_header(data)], delimiter=separator), [])]
    except csv.Error:
        return  # the reader of the whole table says what is wrong
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputDataError(
            f"the column {', '.join(twice)} is there more than once", path=path, member=member
        )


def _decimal_points(column: str) -> pl.Expr:
    """The column with decimal commas as points, where they are not also what separates fields."""
    text = pl.col(column)
    number = text.str.contains(r"^\s*[-+]?\d+,\d+([eE][-+]?\d+)?\s*$")
    return pl.when(number).then(text.str.replace(",", ".", literal=True)).otherwise(text).alias(column)


def numeric(
    frame: pl.DataFrame, path: str, keep: frozenset[str] = TEXT_COLUMNS
) -> tuple[pl.DataFrame, list[Reject]]:
    """The frame with its number columns as floats, without the rows in which one of them is no finite number.

    A column outside ``keep`` counts as a number column if at least one of its cells is a number; others are
    dropped. NaN counts as empty.
    """
    numbers, bad = [], pl.lit(False)
    for column in [c for c in frame.columns if c not in keep]:
        text = frame[column].str.strip_chars()
        value = text.cast(pl.Float64, strict=False)
        if value.null_count() == frame.height:
            continue
        broken = (value.is_null() & text.is_not_null() & (text != "")) | value.is_infinite().fill_null(False)
        numbers.append(value.fill_nan(None))
        bad = bad | pl.lit(broken)
    wide = frame.select(c for c in frame.columns if c in keep).with_columns(numbers)
    marked = wide.with_columns(bad.alias("__bad"))
    rejects = [
        Reject(path, row, "bad number", f"a value of {name!r} is not a finite number", name)
        for row, name in marked.filter("__bad").select("row", "structure_id").iter_rows()
    ]
    return marked.filter(~pl.col("__bad")).drop("__bad"), rejects


def nan_cells(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Structure and column of every cell outside the text columns that says NaN."""
    found = []
    for column in [c for c in frame.columns if c not in TEXT_COLUMNS]:
        wrong = frame.filter(pl.col(column).is_in(["nan", "NaN", "NAN", "-nan", "-NaN"]))
        found += [(name, column) for name in wrong["structure_id"]]
    return found


def drop_duplicates(frame: pl.DataFrame, path: str) -> tuple[pl.DataFrame, list[Reject]]:
    """The first row of every structure_id; the others, and rows without an id, as rejects."""
    nameless = frame.filter(pl.col("structure_id").is_null())
    named = frame.filter(pl.col("structure_id").is_not_null())
    first = named["structure_id"].is_first_distinct()
    rejects = [Reject(path, row, "missing id", "the row has no _id") for row in nameless["row"]]
    for row, name in named.filter(~first).select("row", "structure_id").iter_rows():
        rejects.append(Reject(path, row, "duplicate id", f"{name!r} stands in an earlier row already", name))
    return named.filter(first), rejects
