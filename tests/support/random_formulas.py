"""Hypothesis strategies for random expression trees over r and dz with constants."""

from __future__ import annotations

from hypothesis import strategies as st

from defectdb.expressions.expression import Call, Constant, Expression, Number, Variable
from defectdb.expressions.operators import OPERATORS

CONSTANTS = st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3)


def trees(n_constants: int = 3) -> st.SearchStrategy[Expression]:
    """Trees of a few levels over r, dz, constants c0 ... and small literals."""
    leaves = st.one_of(
        st.sampled_from([Variable("r"), Variable("r"), Variable("dz")]),
        st.integers(0, n_constants - 1).map(Constant),
        st.sampled_from([0.5, 1.0, 2.0, 3.0, -1.0]).map(Number),
    )

    def calls(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        def call(name: str) -> st.SearchStrategy[Expression]:
            return st.tuples(*[children] * OPERATORS[name].arity).map(lambda args: Call(name, args))

        return st.sampled_from(sorted(OPERATORS)).flatmap(call)

    return st.recursive(leaves, calls, max_leaves=8)


def formulas() -> st.SearchStrategy[tuple[Expression, tuple[float, ...]]]:
    """A tree and its constants."""
    return st.tuples(trees(), st.tuples(CONSTANTS, CONSTANTS, CONSTANTS))
