"""The properties of OPTIMADE entries: kind, unit and the SQL expression that gives each of them."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "defectdb"
"""Provider prefix: the project's own properties are called ``_defectdb_NAME``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One property of an entry.

    name     property as filters write it
    kind     string, integer, float, boolean, timestamp, list or dictionary (OPTIMADE's data types)
    sql      expression of its value, or of whether it is known for a property that filters cannot compare
    part     table that is joined for it: base, composition, targets or predicted
    length   expression of how many items a list has, '' for what is no list
    compared whether filters and sorting can use its value
    unit     '' for none
    meaning  one sentence, '' for OPTIMADE's own properties
    """

    name: str
    kind: str
    sql: str
    part: str = "base"
    length: str = ""
    compared: bool = True
    unit: str = ""
    meaning: str = ""

    @property
    def key(self) -> str:
        """Name without the provider prefix: what documents call the property."""
        return self.name.removeprefix(f"_{PREFIX}_")

    @property
    def own(self) -> bool:
        """Whether it is one of the project's properties."""
        return self.name != self.key


_STANDARD = (
    Field("id", "string", "s.structure_id"),
    Field("type", "string", "'structures'"),
    Field("immutable_id", "string", "CAST(NULL AS VARCHAR)"),
    Field("last_modified", "timestamp", "date_trunc('second', b.ingested_at)"),
    Field("elements", "list", "c.elements", "composition", length="c.nelements"),
    Field("nelements", "integer", "c.nelements", "composition"),
    Field("elements_ratios", "list", "c.elements_ratios", "composition", length="c.nelements"),
    Field("chemical_formula_descriptive", "string", "c.hill", "composition"),
    Field("chemical_formula_reduced", "string", "c.reduced", "composition"),
    Field("chemical_formula_hill", "string", "c.hill", "composition"),
    Field("chemical_formula_anonymous", "string", "c.anonymous", "composition"),
    Field("dimension_types", "list", "CASE h.pbc WHEN 'abc' THEN [1, 1, 1] ELSE [1, 1, 0] END", length="3"),
    Field("nperiodic_dimensions", "integer", "CASE h.pbc WHEN 'abc' THEN 3 ELSE 2 END"),
    Field("lattice_vectors", "list", "TRUE", length="3", compared=False),
    Field("cartesian_site_positions", "list", "TRUE", "composition", length="c.nsites", compared=False),
    Field("nsites", "integer", "c.nsites", "composition"),
    Field("species", "list", "TRUE", "composition", length="c.nelements", compared=False),
    Field("species_at_sites", "list", "TRUE", "composition", length="c.nsites", compared=False),
    Field("structure_features", "list", "CAST([] AS VARCHAR[])", length="0"),
    Field(
        "references.id",
        "list",
        "list_filter([coalesce(b.doi, md5(b.citation))], lambda x: x IS NOT NULL)",
        length="CASE WHEN coalesce(b.doi, b.citation) IS NULL THEN 0 ELSE 1 END",
    ),
)

_UNKNOWN = {
    "assemblies": "list",
    "space_group_symmetry_operations_xyz": "list",
    "space_group_symbol_hall": "string",
    "space_group_symbol_hermann_mauguin": "string",
    "space_group_symbol_hermann_mauguin_extended": "string",
    "space_group_it_number": "integer",
}
"""Properties of the specification that no structure has."""

_NULLS = {
    "list": "CAST(NULL AS VARCHAR[])", "string": "CAST(NULL AS VARCHAR)", "integer": "CAST(NULL AS BIGINT)",
}  # fmt: skip

_OWN = """
    material | string | base | h.material_id | | pristine material, e.g. MoS2
    supercell | string | base | h.supercell | | repetitions of the unit cell along a, b, c
    dataset | string | base | s.dataset_id | | dataset that the structure came with
    licence | string | base | b.licence | | licence of that dataset
    level_of_theory | string | base | b.level | | datasets with the same name here have comparable energies
    descriptor | string | base | s.descriptor | | name that the source gives to this combination of defects
    defects | list | base | string_split(s.defect_labels, '+') | | labels of the point defects, sorted: Vac_Mo, W_Mo
    n_defects | integer | base | s.n_defects | | number of point defects
    density | string | base | s.density | | low or high density of defects
    charge | integer | base | coalesce(s.charge, 0) | e | charge of the supercell
    max_displacement | float | base | s.max_displacement | angstrom | largest distance of a source's atom from the ideal site that is served
    formation_energy | float | targets | t.formation_energy | eV | calculated formation energy of all defects
    formation_energy_per_site | float | targets | t.formation_energy_per_site | eV | calculated formation energy divided by the number of defects
    homo_lumo_gap | float | targets | t.homo_lumo_gap | eV | calculated lowest unoccupied less highest occupied level
    homo | float | targets | t.homo | eV | calculated highest occupied level
    lumo | float | targets | t.lumo | eV | calculated lowest unoccupied level
    predicted_formation_energy | float | predicted | p.energy | eV | formation energy by the active model
    predicted_formation_energy_lower_90 | float | predicted | p.energy_lower | eV | lower end of the interval that holds nine of ten values
    predicted_formation_energy_upper_90 | float | predicted | p.energy_upper | eV | upper end of that interval
    predicted_formation_energy_per_site | float | predicted | p.per_site | eV | formation energy per defect by the active model
    predicted_formation_energy_per_site_lower_90 | float | predicted | p.per_site_lower | eV | lower end of the interval that holds nine of ten values
    predicted_formation_energy_per_site_upper_90 | float | predicted | p.per_site_upper | eV | upper end of that interval
    predicted_homo_lumo_gap | float | predicted | p.gap | eV | gap by the active model
    predicted_homo_lumo_gap_lower_90 | float | predicted | p.gap_lower | eV | lower end of the interval that holds nine of ten values
    predicted_homo_lumo_gap_upper_90 | float | predicted | p.gap_upper | eV | upper end of that interval
    predicted_extrapolated | boolean | predicted | p.extrapolated | | whether a prediction uses a formula outside the distances it was learned on
"""  # noqa: E501


def _own(line: str) -> Field:
    name, kind, part, sql, unit, meaning = (text.strip() for text in line.split("|", 5))
    length = "s.n_defects" if kind == "list" else ""
    return Field(f"_{PREFIX}_{name}", kind, sql, part, length, unit=unit, meaning=meaning)


STRUCTURES: dict[str, Field] = {
    field.name: field
    for field in (
        *_STANDARD,
        *(
            Field(name, kind, _NULLS[kind], length="NULL" if kind == "list" else "")
            for name, kind in _UNKNOWN.items()
        ),
        *(_own(line) for line in _OWN.strip().splitlines()),
    )
}
"""Properties of structures by name."""

REFERENCES: dict[str, Field] = {
    field.name: field
    for field in (
        Field("id", "string", "r.id"),
        Field("type", "string", "'references'"),
        Field("immutable_id", "string", "CAST(NULL AS VARCHAR)"),
        Field("last_modified", "timestamp", "r.last_modified"),
        Field("doi", "string", "r.doi"),
        Field("url", "string", "'https://doi.org/' || r.doi"),
        Field("note", "string", "r.citation"),
    )
}
"""Properties of references, the citations of datasets, by name."""

LINKS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("id", "string", "l.id"),
        Field("type", "string", "'links'"),
        *(
            Field(name, "string", f"l.{name}")
            for name in ("name", "description", "base_url", "homepage", "link_type")
        ),
    )
}
"""Properties of links to other services by name."""
