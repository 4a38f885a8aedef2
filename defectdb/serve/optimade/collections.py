"""Entries of an OPTIMADE service out of DuckDB: pages, counts and single entries, each in a bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optimade.exceptions import BadRequest, OptimadeHTTPException
from optimade.server.entry_collections import EntryCollection
from optimade.server.query_params import EntryListingQueryParams, SingleEntryQueryParams

from defectdb.db import Database, open_database
from defectdb.db.access.time_limit import time_limit
from defectdb.errors import DatabaseError, TimeLimitError
from defectdb.serve.optimade.fields import Field
from defectdb.serve.optimade.filters import Condition, FilterParser, SqlTransformer

_EVERYTHING = Condition("TRUE")
_LAST_ROW = 2**62


class Unavailable(OptimadeHTTPException):  # type: ignore[misc]
    """The database cannot be read now."""

    status_code = 503
    title = "Service Unavailable"


class TooSlow(OptimadeHTTPException):  # type: ignore[misc]
    """A query that took longer than it may."""

    status_code = 504
    title = "Gateway Timeout"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the entries of one type come from.

    prologue  common table expressions before SELECT, '' for none
    parts     text of FROM, then of the joins that some properties need, by the name of the part
    fields    properties by name
    order     expression that is different for every entry: the order where none is asked for
    finish    adds what SQL does not give to the documents of a page, given the names of the properties asked for
    total     query for the number of all entries
    """

    prologue: str
    parts: Mapping[str, str]
    fields: Mapping[str, Field]
    order: str
    finish: Callable[[Database, list[dict[str, Any]], frozenset[str]], None]
    total: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How the file is read: its path and the seconds that one request may take."""

    path: str
    seconds: float

    @contextmanager
    def opened(self) -> Iterator[Database]:
        """The database for one request; nobody is kept from writing to it afterwards.

        Raises Unavailable and TooSlow.
        """
        try:
            with (
                open_database(self.path, read_only=True, wait=self.seconds) as db,
                time_limit(db, self.seconds),
            ):
                yield db
        except TimeLimitError as cause:
            raise TooSlow(
                detail=f"{cause}; ask for less, or start the server with a longer --time-limit"
            ) from cause
        except KeyboardInterrupt as cause:
            raise Unavailable(detail="the server is being ended") from cause
        except DatabaseError as cause:
            raise Unavailable(
                detail="the database is being written or cannot be read; try again later"
            ) from cause


class DuckDBCollection(EntryCollection):  # type: ignore[misc]
    """The entries of one type, read from the database file anew for every request."""

    def __init__(self, reading: Reading, source: Source, resource_cls: Any, mapper: Any, config: Any) -> None:
        super().__init__(resource_cls, mapper, SqlTransformer(source.fields, mapper), config)
        self.parser = FilterParser()
        self._reading = reading
        self._source = source
        self._by_key = {field.key: field for field in source.fields.values()}
        self._seen = threading.local()  # the router asks for the total after the page, in the page's thread

    def __len__(self) -> int:
        total: int | None = self._seen.__dict__.pop("total", None)
        if total is not None:
            return total
        with self._reading.opened() as db:
            return int(db.value(self._source.total))

    def insert(self, data: Any) -> None:
        """Raises NotImplementedError: the service only reads."""
        raise NotImplementedError("this service only reads")

    def count(self, **criteria: Any) -> int:
        """Number of entries that fulfil the condition under ``filter``."""
        with self._reading.opened() as db:
            return self._count(db, criteria.get("filter") or _EVERYTHING)

    def handle_query_params(self, params: EntryListingQueryParams | SingleEntryQueryParams) -> dict[str, Any]:
        """Filter, page, order and the properties asked for. Raises BadRequest, Forbidden."""
        single = isinstance(params, SingleEntryQueryParams)
        wanted_id = (
            params.filter[4:-1] if single else None
        )  # the router writes id="..." around the name as it is
        if single:
            params.filter = None
        criteria: dict[str, Any] = super().handle_query_params(params)
        if "page_above" in criteria:
            raise NotImplementedError("page_above is not supported; use page_offset or page_number")
        if wanted_id is not None:
            field = self._source.fields["id"]
            criteria["filter"] = Condition(f"{field.sql} = ?", (wanted_id,), (field,))
        criteria["names"] = frozenset(criteria["fields"])
        return criteria

    def parse_sort_params(self, sort_params: str) -> list[tuple[str, int]]:
        """Keys of properties with 1 (rising) or -1 (falling). Raises BadRequest."""
        order: list[tuple[str, int]] = list(super().parse_sort_params(sort_params))
        for key, _ in order:
            if key in self._by_key and not self._by_key[key].compared:
                raise BadRequest(detail=f"entries cannot be sorted by {key}")
        return order

    def get_next_query_params(self, params: Any, results: Any) -> dict[str, list[str]]:
        """What the link to the next page asks for."""
        if getattr(params, "page_number", None) is not None and not params.page_offset:
            return {"page_number": [str(max(params.page_number, 1) + 1)]}
        following: dict[str, list[str]] = super().get_next_query_params(params, results)
        return following

    def _run_db_query(
        self, criteria: dict[str, Any], single_entry: bool = False
    ) -> tuple[list[dict[str, Any]], int | None, bool]:
        condition = criteria.get("filter") or _EVERYTHING
        limit, skip = criteria["limit"], min(criteria.get("skip", 0), _LAST_ROW)
        with self._reading.opened() as db:
            documents = self._page(db, condition, criteria.get("sort", ()), limit, skip, criteria["names"])
            found = len(documents) if single_entry else self._count(db, condition)
            self._seen.total = int(db.value(self._source.total))
        return documents, found, not single_entry and skip + len(documents) < found

    # ------------------------------------------------------------ SQL

    def _from(self, fields: Sequence[Field]) -> str:
        """FROM with the joins that these properties need."""
        needed = {field.part for field in fields}
        first, *others = self._source.parts.items()
        return " ".join([first[1], *(text for name, text in others if name in needed)])

    def _count(self, db: Database, condition: Condition) -> int:
        rows = self._from(condition.fields)
        sql = f"{self._source.prologue} SELECT count(*) {rows} WHERE {condition.sql}"
        return int(db.value(sql, list(condition.values)))

    def _page(
        self, db: Database, condition: Condition, sort: Sequence[tuple[str, int]], limit: int, skip: int,
        names: frozenset[str],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Documents of one page: first which entries it holds, then their properties."""
        source = self._source
        order = [(self._by_key[key], direction) for key, direction in sort if key in self._by_key]
        terms = [f"{field.sql} {'ASC' if rising > 0 else 'DESC'} NULLS LAST" for field, rising in order]
        rows = self._from([*condition.fields, *(field for field, _ in order)])
        ids = db.frame(
            f"{source.prologue} SELECT {source.order} AS id {rows} WHERE {condition.sql} "
            f"ORDER BY {', '.join([*terms, source.order])} LIMIT ? OFFSET ?",
            [*condition.values, limit, skip],
        )["id"].to_list()  # fmt: skip
        if not ids:
            return []
        asked = [
            field
            for name, field in source.fields.items()
            if name in names and "." not in name and field.compared
        ]
        asked = [field for field in asked if field.name not in ("id", "type")]
        columns = ", ".join([f"{source.order} AS id", *(f'{field.sql} AS "{field.key}"' for field in asked)])
        frame = db.frame(
            f"{source.prologue} SELECT {columns} {self._from(asked)} "
            f"WHERE list_contains(CAST(? AS VARCHAR[]), {source.order})",
            [ids],
        )
        by_id = {row["id"]: row for row in frame.iter_rows(named=True)}
        documents = [by_id[name] for name in ids]
        source.finish(db, documents, names)
        return documents
