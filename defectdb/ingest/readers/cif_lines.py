"""Read many CIF files of one supercell: they share nearly all lines, and each distinct line is parsed once.

This is some eight times faster than parsing every file. gemmi parses the distinct heads and rows; a file that is
not plain (symmetry, quotes, comments between rows) it parses as a whole.
"""

from __future__ import annotations

import re

import numpy as np

from defectdb.ingest.readers.cif import (
    MAX_ATOMS,
    Atoms,
    StructureFileError,
    atom_block,
    listed,
    parse_cif,
    symmetric,
)
from defectdb.ingest.records import Floats, Integers, Numbers

_TAG = b"_atom_site_"
_TAGS = re.compile(rb"(?:[ \t]*_atom_site_\w+[ \t]*\r?\n)+")
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+-() \t"
"""Characters of a row that holds no quotes, comments, tags or reserved words."""
_TRIAL = 4096  # rows read before it is asked whether remembering them pays
_MOST = 200_000  # rows remembered: some 30 MB
_MOST_HEADS = 10_000


class _Rows:
    """Rows under the same column tags: which atom each of them is."""

    def __init__(self, tags: bytes) -> None:
        self.width = tags.count(_TAG)
        self.index: dict[bytes, int] = {}
        self.numbers: Numbers = np.zeros(0, dtype=np.uint8)
        self.frac: Floats = np.zeros((0, 3))

    def plain(self, row: bytes) -> bool:
        """Whether the row is one atom's values and nothing else."""
        text = row.removesuffix(b"\r")
        return not text.translate(None, _PLAIN) and len(text.split()) == self.width

    def find(self, rows: list[bytes]) -> Integers:
        """Which atom each row is. Raises KeyError where one was never read."""
        return np.fromiter(map(self.index.__getitem__, rows), np.int64, len(rows))

    def add(self, rows: list[bytes], atoms: Atoms) -> None:
        """Remember the atoms (n,) of new rows."""
        self.index |= {row: len(self.index) + k for k, row in enumerate(rows)}
        self.numbers = np.concatenate([self.numbers, atoms.numbers])
        self.frac = np.concatenate([self.frac, atoms.frac])


class CifReader:
    """Reads the CIFs of one source; remembers their heads and rows while that pays."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Floats] = {}
        self._rows: dict[bytes, _Rows] = {}
        self._looked_up = 0

    def parse(self, text: bytes) -> Atoms:
        """The atoms of a CIF with one structure, as ``parse_cif`` reads them. Raises StructureFileError."""
        return self._by_rows(text) or parse_cif(text)

    def _by_rows(self, text: bytes) -> Atoms | None:
        """The atoms by their rows, None where the file is not plain or remembering does not pay."""
        start = text.rfind(b"\n", 0, max(text.find(_TAG), 0)) + 1
        tags = _TAGS.match(text, start)
        if tags is None:
            return None
        head, lines = text[: tags.end()], text[tags.end() :].rstrip(b" \t\r\n").split(b"\n")
        rows = self._rows.get(tags.group())
        if rows is None:
            rows = self._rows[tags.group()] = _Rows(tags.group())
        if len(lines) > MAX_ATOMS or not self._pays(rows, len(lines)):
            return None
        if head not in self._heads and not self._learn(head, rows, lines[:1]):
            return None
        try:
            at = rows.find(lines)
        except KeyError:
            if not self._learn(head, rows, [line for line in dict.fromkeys(lines) if line not in rows.index]):
                return None
            at = rows.find(lines)
        return Atoms(self._heads[head], rows.numbers[at], rows.frac[at])

    def _pays(self, rows: _Rows, count: int) -> bool:
        """Whether rows come again: those of relaxed structures do not."""
        self._looked_up += count
        return len(rows.index) < _TRIAL or len(rows.index) < min(_MOST, self._looked_up // 4)

    def _learn(self, head: bytes, rows: _Rows, lines: list[bytes]) -> bool:
        """Read a head with rows below it and remember both; False where they are not plain."""
        if len(self._heads) > _MOST_HEADS:
            self._heads.clear()
        if not all(map(rows.plain, lines)):
            return False
        try:
            block = atom_block(head + b"\n".join(lines))
            if symmetric(block):
                return False
            atoms = listed(block)
        except StructureFileError:
            return False
        if len(atoms.numbers) != len(lines):
            return False
        self._heads[head] = atoms.lattice
        fresh = [k for k, line in enumerate(lines) if line not in rows.index]
        rows.add([lines[k] for k in fresh], Atoms(atoms.lattice, atoms.numbers[fresh], atoms.frac[fresh]))
        return True
