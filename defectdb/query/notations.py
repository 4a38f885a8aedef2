"""One stored formula to every notation: text, LaTeX, SQL, Python, C, polars."""

from __future__ import annotations

from typing import Any

from defectdb.db import Database
from defectdb.db.read import formula
from defectdb.schema.expression import from_ast
from defectdb.schema.labels import sql_identifier
from defectdb.schema.texts import to_c_function, to_infix, to_python


def notations(db: Database, formula_id: int) -> dict[str, Any]:
    """The formula's row with its Python and C source, and its text with constants rounded to four digits.

    Raises UnknownNameError.
    """
    row = formula(db, formula_id)
    tree, constants = from_ast(row["ast"]), row["constants"]
    name = f"f_{sql_identifier(row['pair_label'])}"
    return {
        **row,
        "rounded": to_infix(tree, constants, digits=4),
        "python": to_python(tree, constants, name),
        "c": to_c_function(tree, constants, name),
    }
