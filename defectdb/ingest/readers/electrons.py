"""Read the charge of a VASP run: the valence electrons of its atoms less the electrons it was given."""

from __future__ import annotations

import re
from collections.abc import Sequence

from defectdb.ingest.readers.cif import StructureFileError

MOST_CHARGE = 12  # elementary charges; a point defect has a few
WHOLE_CHARGE = 0.01  # elementary charges by which a charge may miss a whole number
_NELECT_XML = re.compile(rb'<i name="NELECT">\s*([-+0-9.eE]{1,40})\s*</i>')
_TYPES_XML = re.compile(rb'<array name="atomtypes"\s*>(.{0,1000000}?)</array>', re.DOTALL)
_FIELD_XML = re.compile(rb"<field[^>]*>([^<]*)</field>")
_ROW_XML = re.compile(rb"<rc>(.*?)</rc>", re.DOTALL)
_CELL_XML = re.compile(rb"<c>([^<]*)</c>")
_NELECT = re.compile(rb"^ +NELECT += +(\d+\.?\d*)", re.MULTILINE)
_ZVAL = re.compile(rb"ZVAL *= *(\d+\.?\d*) +mass and valenz")
_PER_TYPE = re.compile(rb"^ *ions per type = +((?:\d+ *)+)\r?$", re.MULTILINE)


def vasprun_charge(data: bytes) -> int:
    """Charge of the run in a vasprun.xml; 0 where it does not give its electrons. Raises StructureFileError."""
    electrons, types = _NELECT_XML.findall(data), _TYPES_XML.search(data)
    if not electrons or types is None:
        return 0
    names = [name.strip() for name in _FIELD_XML.findall(types.group(1))]
    if b"valence" not in names or b"atomspertype" not in names:
        return 0
    rows = [_CELL_XML.findall(row) for row in _ROW_XML.findall(types.group(1))]
    counts = [row[names.index(b"atomspertype")] for row in rows]
    valences = [row[names.index(b"valence")] for row in rows]
    return _charge(electrons[-1], counts, valences)


def outcar_charge(data: bytes) -> int:
    """Charge of the run in an OUTCAR; 0 where it does not print its electrons. Raises StructureFileError."""
    electrons, valences, counts = _NELECT.search(data), _ZVAL.findall(data), _PER_TYPE.search(data)
    if electrons is None or counts is None or len(valences) != len(counts.group(1).split()):
        return 0
    return _charge(electrons.group(1), counts.group(1).split(), valences)


def _charge(electrons: bytes, counts: Sequence[bytes], valences: Sequence[bytes]) -> int:
    neutral = sum(int(n) * float(z) for n, z in zip(counts, valences, strict=True))
    charge = neutral - float(electrons)
    if abs(charge - round(charge)) > WHOLE_CHARGE:
        raise StructureFileError(
            f"{float(electrons):g} electrons, where the neutral cell has {neutral:g}: the charge {charge:g} is "
            "no whole number"
        )
    if abs(charge) > MOST_CHARGE:
        raise StructureFileError(
            f"{float(electrons):g} electrons, where the valences of its atoms add up to {neutral:g}: a charge of "
            f"{charge:g} is no point defect's"
        )
    return round(charge)
