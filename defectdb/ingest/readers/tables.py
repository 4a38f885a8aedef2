"""Read CSV tables and check their columns and numbers."""

from __future__ import annotations

import io

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
    try:
        frame = pl.read_csv(io.BytesIO(data), infer_schema=False)
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
    return texts.with_row_index("row", offset=2).with_columns(pl.col("row").cast(pl.Int64))


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


def drop_duplicates(frame: pl.DataFrame, path: str) -> tuple[pl.DataFrame, list[Reject]]:
    """The first row of every structure_id; the others, and rows without an id, as rejects."""
    nameless = frame.filter(pl.col("structure_id").is_null())
    named = frame.filter(pl.col("structure_id").is_not_null())
    first = named["structure_id"].is_first_distinct()
    rejects = [Reject(path, row, "missing id", "the row has no _id") for row in nameless["row"]]
    for row, name in named.filter(~first).select("row", "structure_id").iter_rows():
        rejects.append(Reject(path, row, "duplicate id", f"{name!r} stands in an earlier row already", name))
    return named.filter(first), rejects
