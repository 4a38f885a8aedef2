"""Terms that the models in use lack, in words: which, and what gives them."""

from __future__ import annotations

from collections.abc import Sequence

from defectdb.schema.labels import split_label

NAMED = 6
"""Labels that a sentence names."""

_OF_PAIRS = (
    "`defectdb learn --all-pairs` finds those of pairs that a structure of two defects holds, "
    "`defectdb learn --model --from all` all of them"
)


def no_term_for(labels: Sequence[str]) -> str:
    """'no term for Si_B, C_B-Vac_N; ...': the labels of defects and pairs, and where their terms come from."""
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    pairs = any(len(split_label(label)) > 1 for label in labels)
    singles = any(len(split_label(label)) == 1 for label in labels)
    remedies = ["that of a defect comes from a run of it alone"] if singles else []
    remedies += [_OF_PAIRS] if pairs else []
    return f"no term for {', '.join(labels[:NAMED])}{more}; {', '.join(remedies)}"
