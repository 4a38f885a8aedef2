"""OPTIMADE filters as SQL conditions: properties become expressions of ours, values are bound."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import LarkError
from optimade.exceptions import BadRequest
from optimade.filterparser import lark_parser
from optimade.filtertransformers.base_transformer import BaseTransformer

from defectdb.serve.optimade.fields import Field

LONGEST_FILTER = 4_000
"""Characters of a filter at the most: the time that parsing takes grows faster than its length."""

_OPERATORS = frozenset(("<", "<=", ">", ">=", "=", "!="))
_FUZZY = {"CONTAINS": "contains", "STARTS": "starts_with", "ENDS": "ends_with"}
_INT64 = 2**63
_LARGEST = 10**300
_TOO_DEEP = "the filter has too many brackets inside one another"


@dataclass(frozen=True, slots=True)
class Condition:
    """A SQL condition with one ``?`` for each of its values, and the properties it is about."""

    sql: str
    values: tuple[Any, ...] = ()
    fields: tuple[Field, ...] = ()


Comparison = Callable[[Field], Condition]
"""The right side of a comparison, which waits for its property."""


class FilterParser(lark_parser.LarkParser):  # type: ignore[misc]
    """The library's grammar, safe for several threads, that keeps which of TRUE and FALSE a filter says."""

    def __init__(self) -> None:
        super().__init__()
        grammar = Path(lark_parser.AVAILABLE_PARSERS[self.version][self.variant]).read_text(encoding="utf-8")
        self.lark = Lark(re.sub(r"^bool:", "!bool:", grammar, flags=re.MULTILINE), maybe_placeholders=False)
        self._turn = threading.Lock()

    def parse(self, filter_: str) -> Tree[Token]:
        """The syntax tree of a filter. Raises BadRequest with the place of the first mistake."""
        if len(filter_) > LONGEST_FILTER:
            raise BadRequest(
                detail=f"a filter may have {LONGEST_FILTER:,} characters; this one has {len(filter_):,}"
            )
        try:
            with self._turn:
                return self.lark.parse(filter_)
        except LarkError as cause:
            raise BadRequest(detail=f"the filter cannot be read: {_place(cause, filter_)}") from cause
        except RecursionError as cause:
            raise BadRequest(detail=_TOO_DEEP) from cause


def _place(cause: LarkError, text: str) -> str:
    """Where the mistake is, in one line."""
    position = getattr(cause, "pos_in_stream", None)
    if not isinstance(position, int) or position < 0 or position >= len(text):
        return "it ends too early"
    return f"character {position + 1}, at {text[position : position + 20]!r}, is not expected there"


