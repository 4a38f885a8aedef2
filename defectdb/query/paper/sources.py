"""Sources of a paper's numbers: the bibliography of its data sets and the provenance of its formulas."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import Scope
from defectdb.query.export import escape_latex
from defectdb.query.paper.tables import HOLDS_SCOPE
from defectdb.schema.doi import plain_doi


def bibliography(db: Database, scope: Scope) -> str:
    """BibTeX of the data sets in scope: one entry each."""
    rows = db.frame(
        f"SELECT dataset_id, name, citation, doi, source_uri FROM datasets WHERE {HOLDS_SCOPE} ORDER BY dataset_id",
        scope.parameters(),
    )
    entries = []
    for key, name, citation, doi, source in rows.iter_rows():
        fields = {"title": f"{{{escape_latex(name)}}}", "note": escape_latex(citation or Path(source).name)}
        if doi:
            fields["doi"] = plain_doi(doi)
        body = ",\n".join(f"  {field} = {{{value}}}" for field, value in fields.items())
        entries.append(f"@misc{{{re.sub(r'[^A-Za-z0-9]+', '-', key)},\n{body}\n}}\n")
    return "\n".join(entries)


_ACTIVE = "status = 'active' AND coalesce(material_id = $material, TRUE)"


def provenance(db: Database, scope: Scope) -> dict[str, object]:
    """Hashes, versions, seeds and settings behind every number of a paper."""
    material = {"material": scope.material}

    def rows(sql: str, values: dict[str, Any]) -> list[dict[str, object]]:
        frame = db.frame(sql, values)
        return frame.with_columns(pl.col(pl.Datetime).dt.to_string("iso")).to_dicts()

    return {
        "software": {
            "defectdb": version("defectdb"),
            "python": platform.python_version(),
            "duckdb": db.value("SELECT version()"),
            "polars": version("polars"),
        },
        "datasets": rows(
            "SELECT dataset_id, source_uri, sha256, licence, ingested_at FROM datasets "
            f"WHERE {HOLDS_SCOPE} ORDER BY dataset_id",
            scope.parameters(),
        ),
        "models": rows(f"SELECT * FROM models WHERE {_ACTIVE} ORDER BY model_id", material),
        "formulas": rows(
            "SELECT formula_id, run_id, material_id, pair_label, target, version, prefix, constants FROM formulas "
            f"WHERE {_ACTIVE} ORDER BY formula_id",
            material,
        ),
        "runs": rows(
            f"SELECT * FROM runs WHERE run_id IN (SELECT run_id FROM formulas WHERE {_ACTIVE} "
            f"UNION SELECT run_id FROM models WHERE {_ACTIVE}) ORDER BY run_id",
            material,
        ),
    }
