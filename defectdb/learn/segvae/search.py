"""Data and a grammar to a front of formulas: exhaustive seeds, then generations of SEGVAE samples and moved subtrees.

A generation draws formulas from the autoencoder's prior and from around encoded elites, and moves subtrees between
elites; fits every new skeleton's constants in one batch; keeps, for every complexity, the best that are safe over
the domain; and trains the autoencoder on those. How much each source contributes follows what it has yielded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from defectdb.learn.segvae.constants import Fit, Problem, fit
from defectdb.learn.segvae.enumerate import skeletons
from defectdb.learn.segvae.evolve import Dressed, add_up, crossover, mutate, relabel, wrap
from defectdb.learn.segvae.front import (
    Domain,
    Scored,
    complexities,
    distinct_terms,
    in_domain,
    make_folds,
    score_front,
)
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.model import SEGVAE, ModelConfig, grammar_masks
from defectdb.learn.segvae.pretrain import pretrained


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How long and how wide to search. A search is repeatable when generations, not ``time_limit``, end it."""

    seed: int = 0
    generations: int = 12
    time_limit: float = 600.0
    population: int = 4000
    exhaustive_size: int = 7
    exhaustive_limit: int = 15_000
    exhaustive_operators: tuple[str, ...] = ()  # none: the grammar's
    max_complexity: int = 25
    per_complexity: int = 40
    train_steps: int = 12
    batch: int = 192
    starts: int = 6
    patience: int = 6
    target_mse: float = 0.0
    device: str = "cpu"
    model: ModelConfig = field(default_factory=ModelConfig)


@dataclass(frozen=True, slots=True)
class Generation:
    """Counts and scores of one generation, for progress displays and the ``generations`` table."""

    generation: int
    seconds: float
    n_candidates: int
    n_unique: int
    n_in_domain: int
    best_mse: float
    kl: float
    loss: float


@dataclass(slots=True)
class Archive:
    """The best fitted skeletons of every complexity."""

    tokens: Tensor
    fit: Fit
    complexity: Tensor
    source: Tensor
    born: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found: the front in order of complexity, the generations' statistics, the time it took."""

    front: list[Scored]
    generations: list[Generation]
    seconds: float
    n_fits: int


SOURCES = ("enumeration", "prior", "neighbours", "crossover", "mutation", "relabel", "wrap", "sum")


def _merge(archive: Archive | None, new: Archive, config: SearchConfig) -> Archive:
    """Keep the best ``per_complexity`` skeletons of every complexity, one of those that err alike."""
    if archive is not None:
        new = Archive(
            torch.cat([archive.tokens, new.tokens]),
            Fit(*(
                torch.cat([_widen(old, fresh.shape), _widen(fresh, old.shape)])
                for old, fresh in zip(_parts(archive.fit), _parts(new.fit), strict=True)
            )),
            torch.cat([archive.complexity, new.complexity]),
            torch.cat([archive.source, new.source]),
            torch.cat([archive.born, new.born]),
        )  # fmt: skip
    ok = torch.isfinite(new.fit.sse) & (new.complexity <= config.max_complexity)
    rows = ok.nonzero().squeeze(1)
    order = rows[new.fit.sse[rows].argsort(stable=True)]
    order = order[new.complexity[order].argsort(stable=True)]
    level, sse = new.complexity[order], new.fit.sse[order]
    fresh = torch.ones_like(order, dtype=torch.bool)
    fresh[1:] = (level[1:] != level[:-1]) | (sse[1:] > sse[:-1] * (1 + 1e-7))
    order, level = order[fresh], level[fresh]
    counts = torch.bincount(level, minlength=1)
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=order.device) - first[level]
    keep = order[rank < config.per_complexity]
    parts = Fit(*(part[keep] for part in _parts(new.fit)))
    return Archive(new.tokens[keep], parts, new.complexity[keep], new.source[keep], new.born[keep])


def _parts(fitted: Fit) -> tuple[Tensor, Tensor, Tensor]:
    return fitted.theta, fitted.beta, fitted.sse


def _widen(block: Tensor, shape: torch.Size) -> Tensor:
    if block.dim() < 2 or block.shape[1] >= shape[1]:
        return block
    return torch.nn.functional.pad(block, (0, shape[1] - block.shape[1]))


