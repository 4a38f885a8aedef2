"""Write out a fitted skeleton as a complete expression, with its coefficients and offset."""

from __future__ import annotations

from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.expressions.expression import Call, Constant, Expression, from_prefix, to_prefix, walk


def finish(
    tokens: Tensor, grammar: Grammar, problem: Problem, theta: Tensor, beta: Tensor
) -> tuple[Expression, list[float]]:
    """One fitted skeleton [position] as a complete expression and its constants in order.

    An offset of exactly zero is left out: formulas fitted without one have none.
    """
    skeleton = from_prefix(grammar.decode(tokens.tolist()))
    inner = theta.tolist()
    summands = _summands(skeleton, problem.max_terms)
    scales = beta.tolist()
    pieces: list[tuple[Expression, list[float]]] = []
    for term, scale in zip(summands, scales, strict=False):
        own = [inner[node.index] for node in walk(term) if isinstance(node, Constant)]
        if isinstance(term, Call) and term.operator == "inv":
            pieces.append((Call("div", (Constant(0), term.args[0])), [scale, *own]))
        else:
            pieces.append((Call("mul", (Constant(0), term)), [scale, *own]))
    if problem.offset and scales[-1] != 0.0:
        pieces.insert(0, (Constant(0), [scales[-1]]))
    whole = pieces[0][0]
    for piece, _ in pieces[1:]:
        whole = Call("add", (whole, piece))
    constants = [value for _, values in pieces for value in values]
    counter = iter(range(len(constants)))
    names = [
        f"c{next(counter)}" if name[0] == "c" and name[1:].isdigit() else name for name in to_prefix(whole)
    ]
    return from_prefix(names), constants


def _summands(skeleton: Expression, max_terms: int) -> list[Expression]:
    """The top-level summands in the order of ``programs.term_roots``."""
    terms = [skeleton]
    while len(terms) < max_terms:
        for i, term in enumerate(terms):
            if isinstance(term, Call) and term.operator in ("add", "sub"):
                terms[i] = term.args[0]
                terms.append(term.args[1])
                break
        else:
            break
    return terms