class SqlTransformer(BaseTransformer):  # type: ignore[misc]
    """The syntax tree of a filter as a Condition over the SQL expressions of an entry's properties.

    A property without a value fulfils no comparison and no negated one either, which is what SQL's NULL does.
    """

    # the methods are called after the rules of the grammar

    def __init__(self, fields: Mapping[str, Field], mapper: Any) -> None:
        super().__init__(mapper=mapper)
        self._fields = fields

    def transform(self, tree: Tree[Token]) -> Condition:
        """The condition of a whole filter. Raises BadRequest, or NotImplementedError inside lark's VisitError."""
        try:
            found = super().transform(tree)
        except RecursionError as cause:
            raise BadRequest(detail=_TOO_DEEP) from cause
        return found if isinstance(found, Condition) else Condition("TRUE")

    # ------------------------------------------------------------ values and properties

    def string(self, args: Sequence[Token]) -> str:
        return re.sub(r"\\(.)", r"\1", str(args[0])[1:-1], flags=re.DOTALL)

    def bool(self, args: Sequence[Token]) -> bool:
        return str(args[0]) == "TRUE"

    def property(self, args: Sequence[Token]) -> Field:
        name = ".".join(map(str, args))
        if name in self._fields:
            return self._fields[name]
        found = super().property(list(args))  # raises BadRequest for a name that no entry can have
        if len(args) > 1 or found in self.mapper.RELATIONSHIP_ENTRY_TYPES:
            raise NotImplementedError(f"filters on {name!r} are not supported")
        return Field(name, "unknown", "CAST(NULL AS VARCHAR)", compared=False)

    def not_implemented_string(self, args: Sequence[Any]) -> Any:
        raise NotImplementedError("a comparison of two texts says nothing about an entry")

    def value_list(self, args: Sequence[Any]) -> list[Any]:
        if any(isinstance(value, Token) for value in args):
            raise NotImplementedError("operators inside lists of values are not supported")
        return list(args)

    # ------------------------------------------------------------ logic

    def expression(self, args: Sequence[Condition]) -> Condition:
        return _joined(args, " OR ")

    def expression_clause(self, args: Sequence[Condition]) -> Condition:
        return _joined(args, " AND ")

    def expression_phrase(self, args: Sequence[Any]) -> Condition:
        condition = args[-1]
        assert isinstance(condition, Condition)
        negated = len(args) > 1
        return (
            Condition(f"(NOT {condition.sql})", condition.values, condition.fields) if negated else condition
        )

    # ------------------------------------------------------------ comparisons

    def property_first_comparison(self, args: Sequence[Any]) -> Condition:
        field, comparison = args
        condition: Condition = comparison(field)
        return condition

    def constant_first_comparison(self, args: Sequence[Any]) -> Condition:
        value, operator, field = args
        if not isinstance(field, Field):
            raise NotImplementedError("a comparison of two numbers says nothing about an entry")
        return _compared(field, self._reversed_operator_map[str(operator)], value)

    def value_op_rhs(self, args: Sequence[Any]) -> Comparison:
        operator, value = args
        return lambda field: _compared(field, str(operator), value)

    def known_op_rhs(self, args: Sequence[Any]) -> Comparison:
        known = str(args[1]) == "KNOWN"
        return lambda field: _known(field, known)

    def fuzzy_string_op_rhs(self, args: Sequence[Any]) -> Comparison:
        function, value = _FUZZY[str(args[0])], args[-1]
        return lambda field: _fuzzy(field, function, value)

    def set_op_rhs(self, args: Sequence[Any]) -> Comparison:
        word = str(args[1]) if isinstance(args[1], Token) else ""
        if word in _OPERATORS:
            raise NotImplementedError("HAS with an operator is not supported")
        values = args[-1] if word else [args[-1]]
        return lambda field: _set(field, word, values)

    def length_op_rhs(self, args: Sequence[Any]) -> Comparison:
        operator, value = str(args[1]) if len(args) > 2 else "=", args[-1]
        return lambda field: _length(field, operator, value)

    def set_zip_op_rhs(self, args: Sequence[Any]) -> Any:
        raise NotImplementedError("correlated lists are not supported")

    value_zip = value_zip_list = property_zip_addon = set_zip_op_rhs


def _joined(conditions: Sequence[Condition], word: str) -> Condition:
    if len(conditions) == 1:
        return conditions[0]
    return Condition(
        f"({word.join(one.sql for one in conditions)})",
        tuple(value for one in conditions for value in one.values),
        tuple(field for one in conditions for field in one.fields),
    )


def _compared(field: Field, operator: str, value: Any) -> Condition:
    if field.kind == "unknown":
        return _NEVER
    if field.kind in ("list", "dictionary"):
        raise BadRequest(
            detail=f"{field.name} is a {field.kind}: ask for its items with HAS, for their number with LENGTH"
        )
    if isinstance(value, Field):
        if {field.kind, value.kind} - {"integer", "float"} and field.kind != value.kind:
            raise BadRequest(detail=f"{field.name} is a {field.kind} and {value.name} a {value.kind}")
        return Condition(f"({field.sql} {_sql(operator)} {value.sql})", (), (field, value))
    if field.kind == "boolean" and operator not in ("=", "!="):
        raise BadRequest(detail=f"{field.name} is TRUE or FALSE: compare it with = or !=")
    return Condition(f"({field.sql} {_sql(operator)} ?)", (_bound(field, value),), (field,))


