"""New candidates from the network and from the best formulas so far, by source."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.grammar.decoding import grammar_masks
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.network.segvae import SEGVAE
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.programs.tree_structure import subtree_ends
from defectdb.engine.search.variation import (
    add_up,
    crossover,
    mutate,
    random_positions,
    relabel,
    splice,
    wrap,
)

SOURCES = ("enumeration", "prior", "neighbours", "regrown", "crossover", "mutation", "relabel", "wrap", "sum")
"""Where candidates come from; the first is the seed of every search."""

_EQUAL_SHARE = 0.3  # of every generation, in equal parts to all sources; the rest follows what they yield
_NOISE_WIDTHS = 0.5  # around an elite's latent mean, in units of its posterior's own width
_SAMPLING_TEMPERATURE = 0.6  # of what is written around elites: at 1 most of it is far from them


def shares(yields: Tensor, population: int) -> list[int]:
    """Candidates asked of every source but the first; ``yields`` [source] new elites per candidate so far."""
    share = (1 - _EQUAL_SHARE) * yields[1:] / yields[1:].sum() + _EQUAL_SHARE / (len(SOURCES) - 1)
    return [max(32, int(n)) for n in (share * population).tolist()]


def elites(archive: Archive, grammar: Grammar, count: int, generator: torch.Generator) -> Candidates:
    """Parents drawn from the archive with their constants, better ones more often."""
    rows = torch.multinomial(archive.merit() + 0.05, count, replacement=True, generator=generator)
    return Candidates.of(archive.tokens[rows], grammar, archive.fit.theta[rows])


def inherited(tokens: Tensor, parents: Candidates) -> Candidates:
    """Children [formula, position] in the constants of the tokens with which both they and their parents begin,
    and of those with which both end.
    """
    length = tokens.shape[1]
    head = (tokens == parents.tokens).long().cumprod(1).bool()
    longer = (parents.tokens != PAD).sum(1, keepdim=True) - (tokens != PAD).sum(1, keepdim=True)
    source = (
        torch.arange(length, device=tokens.device) + longer
    )  # the parent's position, counted from the end
    inside, source = (source >= 0) & (source < length), source.clamp(0, length - 1)
    alike = (tokens == PAD) | (inside & (tokens == parents.tokens.gather(1, source)))
    tail = alike.flip(1).long().cumprod(1).flip(1).bool()
    values = torch.where(tail, parents.values.gather(1, source), torch.nan)
    return Candidates(tokens, torch.where(head, parents.values, values))


def neighbours(
    parents: Candidates, model: SEGVAE, generator: torch.Generator, data_points: Tensor | None = None
) -> Candidates:
    """Formulas that the decoder writes near the parents in latent space."""
    codes = model.codes_around(parents.tokens, _NOISE_WIDTHS, generator, data_points)
    return inherited(model.sample(codes, generator, _SAMPLING_TEMPERATURE), parents)


def regrown(
    parents: Candidates,
    model: SEGVAE,
    grammar: Grammar,
    generator: torch.Generator,
    data_points: Tensor | None = None,
) -> Candidates:
    """Replace a random subtree of every parent by what the decoder writes there; the formulas that fit.

    The decoder has read the parent up to that position, and its code is near the parent's in latent space.
    """
    codes = model.codes_around(parents.tokens, _NOISE_WIDTHS, generator, data_points)
    start = random_positions(parents.tokens, generator)
    written = model.sample(codes, generator, _SAMPLING_TEMPERATURE, (parents.tokens, start))
    lines = torch.arange(len(start), device=start.device)
    stop, size = (subtree_ends(rows, grammar)[lines, start] for rows in (parents.tokens, written))
    out, fits = splice(parents, start, stop, Candidates.of(written, grammar), start, size - start)
    return out[fits]


def breed(
    archive: Archive,
    model: SEGVAE,
    grammar: Grammar,
    counts: list[int],
    generator: torch.Generator,
    data_points: Tensor | None = None,
) -> tuple[Candidates, Tensor]:
    """One generation's formulas from every source, all obeying the grammar, and where each came from.

    ``data_points`` [1, point, feature] are the data that a conditional network sees.
    """

    def parents(i: int) -> Candidates:
        return elites(archive, grammar, counts[i], generator)

    prior = model.sample(model.random_codes(counts[0], generator, data_points), generator)
    made = [
        Candidates.of(prior, grammar),
        neighbours(parents(1), model, generator, data_points),
        regrown(parents(2), model, grammar, generator, data_points),
        crossover(parents(3), parents(3), grammar, generator),
        mutate(parents(4), grammar, generator),
        relabel(parents(5), grammar, generator),
        wrap(parents(6), grammar, generator),
        add_up(parents(7), parents(7), grammar),
    ]
    source = torch.cat([torch.full((len(m),), i + 1) for i, m in enumerate(made)]).to(archive.tokens.device)
    whole = Candidates.cat(made)
    valid = grammar_masks(whole.tokens, grammar)[1]
    return whole[valid], source[valid]
