"""One stored formula in every notation: text, LaTeX, SQL, Python, C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from defectdb.db import Database
from defectdb.db.read import formula
from defectdb.expressions.dimensions import ENERGY, constant_units, kernel_unit, unit_text
from defectdb.expressions.expression import Expression, from_ast, variables
from defectdb.expressions.texts import to_c_function, to_infix, to_python, to_their_errors, with_error
from defectdb.query.sentences import kernel_sentence
from defectdb.schema.labels import formula_order, sql_identifier


def notations(db: Database, formula_id: int) -> dict[str, Any]:
    """The formula's row with a sentence, its Python and C source, and its text with constants rounded to their errors.

    Where the formula is dimensionally sound, with the units of its constants.
    Raises UnknownNameError.
    """
    row = formula(db, formula_id)
    tree, constants = from_ast(row["ast"]), row["constants"]
    name = f"f_{sql_identifier(row['pair_label'])}"
    pair = formula_order(row["pair_label"]) == 2
    return {
        **({"in_words": kernel_sentence(row)} if pair else {}),
        **row,
        "rounded": to_infix(tree, to_their_errors(constants, row["constant_errors"]), digits=12),
        **_errors(constants, row["constant_errors"]),
        **_units(tree),
        "python": to_python(tree, constants, name),
        "c": to_c_function(tree, constants, name),
    }


def _errors(constants: Sequence[float], errors: Sequence[float] | None) -> dict[str, str]:
    """The constants with their standard errors, where these are known."""
    if errors is None or len(errors) != len(constants):
        return {}
    named = enumerate(zip(constants, errors, strict=True))
    return {"constants_text": ", ".join(f"c{i} = {with_error(*pair)}" for i, pair in named)}


def _units(tree: Expression) -> dict[str, str]:
    lengths = {name: kernel_unit(name) for name in ("r", *variables(tree))}
    units = constant_units(tree, lengths, ENERGY)
    if not units:
        return {}
    return {"units": ", ".join(f"c{i} {unit_text(unit)}" for i, unit in enumerate(units))}