class Search:
    """One search over one problem; ``run`` gives the outcome."""

    def __init__(
        self,
        problem: Problem,
        grammar: Grammar,
        config: SearchConfig,
        domain: Domain | None = None,
        report: Callable[[Generation], None] | None = None,
        seeds: Tensor | None = None,
    ) -> None:
        self.problem = problem.to(config.device)
        self.grammar, self.config, self.domain = grammar, config, domain
        self.report = report or (lambda _: None)
        self.generator = torch.Generator(device=config.device).manual_seed(config.seed)
        self.seeds = seeds
        self.archive: Archive | None = None
        self.seen = torch.zeros(0, dtype=torch.long, device=config.device)  # hashes of skeletons fitted
        self.n_fits = 0
        self.history: list[Generation] = []
        self.yields = torch.ones(len(SOURCES))
        self.stop_at = time.monotonic() + config.time_limit
        torch.manual_seed(config.seed)
        self.model, self.optimizer = pretrained(grammar, config.model, config.device)
        self.hash_weights = torch.randint(
            1, 2**62, (grammar.max_length,), generator=torch.Generator().manual_seed(7)
        ).to(config.device)

    # ------------------------------------------------------------ candidates

    def _novel(self, tokens: Tensor) -> Tensor:
        """Rows of the skeletons not fitted before, without repetitions."""
        mixed = tokens.mul(2654435761).add(97).bitwise_xor(tokens << 17)
        keys, order = (mixed * self.hash_weights).sum(1).sort(stable=True)
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[1:] != keys[:-1]
        fresh = first & ~torch.isin(keys, self.seen)
        self.seen = torch.cat([self.seen, keys[fresh]])
        return order[fresh].sort().values

    def _absorb(self, made: Dressed, source: Tensor) -> tuple[int, int]:
        """Fit new skeletons, drop the unsafe, merge the rest; how many were new and how many safe."""
        size = complexities(made.tokens, self.grammar, self.problem)
        sound = (size <= self.config.max_complexity) & distinct_terms(made.tokens, self.grammar, self.problem)
        made, source = made[sound], source[sound]
        rows = self._novel(made.tokens)
        if not len(rows):
            return 0, 0
        tokens, source, begin = made.tokens[rows], source[rows], made[rows].theta(self.grammar)
        fitted = fit(
            tokens, self.grammar, self.problem, self.generator, starts=self.config.starts, theta=begin
        )
        self.n_fits += len(tokens)
        safe = torch.isfinite(fitted.sse)
        if self.domain is not None:
            safe = in_domain(tokens, self.grammar, fitted, self.problem, self.domain)
        fitted = Fit(fitted.theta, fitted.beta, torch.where(safe, fitted.sse, torch.inf))
        born = torch.full_like(source, len(self.history))
        new = Archive(tokens, fitted, complexities(tokens, self.grammar, self.problem), source, born)
        self.archive = _merge(self.archive, new, self.config)
        return len(tokens), int(safe.sum())

    def _elites(self, count: int) -> Dressed:
        assert self.archive is not None
        rows = torch.randint(len(self.archive), (count,), generator=self.generator, device=self.config.device)
        return Dressed.of(self.archive.tokens[rows], self.grammar, self.archive.fit.theta[rows])

    def _offspring(self) -> tuple[Dressed, Tensor]:
        """One generation's candidates from every source, and where each came from."""
        share = 0.5 * self.yields[1:] / self.yields[1:].sum() + 0.5 / (len(SOURCES) - 1)
        counts = (share * self.config.population).long().clamp(min=32).tolist()
        g, gen = self.grammar, self.generator
        prior = self.model.sample(self.model.random_latents(counts[0], gen), gen)
        mean, log_variance = self.model.encode(self._elites(counts[1]).tokens)
        noise = torch.randn(mean.shape, generator=gen, device=mean.device)
        near = self.model.sample((mean + noise * (0.5 * log_variance).exp()).detach(), gen)
        made = [
            Dressed.of(prior, g), Dressed.of(near, g),
            crossover(self._elites(counts[2]), self._elites(counts[2]), g, gen),
            mutate(self._elites(counts[3]), g, gen),
            relabel(self._elites(counts[4]), g, gen),
            wrap(self._elites(counts[5]), g, gen),
            add_up(self._elites(counts[6]), self._elites(counts[6]), g),
        ]  # fmt: skip
        source = torch.cat([torch.full((len(m),), i + 1) for i, m in enumerate(made)]).to(self.config.device)
        whole = Dressed.cat(made)
        valid = grammar_masks(whole.tokens, g)[1]
        return whole[valid], source[valid]

    # ------------------------------------------------------------ the loop

    def _seed(self) -> None:
        c = self.config
        core = replace(self.grammar, operators=c.exhaustive_operators or self.grammar.operators)
        small = [
            s for s in skeletons(core, c.exhaustive_size, c.exhaustive_limit) if len(s) <= core.max_length
        ]
        tokens = torch.tensor([self.grammar.encode(s) for s in small], dtype=torch.long, device=c.device)
        if self.seeds is not None:
            tokens = torch.cat([self.seeds.to(c.device), tokens])
        source = torch.zeros(len(tokens), dtype=torch.long, device=c.device)
        unique = safe = 0
        begin = time.monotonic()
        for part, origin in zip(tokens.split(4096), source.split(4096), strict=True):
            counts = self._absorb(Dressed.of(part, self.grammar), origin)
            unique, safe = unique + counts[0], safe + counts[1]
            if time.monotonic() > self.stop_at:
                break
        self._record(0, begin, len(tokens), unique, safe, 0.0, 0.0)

    def _train(self) -> tuple[float, float]:
        """Some optimiser steps on the elites, better ones weighing more; mean KL and last loss."""
        assert self.archive is not None
        tokens = self.archive.tokens
        masks, _ = grammar_masks(tokens, self.grammar)
        best = torch.zeros(self.config.max_complexity + 1, dtype=torch.float64, device=tokens.device)
        best = best.fill_(torch.inf).scatter_reduce(0, self.archive.complexity, self.archive.fit.sse, "amin")
        weight = (best[self.archive.complexity] / self.archive.fit.sse.clamp(min=1e-300)).sqrt().float() + 0.1
        kl, loss = 0.0, torch.zeros(())
        for _ in range(self.config.train_steps):
            rows = torch.randint(
                len(tokens), (self.config.batch,), generator=self.generator, device=tokens.device
            )
            loss, kl = self.model.loss(tokens[rows], masks[rows], weight[rows], self.generator)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return kl, float(loss.detach())

    def _credit(self) -> None:
        """Move the sources' shares towards what they added to the archive in this generation."""
        assert self.archive is not None
        born = self.archive.source[self.archive.born == len(self.history)]
        added = torch.bincount(born, minlength=len(SOURCES)).cpu()
        self.yields = 0.7 * self.yields + 0.3 * (added + 1)

    def _record(
        self, generation: int, begin: float, made: int, unique: int, safe: int, kl: float, loss: float
    ) -> None:
        best = (
            float(self.archive.fit.sse.min())
            if self.archive is not None and len(self.archive)
            else float("inf")
        )
        mean = best / float(self.problem.weight.sum())
        record = Generation(generation, time.monotonic() - begin, made, unique, safe, mean, kl, loss)
        self.history.append(record)
        self.report(record)

    def _front_sse(self) -> Tensor:
        """Lowest error at or below every complexity."""
        assert self.archive is not None
        best = torch.full((self.config.max_complexity + 1,), torch.inf, dtype=torch.float64)
        best = best.scatter_reduce(0, self.archive.complexity.cpu(), self.archive.fit.sse.cpu(), "amin")
        return best.cummin(0).values

    def run(self, folds: Tensor | None = None) -> Outcome:
        """Search until the generations, the time or the patience end; then score the front."""
        begin = time.monotonic()
        self._seed()
        idle = 0
        for generation in range(1, self.config.generations + 1):
            if self.archive is None or not len(self.archive) or time.monotonic() > self.stop_at:
                break
            if self.history[-1].best_mse <= self.config.target_mse:
                break
            start = time.monotonic()
            kl, loss = self._train()
            before = self._front_sse()
            made, source = self._offspring()
            unique, safe = self._absorb(made, source)
            self._credit()
            self._record(generation, start, len(made), unique, safe, kl, loss)
            improved = bool((self._front_sse() < before * 0.999).any())
            idle = 0 if improved else idle + 1
            if idle >= self.config.patience:
                break
        return Outcome(self._score(folds), self.history, time.monotonic() - begin, self.n_fits)

    def _score(self, folds: Tensor | None) -> list[Scored]:
        """Polish the best few of every complexity and give the front with its cross-validated errors."""
        if self.archive is None or not len(self.archive):
            return []
        level, sse = self.archive.complexity, self.archive.fit.sse
        keep = torch.zeros(len(level), dtype=torch.bool, device=level.device)
        for c in level.unique().tolist():
            rows = (level == c).nonzero().squeeze(1)
            keep[rows[sse[rows].argsort(stable=True)[:3]]] = True
        tokens = self.archive.tokens[keep]
        theta = self.archive.fit.theta[keep]
        fitted = fit(
            tokens, self.grammar, self.problem, self.generator, starts=4, theta=theta, iterations=(20, 60)
        )
        fine = torch.isfinite(fitted.sse)
        if self.domain is not None:
            fine &= in_domain(tokens, self.grammar, fitted, self.problem, self.domain)
        old = Fit(*(part[keep] for part in _parts(self.archive.fit)))
        fitted = Fit(
            torch.where(fine.unsqueeze(1), fitted.theta, old.theta[:, : fitted.theta.shape[1]]),
            torch.where(fine.unsqueeze(1), fitted.beta, old.beta),
            torch.where(fine, fitted.sse, old.sse),
        )
        level = level[keep]
        best: list[int] = []
        bound = float("inf")
        for c in level.unique().tolist():
            rows = (level == c).nonzero().squeeze(1)
            i = int(rows[fitted.sse[rows].argmin()])
            if float(fitted.sse[i]) < bound * 0.999:
                best.append(i)
                bound = float(fitted.sse[i])
        chosen = torch.tensor(best, device=tokens.device)
        part = Fit(*(p[chosen] for p in _parts(fitted)))
        rows = make_folds(self.problem) if folds is None else folds
        return score_front(tokens[chosen], self.grammar, part, self.problem, rows)