def _known(field: Field, known: bool) -> Condition:
    return Condition(f"(({field.sql}) IS {'NOT ' if known else ''}NULL)", (), (field,))


def _fuzzy(field: Field, function: str, value: Any) -> Condition:
    if field.kind == "unknown":
        return _NEVER
    if field.kind not in ("string", "timestamp") or not isinstance(value, str):
        raise BadRequest(detail=f"{field.name} is a {field.kind}: CONTAINS, STARTS and ENDS compare texts")
    return Condition(f"{function}(CAST({field.sql} AS VARCHAR), ?)", (value,), (field,))


def _set(field: Field, word: str, values: Sequence[Any]) -> Condition:
    if field.kind == "unknown":
        return _NEVER
    if field.kind != "list":
        raise BadRequest(detail=f"{field.name} is a {field.kind}: HAS asks for the items of a list")
    if not field.compared:
        raise NotImplementedError(f"filters on the items of {field.name} are not supported")
    numeric = field.name in _NUMBERS
    if any(
        isinstance(value, bool) or isinstance(value, str) == numeric or isinstance(value, Field)
        for value in values
    ):
        raise BadRequest(detail=f"the items of {field.name} are {'numbers' if numeric else 'texts'}")
    given = f"CAST(? AS {'DOUBLE' if numeric else 'VARCHAR'}[])"
    own = f"CAST({field.sql} AS {'DOUBLE' if numeric else 'VARCHAR'}[])"
    bound = [float(value) for value in values] if numeric else list(values)
    if word == "ONLY":
        return Condition(f"(list_has_all({given}, {own}) AND {field.length} > 0)", (bound,), (field,))
    function = "list_has_any" if word == "ANY" else "list_has_all"
    return Condition(f"{function}({own}, {given})", (bound,), (field,))


_NUMBERS = frozenset(("elements_ratios", "dimension_types"))


def _length(field: Field, operator: str, value: int) -> Condition:
    if field.kind == "unknown":
        return _NEVER
    if not field.length:
        raise BadRequest(detail=f"{field.name} is a {field.kind}: LENGTH counts the items of a list")
    return Condition(f"({field.length} {_sql(operator)} ?)", (_number(value),), (field,))


_NEVER = Condition("CAST(NULL AS BOOLEAN)")
"""What a property of another provider is compared with: unknown."""


def _sql(operator: str) -> str:
    """The operator itself: the grammar knows no others, and SQL has the same."""
    if operator not in _OPERATORS:
        raise NotImplementedError(f"operator {operator} is not supported")
    return operator


def _bound(field: Field, value: Any) -> Any:
    """The value as DuckDB compares it. Raises BadRequest for one of another kind."""
    if field.kind in ("integer", "float") and isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    if field.kind == "boolean" and isinstance(value, bool):
        return value
    if field.kind == "string" and isinstance(value, str):
        return value
    if field.kind == "timestamp" and isinstance(value, str):
        return _time(field, value)
    raise BadRequest(detail=f"{field.name} is a {field.kind}; {value!r} is none")


def _number(value: float) -> float:
    """The number as DuckDB can hold it: whole ones beyond 64 bits as floats, the largest at its end."""
    return value if abs(value) < _INT64 else float(max(-_LARGEST, min(_LARGEST, value)))


def _time(field: Field, text: str) -> datetime:
    """The time in UTC. Raises BadRequest for a text that is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as cause:
        raise BadRequest(
            detail=f'{field.name} is a time; {text!r} is none: write e.g. "2026-01-31T12:00:00Z"'
        ) from cause
    try:
        return time.replace(tzinfo=None) if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as cause:
        raise BadRequest(detail=f"{field.name}: {text!r} is out of range") from cause
