"""An archive and an autoencoder to new candidates: samples, their neighbours, and moved subtrees of elites."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.learn.segvae.archive import Archive
from defectdb.learn.segvae.evolve import Dressed, add_up, crossover, mutate, relabel, wrap
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.model import SEGVAE, grammar_masks

SOURCES = ("enumeration", "prior", "neighbours", "crossover", "mutation", "relabel", "wrap", "sum")
"""Where candidates come from; the first is the seed of every search."""

_SHARED = 0.3  # of every generation, in equal parts to all sources; the rest follows what they yield


def shares(yields: Tensor, population: int) -> list[int]:
    """Candidates asked of every source but the first; ``yields`` [source] new elites per candidate so far."""
    share = (1 - _SHARED) * yields[1:] / yields[1:].sum() + _SHARED / (len(SOURCES) - 1)
    return [max(32, int(n)) for n in (share * population).tolist()]


def elites(archive: Archive, grammar: Grammar, count: int, generator: torch.Generator) -> Dressed:
    """Parents drawn from the archive, better ones more often, dressed in their constants."""
    rows = torch.multinomial(archive.merit() + 0.05, count, replacement=True, generator=generator)
    return Dressed.of(archive.tokens[rows], grammar, archive.fit.theta[rows])


@torch.no_grad()
def neighbours(parents: Dressed, model: SEGVAE, grammar: Grammar, generator: torch.Generator) -> Dressed:
    """What the decoder writes at the parents' places in latent space.

    A neighbour with as many constants as its parent inherits them in order.
    """
    mean, log_variance = model.encode(parents.tokens)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    tokens = model.sample(mean + noise * (0.5 * log_variance).exp(), generator)
    same = (tokens == grammar.constant).sum(1) == (parents.tokens == grammar.constant).sum(1)
    theta = parents.theta(grammar)
    theta = torch.where(same.unsqueeze(1), theta, torch.nan)
    return Dressed.of(tokens, grammar, theta)


def breed(
    archive: Archive, model: SEGVAE, grammar: Grammar, counts: list[int], generator: torch.Generator
) -> tuple[Dressed, Tensor]:
    """One generation's formulas from every source, all obeying the grammar, and where each came from."""

    def parents(i: int) -> Dressed:
        return elites(archive, grammar, counts[i], generator)

    prior = model.sample(model.random_latents(counts[0], generator), generator)
    made = [
        Dressed.of(prior, grammar),
        neighbours(parents(1), model, grammar, generator),
        crossover(parents(2), parents(2), grammar, generator),
        mutate(parents(3), grammar, generator),
        relabel(parents(4), grammar, generator),
        wrap(parents(5), grammar, generator),
        add_up(parents(6), parents(6), grammar),
    ]
    source = torch.cat([torch.full((len(m),), i + 1) for i, m in enumerate(made)]).to(archive.tokens.device)
    whole = Dressed.cat(made)
    valid = grammar_masks(whole.tokens, grammar)[1]
    return whole[valid], source[valid]
