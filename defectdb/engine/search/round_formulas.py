"""Formulas in round numbers that a search found beside its front."""

from __future__ import annotations

from defectdb.engine.finishing.numbers_only import (
    round_number_formulas,
    without_coefficients,
    without_constants,
)
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.fitting.archive import Archive
from defectdb.engine.search.state import SearchState
from defectdb.engine.seeds.round_number_pairs import nearest_pairs

_PAIRS_KEPT = 40  # formulas without fitted constants kept for every complexity
_PAIRS_SECONDS = 8.0  # what the pairs of small functions may take: with less time left nothing is begun


def round_pairs(state: SearchState) -> Archive | None:
    """Pairs of small functions near the data, without fitted constants.

    None where round numbers are not asked for, an exact formula is known or the time is short.
    """
    inputs = state.inputs
    if not inputs.config.rounded or state.best_mse() <= inputs.config.target_mse:
        return None
    if state.seconds_left() < _PAIRS_SECONDS:
        return None
    tokens = nearest_pairs(inputs.problem, inputs.grammar, state.stop_at)
    found = without_constants(tokens[inputs.accepts(tokens)], inputs.grammar, inputs.problem)
    return found.best(_PAIRS_KEPT, inputs.config.max_complexity)


def round_formulas(state: SearchState, pairs: Archive | None) -> list[Scored]:
    """Rounded formulas and pairs of small functions that are safe over the domain, each once."""
    inputs, found = state.inputs, list[Scored]()
    if state.rounded is not None and len(state.rounded):
        found += round_number_formulas(state.rounded, inputs.grammar, inputs.problem)
    if pairs is not None and len(pairs):
        found += round_number_formulas(pairs, inputs.grammar, without_coefficients(inputs.problem))
    each = {scored.expression: scored for scored in found}.values()
    domain = None if inputs.domain is None else inputs.domain.to("cpu")
    return [s for s in each if domain is None or domain.permits(s.expression, (), inputs.grammar.variables)]
