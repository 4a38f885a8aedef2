"""One stored formula in every notation: text, LaTeX, SQL, Python, C."""

from __future__ import annotations

from typing import Any

from defectdb.db import Database
from defectdb.db.read import formula
from defectdb.expressions.dimensions import ENERGY, constant_units, kernel_unit, unit_text
from defectdb.expressions.expression import Expression, from_ast, variables
from defectdb.expressions.texts import to_c_function, to_infix, to_python
from defectdb.schema.labels import sql_identifier


def notations(db: Database, formula_id: int) -> dict[str, Any]:
    """The formula's row with its Python and C source, and its text with constants rounded to four digits.

    Where the formula is dimensionally sound, with the units of its constants.
    Raises UnknownNameError.
    """
    row = formula(db, formula_id)
    tree, constants = from_ast(row["ast"]), row["constants"]
    name = f"f_{sql_identifier(row['pair_label'])}"
    return {
        **row,
        "rounded": to_infix(tree, constants, digits=4),
        **_units(tree),
        "python": to_python(tree, constants, name),
        "c": to_c_function(tree, constants, name),
    }


def _units(tree: Expression) -> dict[str, str]:
    lengths = {name: kernel_unit(name) for name in ("r", *variables(tree))}
    units = constant_units(tree, lengths, ENERGY)
    if not units:
        return {}
    return {"units": ", ".join(f"c{i} {unit_text(unit)}" for i, unit in enumerate(units))}
