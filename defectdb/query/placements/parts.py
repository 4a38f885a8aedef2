"""One of several equal parts of a long list, for jobs that share its work."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats


@dataclass(frozen=True, slots=True)
class Part:
    """Part ``number`` (from 1) of ``of``."""

    number: int = 1
    of: int = 1

    def bounds(self, n: int) -> tuple[int, int]:
        """First index of the part in a list of ``n`` and the one behind its last: all parts together leave none out."""
        return (self.number - 1) * n // self.of, self.number * n // self.of

    def bounds_by_weight(self, weights: Floats) -> tuple[int, int]:
        """The same for a list whose items weigh differently [item]: every part weighs about as much."""
        ends = np.searchsorted(np.cumsum(weights), weights.sum() * np.arange(1, self.of) / self.of)
        edges = [0, *ends.tolist(), len(weights)]
        return edges[self.number - 1], edges[self.number]


WHOLE = Part()
"""All of it."""


def parse_part(text: str) -> Part:
    """The part that a text such as 3/8 names. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    part = Part(int(found[1]), int(found[2])) if found else Part(0, 0)
    if not 1 <= part.number <= part.of:
        raise UsageError(f"{text!r} is no part; write 1/8 for the first of eight, 8/8 for the last")
    return part
