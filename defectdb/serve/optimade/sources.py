"""Structures, references and links: the SQL of each and what is added to their documents."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from defectdb.db import Database
from defectdb.db.atoms import atoms_of
from defectdb.serve.optimade.collections import Source
from defectdb.serve.optimade.fields import LINKS, REFERENCES, STRUCTURES

_SITES = frozenset(("lattice_vectors", "cartesian_site_positions", "species", "species_at_sites"))

_REFERENCES = """
WITH cited AS (
    SELECT
        coalesce(doi, md5(citation)) AS id, doi, min(citation) AS citation,
        date_trunc('second', max(ingested_at)) AS last_modified
    FROM datasets
    WHERE coalesce(doi, citation) IS NOT NULL
    GROUP BY coalesce(doi, md5(citation)), doi
)
"""

_LINKS = """
WITH known (id, name, description, base_url, homepage, link_type) AS (VALUES (
    'optimade', 'Materials Consortia', 'List of the providers of OPTIMADE services', 'https://providers.optimade.org',
    'https://optimade.org', 'providers'
))
"""


def structures() -> Source:
    """Structures with defects, from the tables of the database."""
    return Source(
        prologue=(resources.files("defectdb.serve.optimade") / "structures.sql").read_text(encoding="utf-8"),
        parts={
            "base": "FROM structures AS s JOIN hosts AS h ON h.host_id = s.host_id "
            "JOIN datasets AS b ON b.dataset_id = s.dataset_id",
            "composition": "JOIN compositions AS c ON c.host_id = s.host_id AND c.defect_labels = s.defect_labels",
            "targets": "LEFT JOIN targets_wide AS t ON t.structure_id = s.structure_id",
            "predicted": "LEFT JOIN predicted AS p ON p.structure_id = s.structure_id",
        },
        fields=STRUCTURES,
        order="s.structure_id",
        finish=_with_atoms,
        total="SELECT count(*) FROM structures",
    )


def references() -> Source:
    """Citations of the datasets: one for each DOI, or for each text without a DOI."""
    return Source(
        _REFERENCES,
        {"base": "FROM cited AS r"},
        REFERENCES,
        "r.id",
        _unchanged,
        f"{_REFERENCES} SELECT count(*) FROM cited",
    )


def links() -> Source:
    """Other services: the list of OPTIMADE providers."""
    return Source(
        _LINKS,
        {"base": "FROM known AS l"},
        LINKS,
        "l.id",
        _links_typed,
        f"{_LINKS} SELECT count(*) FROM known",
    )


def _unchanged(_db: Database, _documents: list[dict[str, Any]], _names: frozenset[str]) -> None:
    """Nothing to add."""


def _links_typed(_db: Database, documents: list[dict[str, Any]], _names: frozenset[str]) -> None:
    """Links say their type themselves."""
    for document in documents:
        document["type"] = "links"


def _with_atoms(db: Database, documents: list[dict[str, Any]], names: frozenset[str]) -> None:
    """Add relationships and, where they are asked for, cells and atoms: angstrom, on the host's ideal sites."""
    ids = [document["id"] for document in documents]
    cited = dict(
        db.frame(
            "SELECT s.structure_id, coalesce(b.doi, md5(b.citation)) FROM structures AS s "
            "JOIN datasets AS b ON b.dataset_id = s.dataset_id "
            "WHERE list_contains(CAST(? AS VARCHAR[]), s.structure_id)",
            [ids],
        ).iter_rows()
    )
    for document in documents:
        if (reference := cited[document["id"]]) is not None:
            document["relationships"] = {"references": {"data": [{"type": "references", "id": reference}]}}
    if not names & _SITES:
        return
    atoms = atoms_of(db, ids)
    for document in documents:
        lattice, elements, frac = atoms[document["id"]]
        sites = {
            "lattice_vectors": lattice,
            "cartesian_site_positions": (np.asarray(frac) @ np.asarray(lattice)).tolist(),
            "species_at_sites": elements,
            "species": [
                {"name": element, "chemical_symbols": [element], "concentration": [1.0]}
                for element in sorted(set(elements))
            ],
        }
        document.update((name, sites[name]) for name in names & _SITES)
