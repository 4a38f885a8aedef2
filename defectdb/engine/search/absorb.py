"""Fit new candidates and keep the best safe ones of every complexity."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from defectdb.engine.finishing.numbers_only import round_halves
from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.programs.canonical import canonical_keys
from defectdb.engine.programs.compiling import count_constants
from defectdb.engine.programs.complexity import complexities, distinct_terms
from defectdb.engine.safety.fitted_values import in_domain
from defectdb.engine.search.offspring import SOURCES
from defectdb.engine.search.outcome import Counts
from defectdb.engine.search.state import SearchState

_ROUNDED_KEPT = 12  # formulas with rounded constants kept for every complexity
_KEYS_KEPT = 4_000_000  # keys of fitted skeletons, 32 MB: memory does not grow with the generations
_NO_OFFSET = 0x5DEECE66D  # bits that tell a skeleton without offset from the same one with it
_SEED_CHANCES, _CHANCES = (
    6,
    2,
)  # further starts of a seed, or another formula, whose best constants are unsafe


def absorb(
    state: SearchState,
    candidates: Candidates,
    source: Tensor,
    no_offset: Tensor,
    *,
    thorough: bool = False,
    starts: int = 0,
) -> Counts:
    """Fit the skeletons that were not fitted before, drop unsafe formulas, keep the best; how many there were.

    ``source`` [formula] says where candidates come from, ``no_offset`` [formula] which do without the problem's
    offset. ``starts``: of every fit (0: as the settings say); ``thorough`` fits take more iterations.
    """
    config = state.inputs.config
    size = complexities(candidates.tokens, state.inputs.grammar, state.inputs.problem, no_offset)
    rows, unique = _new_rows(state, candidates.tokens, size, no_offset)
    state.new_fits = torch.bincount(source[rows], minlength=len(SOURCES))
    if not len(rows):
        return Counts(len(candidates), unique, 0, 0)
    new, no_offset, size = candidates[rows], no_offset[rows], size[rows]
    fitted, safe = _fit_safely(
        state, new, size, no_offset,
        starts=starts or (config.starts if state.generations else config.seed_starts),
        iterations=(10, 60) if thorough else (6, 14),
    )  # fmt: skip
    cut_off = fitted.cut_off
    assert cut_off is not None
    _forget(state, new.tokens[cut_off], no_offset[cut_off])
    n_new = len(rows) - int(cut_off.sum())
    state.n_fits += n_new
    born = torch.full_like(size, len(state.generations))
    _keep(state, Archive(new.tokens, fitted, size, source[rows], born, no_offset))
    return Counts(len(candidates), unique, n_new, int(safe.sum()))


def _new_rows(state: SearchState, tokens: Tensor, size: Tensor, no_offset: Tensor) -> tuple[Tensor, int]:
    """Rows of the skeletons to fit, and how many different skeletons there are."""
    inputs = state.inputs
    sound = size <= inputs.config.max_complexity
    sound &= distinct_terms(tokens, inputs.grammar, inputs.problem)
    keys = _keys(state, tokens, no_offset)
    rows = sound.nonzero().squeeze(1)
    rows = rows[_not_fitted(state, keys[rows])]
    return rows[inputs.accepts(tokens[rows])], len(keys.unique())


def _keys(state: SearchState, tokens: Tensor, no_offset: Tensor) -> Tensor:
    """Canonical keys [formula] of skeletons, which tell those without offset from the others."""
    keys = canonical_keys(tokens, state.inputs.grammar, state.inputs.problem.max_terms)
    return keys.bitwise_xor(no_offset.long() * _NO_OFFSET)


def _not_fitted(state: SearchState, keys: Tensor) -> Tensor:
    """Rows of the keys that were not fitted before, without repetitions; from now on they count as fitted."""
    keys, order = keys.sort(stable=True)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    new = first & ~torch.isin(keys, state.fitted_keys)
    state.fitted_keys = torch.cat([state.fitted_keys, keys[new]])[-_KEYS_KEPT:]
    return order[new].sort().values


def _forget(state: SearchState, tokens: Tensor, no_offset: Tensor) -> None:
    """Let skeletons whose fit the clock cut off count as not fitted: a search with more time tries them again."""
    if len(tokens):
        again = torch.isin(state.fitted_keys, _keys(state, tokens, no_offset))
        state.fitted_keys = state.fitted_keys[~again]


def _fit_safely(
    state: SearchState,
    new: Candidates,
    size: Tensor,
    no_offset: Tensor,
    *,
    starts: int,
    iterations: tuple[int, int],
) -> tuple[Fit, Tensor]:
    """Constants that keep formulas safe over the domain (infinite errors where there are none), and which are safe."""
    inputs = state.inputs
    worst = state.worst_elite(size)
    fitted = fit(
        new.tokens, inputs.grammar, inputs.problem, state.generator,
        starts=starts, theta=new.theta(inputs.grammar), no_offset=no_offset,
        bound=None if worst is None else inputs.config.slack * worst, iterations=iterations, until=state.fit_until,
    )  # fmt: skip
    safe = _safe(state, new.tokens, size, fitted)
    only_safe = replace(fitted, sse=torch.where(safe, fitted.sse, torch.inf))
    if inputs.domain is not None:
        safe |= _second_chance(state, new.tokens, size, no_offset, only_safe, fitted.sse)
    return only_safe, safe


def _safe(state: SearchState, tokens: Tensor, size: Tensor, fitted: Fit) -> Tensor:
    """Which formulas are safe over the domain, bool [formula].

    In the first generation only those are looked at that may become elites.
    """
    wanted, worst = torch.isfinite(fitted.sse), state.worst_elite(size)
    if not state.generations and worst is not None:
        wanted &= fitted.sse <= worst
    inputs = state.inputs
    if inputs.domain is not None:
        rows = wanted.nonzero().squeeze(1)
        part = Fit(fitted.theta[rows], fitted.beta[rows], fitted.sse[rows])
        wanted[rows] = in_domain(tokens[rows], inputs.grammar, part, inputs.problem, inputs.domain)
    return wanted


def _second_chance(
    state: SearchState, tokens: Tensor, size: Tensor, no_offset: Tensor, fitted: Fit, unsafe_sse: Tensor
) -> Tensor:
    """Look for other constants of those formulas that would be elites with unsafe ones, of error ``unsafe_sse``.

    A fast ripple or a pole between the points often fits best. What is found is put into ``fitted``, and whether the
    clock cut the fits off; which formulas are safe now, bool [formula].
    """
    worst = state.worst_elite(size)
    worst = torch.full_like(unsafe_sse, torch.inf) if worst is None else worst
    promising = torch.isfinite(unsafe_sse) & torch.isinf(fitted.sse) & (unsafe_sse <= worst)
    rows = (promising & (count_constants(tokens, state.inputs.grammar) > 0)).nonzero().squeeze(1)
    found = torch.zeros_like(promising)
    if not len(rows):
        return found
    chances = _CHANCES if state.generations else _SEED_CHANCES
    many = rows.repeat_interleave(chances)
    tried = _other_constants(state, tokens[many], no_offset[many], worst[many])
    assert fitted.cut_off is not None
    assert tried.cut_off is not None
    fitted.cut_off[rows] |= tried.cut_off.view(-1, chances).any(1)
    lowest, which = tried.sse.view(-1, chances).min(1)
    which = which + torch.arange(len(rows), device=rows.device) * chances
    rows, which, lowest = (part[torch.isfinite(lowest)] for part in (rows, which, lowest))
    fitted.theta[rows, : tried.theta.shape[1]] = tried.theta[which]
    fitted.beta[rows], fitted.sse[rows] = tried.beta[which], lowest
    found[rows] = True
    return found


def _other_constants(state: SearchState, tokens: Tensor, no_offset: Tensor, worst: Tensor) -> Fit:
    """Fits from one start each; of infinite error where they are unsafe or above the ``worst`` error [formula]."""
    inputs = state.inputs
    assert inputs.domain is not None
    tried = fit(
        tokens,
        inputs.grammar,
        inputs.problem,
        state.generator,
        starts=1,
        no_offset=no_offset,
        bound=worst,
        until=state.fit_until,
    )
    tried = replace(tried, sse=torch.where(tried.sse <= worst, tried.sse, torch.inf))
    safe = in_domain(tokens, inputs.grammar, tried, inputs.problem, inputs.domain)
    return replace(tried, sse=torch.where(safe, tried.sse, torch.inf))


def _keep(state: SearchState, new: Archive) -> None:
    """Keep the best of every complexity, and where asked for the best with rounded constants: noise may hide these."""
    config = state.inputs.config
    if config.rounded:
        half = round_halves(new, state.inputs.grammar, state.inputs.problem)
        whole = half if state.rounded is None else state.rounded.joined(half)
        state.rounded = whole.best(_ROUNDED_KEPT, config.max_complexity)
    whole = new if state.archive is None else state.archive.joined(new)
    state.archive = whole.best(config.per_complexity, config.max_complexity)
