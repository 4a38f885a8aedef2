"""What is missing for the formation energies of structures whose total energies are stored."""

from __future__ import annotations

from defectdb.db.connection import Database

_WITHOUT = """
WITH bare AS (
    SELECT s.structure_id, s.dataset_id, s.host_id, h.energy IS NULL AS pristine
    FROM structures AS s
    JOIN hosts AS h USING (host_id)
    JOIN targets AS e ON e.structure_id = s.structure_id AND e.target = 'energy' AND e.spin = ''
    ANTI JOIN targets AS f ON f.structure_id = s.structure_id AND f.target = 'formation_energy'
    WHERE s.charge = 0 AND s.n_defects > 0
      AND ($dataset IS NULL OR s.dataset_id = $dataset) AND ($material IS NULL OR h.material_id = $material)
),
exchanged AS (
    SELECT structure_id, unnest([element_from, element_to]) AS element FROM defects
),
unknown AS (
    SELECT b.host_id, list_sort(list(DISTINCT x.element)) AS elements
    FROM bare AS b
    JOIN exchanged AS x USING (structure_id)
    ANTI JOIN chemical_potentials AS c ON c.dataset_id = b.dataset_id AND c.element = x.element
    WHERE x.element IS NOT NULL
    GROUP BY b.host_id
)
SELECT b.host_id, count(*), any_value(b.pristine), any_value(u.elements)
FROM bare AS b LEFT JOIN unknown AS u USING (host_id)
GROUP BY b.host_id HAVING any_value(b.pristine) OR any_value(u.elements) IS NOT NULL
ORDER BY b.host_id
"""


def missing_references(
    db: Database, *, dataset: str | None = None, material: str | None = None
) -> tuple[str, ...]:
    """One sentence for every host whose neutral structures have an energy and no formation energy.

    It says how many they are, which reference energies are not known, and how to give them. ``dataset`` and
    ``material`` leave out all others. Structures without defects or with a charge do not count.
    """
    rows = db.frame(_WITHOUT, {"dataset": dataset, "material": material})
    return tuple(_sentence(*row) for row in rows.iter_rows())


def _sentence(host: str, count: int, pristine: bool, elements: list[str] | None) -> str:
    wanted = [f"the energy of pristine {host}"] if pristine else []
    if elements:
        wanted.append(f"the chemical potential{'s' if len(elements) > 1 else ''} of {', '.join(elements)}")
    have = "structures have" if count > 1 else "structure has"
    return (
        f"{count} {have} an energy and no formation energy: {' and '.join(wanted)} "
        f"{'are' if len(wanted) > 1 or len(elements or []) > 1 else 'is'} not known; "
        "give them in a file with `defectdb ingest ... --reference energies.toml`"
    )
