"""Entries of the data dictionary: what a table or view is, what its columns are, and columns that several have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its unit ('' for none) and its meaning."""

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table or view: what a row is, and its columns."""

    name: str
    meaning: str
    fields: tuple[Field, ...]
    view: bool = False


def table(name: str, meaning: str, columns: str, *, view: bool = False) -> Table:
    """An entry; ``columns`` holds a line ``name | unit | meaning`` for each."""
    fields = []
    for line in columns.strip().splitlines():
        column, unit, text = (part.strip() for part in line.split("|", 2))
        fields.append(Field(column, unit, text))
    return Table(name, meaning, tuple(fields), view)


def view(name: str, meaning: str, columns: str) -> Table:
    """An entry for a view."""
    return table(name, meaning, columns, view=True)


def lattice_columns(what: str) -> str:
    """Nine columns a_x to c_z, angstrom."""
    lines = [f"{v}_{x} | angstrom | {x} component of {what} {v}" for v in "abc" for x in "xyz"]
    return "\n".join(lines)


def target_columns() -> str:
    """One column for each target."""
    return """
        formation_energy | eV | formation energy
        formation_energy_per_site | eV | formation energy per defect
        homo_lumo_gap | eV | LUMO minus HOMO
        homo | eV | highest occupied level
        lumo | eV | lowest unoccupied level
        energy | eV | total energy
        energy_per_atom | eV | total energy per atom
        fermi_level | eV | Fermi level
        normalized_homo | eV | HOMO referred to the pristine valence band maximum through the lowest level
        normalized_lumo | eV | LUMO referred to the pristine valence band maximum through the lowest level
        total_mag | mu_B | total magnetic moment
    """.strip()


SITE_COLUMNS = """
    element | | element of the pristine host on this site
    layer | | height along c among the sites: bottom, middle, top
    frac_x | 1 | fractional coordinate along a, in [0, 1)
    frac_y | 1 | fractional coordinate along b, in [0, 1)
    frac_z | 1 | fractional coordinate along c
""".strip()

PAIR_COLUMNS = """
    label | | the two defects' labels, sorted and joined by -
    distance | angstrom | minimum-image distance
    distance_inplane | angstrom | its part in the plane
    dz | angstrom | its part along c, absolute
    angle | degree | direction of the pair against the zigzag direction, folded by the host's symmetry
    shell | | rank of the distance among all distances between the two sites' sublattices in the host
""".strip()

PREDICTION_COLUMNS = """
    target | | what is predicted
    value | eV | prediction; NULL where a term is missing or a formula is undefined
    unit | | unit of value
    model_id | | model that predicts
    n_defects | | number of defects of the structure
    extrapolated | | whether a distance lies outside the range its formula was learned on
    missing | | labels for which the model has no term
    lower_90 | eV | lower end of the interval that holds nine of ten values; NULL where no errors are known
    upper_90 | eV | its upper end
""".strip()
