"""Build the table of targets: one row per structure, property and spin, with computed values added and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl

from defectdb.ingest.formation import normalised_level
from defectdb.ingest.records import Floats, Host
from defectdb.schema.fields import UNITS

ENERGY_TOLERANCE = 1e-6  # eV between a stored and a recomputed formation energy
SPINS = ("majority", "minority", "max", "min")
_SUFFIX = re.compile(rf"(.+)_({'|'.join(SPINS)})")


@dataclass(frozen=True, slots=True)
class EnergyCheck:
    """Stored against recomputed formation energies: how many compared, how many differ, the worst [eV]."""

    compared: int = 0
    different: int = 0
    largest: float = 0.0
    examples: tuple[str, ...] = ()

    def __add__(self, other: EnergyCheck) -> EnergyCheck:
        return EnergyCheck(
            self.compared + other.compared,
            self.different + other.different,
            max(self.largest, other.largest),
            (*self.examples, *other.examples)[:5],
        )


def split_spin(column: str) -> tuple[str, str]:
    """Target and spin of a source's column: ``homo_majority`` is (homo, majority)."""
    found = _SUFFIX.fullmatch(column)
    return (found.group(1), found.group(2)) if found else (column, "")


def complete(wide: pl.DataFrame, host: Host, formation: Floats) -> tuple[pl.DataFrame, EnergyCheck]:
    """All targets of structures on one host, long: structure_id, target, spin, value, unit, source.

    ``wide`` holds structure_id, n_defects and the source's number columns, aligned with ``formation`` [eV].
    What the source lacks is computed: formation energies, normalised levels, and of spin channels the highest HOMO,
    the lowest LUMO and the smaller of both gaps (which is not the LUMO less the HOMO where these are of two channels).
    """
    numbers = [c for c in wide.columns if c not in ("structure_id", "n_defects", "row", "charge")]
    given = wide.select("structure_id", *numbers)
    computed = _computed(wide, host, formation)
    check = _compare(wide, formation)
    stored = _long(given, "dataset")
    extra = _long(computed, "computed").join(stored, on=["structure_id", "target", "spin"], how="anti")
    return pl.concat([stored, extra]), check


def _long(wide: pl.DataFrame, source: str) -> pl.DataFrame:
    """One row per value that is there."""
    columns = [c for c in wide.columns if c != "structure_id"]
    names = {c: split_spin(c) for c in columns}
    long = wide.unpivot(index="structure_id", on=columns, variable_name="column", value_name="value")
    long = long.with_columns(pl.col("value").cast(pl.Float64).fill_nan(None)).drop_nulls("value")
    source_column = pl.col("column")
    return long.select(
        "structure_id",
        source_column.replace_strict({c: n[0] for c, n in names.items()}, return_dtype=pl.String).alias(
            "target"
        ),
        source_column.replace_strict({c: n[1] for c, n in names.items()}, return_dtype=pl.String).alias(
            "spin"
        ),
        "value",
        source_column.replace_strict(
            {c: UNITS.get(n[0], "") for c, n in names.items()}, return_dtype=pl.String
        ).alias("unit"),
        pl.lit(source).alias("source"),
    )


def _computed(wide: pl.DataFrame, host: Host, formation: Floats) -> pl.DataFrame:
    """The columns that follow from others."""
    count = wide["n_defects"].to_numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_site = np.where(count > 0, formation / count, np.nan)
    columns = {"formation_energy": formation, "formation_energy_per_site": per_site}
    levels = {level: _over_spins(wide, level) for level in ("homo", "lumo")}
    gap = _over_spins(wide, "homo_lumo_gap")
    columns |= levels | {"homo_lumo_gap": np.where(np.isnan(gap), levels["lumo"] - levels["homo"], gap)}
    for name in [c for c in wide.columns if split_spin(c)[0] in levels] + list(levels):
        level, spin = split_spin(name)
        e1 = column(wide, f"E_1_{spin}" if f"E_1_{spin}" in wide.columns else "E_1")
        values = column(wide, name) if name in wide.columns else levels[level]
        columns[f"normalized_{name}"] = normalised_level(values, e1, host)
    return pl.DataFrame({"structure_id": wide["structure_id"], **columns})


def _over_spins(wide: pl.DataFrame, level: str) -> Floats:
    """The plain level; where only spin channels are given, the highest HOMO, the lowest LUMO, the smallest gap."""
    plain = column(wide, level)
    channels = [column(wide, f"{level}_{spin}") for spin in SPINS]
    extreme = np.fmax if level == "homo" else np.fmin
    return np.where(np.isnan(plain), reduce(extreme, channels), plain)


def charges(wide: pl.DataFrame) -> Floats:
    """Charge of every structure [e], 0 where the source does not say."""
    return np.nan_to_num(column(wide, "charge"), nan=0.0)


def column(wide: pl.DataFrame, name: str) -> Floats:
    """A column as float64, NaN where it is empty or absent."""
    if name not in wide.columns:
        return np.full(wide.height, np.nan)
    return np.asarray(wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _compare(wide: pl.DataFrame, formation: Floats) -> EnergyCheck:
    stored = column(wide, "formation_energy")
    difference = np.where(
        charges(wide) == 0, np.abs(stored - formation), np.nan
    )  # corrections are not known here
    both = np.isfinite(difference)
    wrong = both & (difference > ENERGY_TOLERANCE)
    examples = [
        f"{wide['structure_id'][int(i)]}: stored {stored[i]:.9g} eV, recomputed {formation[i]:.9g} eV"
        for i in np.flatnonzero(wrong)[:5]
    ]
    return EnergyCheck(
        int(both.sum()), int(wrong.sum()), float(difference[both].max(initial=0.0)), tuple(examples)
    )
