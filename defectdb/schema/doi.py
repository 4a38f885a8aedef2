"""Digital object identifiers as they may stand in BibTeX."""

from __future__ import annotations

import re


def plain_doi(text: str) -> str:
    """The identifier without characters that no DOI of today holds, among them all that are markup to BibTeX."""
    return re.sub(r"[^A-Za-z0-9.;()/:_-]", "", text)
