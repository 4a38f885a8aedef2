"""Every target once with its unit and meaning, and the COMMENTs that the data dictionary becomes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from defectdb.schema.dictionary import TABLES
from defectdb.schema.quoting import quoted_name, quoted_text


@dataclass(frozen=True, slots=True)
class Target:
    """One predictable property: its unit and how a structure's value follows from its pairs."""

    name: str
    unit: str
    aggregator: str
    meaning: str


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target(
            "formation_energy", "eV", "sum", "E(structure) - E(pristine) + sum mu(removed) - sum mu(added)"
        ),
        Target("homo_lumo_gap", "eV", "min", "LUMO minus HOMO: the smallest of the pairs' gaps"),
        Target("homo", "eV", "max", "highest occupied level: the largest of the pairs'"),
        Target("lumo", "eV", "min", "lowest unoccupied level: the smallest of the pairs'"),
    )
}
"""Targets that can be learned. ``formation_energy_per_site`` follows from formation_energy and n_defects."""

UNITS: dict[str, str] = {
    "energy": "eV", "energy_per_atom": "eV", "fermi_level": "eV", "homo": "eV", "lumo": "eV",
    "homo_lumo_gap": "eV", "formation_energy": "eV", "formation_energy_per_site": "eV",
    "normalized_homo": "eV", "normalized_lumo": "eV", "total_mag": "mu_B",
}  # fmt: skip
"""Units of every target that a source may hold."""


def comments(names: Collection[str] | None = None) -> Iterator[str]:
    """COMMENT ON statements for every table, view and column, or those of the named tables and views."""
    for table in TABLES:
        if names is not None and table.name not in names:
            continue
        kind = "VIEW" if table.view else "TABLE"
        name = quoted_name(table.name)
        yield f"COMMENT ON {kind} {name} IS {quoted_text(table.meaning)}"
        for field in table.fields:
            text = f"{field.meaning} [{field.unit}]" if field.unit else field.meaning
            yield f"COMMENT ON COLUMN {name}.{quoted_name(field.name)} IS {quoted_text(text)}"
