"""What a search starts from: data, grammar, settings and what is asked of its formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.acceptance import Acceptance
from defectdb.engine.settings import SearchConfig
from defectdb.expressions.expression import Expression


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """Everything that decides the result of a search; tensors are on the search's device.

    ``problem``: the data.
    ``grammar``: which formulas exist.
    ``config``: the search's settings.
    ``domain``: where formulas must be finite and smooth; None: nowhere but at the data.
    ``seeds`` [formula, position]: skeletons to try first; None for none.
    ``accepts``: the check that every skeleton must pass before it is fitted.
    """

    problem: Problem
    grammar: Grammar
    config: SearchConfig
    domain: Domain | None
    seeds: Tensor | None
    accepts: Acceptance

    @classmethod
    def of(
        cls,
        problem: Problem,
        grammar: Grammar,
        config: SearchConfig,
        domain: Domain | None = None,
        seeds: Tensor | None = None,
        predicate: Callable[[Expression], bool] | None = None,
    ) -> SearchInputs:
        """The inputs on the device that the settings name."""
        domain = None if domain is None else domain.to(config.device)
        return cls(problem.to(config.device), grammar, config, domain, seeds, Acceptance(grammar, predicate))
