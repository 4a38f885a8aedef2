"""Data and a grammar to a front: exhaustive seeds, then generations of SEGVAE samples and moved subtrees.

A generation draws formulas from the autoencoder's prior and from around encoded elites, and moves subtrees
between elites; fits every new skeleton's constants in one batch; keeps, for every complexity, the best that
are safe over the domain; and trains the autoencoder on those. How much each source contributes follows its
yield.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from defectdb.engine.finishing.cross_validation import make_folds
from defectdb.engine.finishing.final_front import final_front
from defectdb.engine.finishing.numbers_only import as_they_stand, literal_formulas, round_halves, standing
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.network.data_encoder import shown_of
from defectdb.engine.network.pretrained import pretrained
from defectdb.engine.network.segvae import SEGVAE
from defectdb.engine.network.training import train
from defectdb.engine.problem import Problem
from defectdb.engine.programs.canonical import canonical_keys
from defectdb.engine.programs.compiling import count_constants
from defectdb.engine.programs.complexity import complexities, distinct_terms
from defectdb.engine.programs.dressed import Dressed
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.fitted_values import in_domain
from defectdb.engine.search.acceptance import Acceptance
from defectdb.engine.search.checkpoint import restore, save
from defectdb.engine.search.offspring import SOURCES, breed, shares
from defectdb.engine.search.outcome import Counts, Generation, Outcome
from defectdb.engine.seeds.round_number_pairs import nearest_pairs
from defectdb.engine.seeds.seeding import small_skeletons, sparse_sums
from defectdb.engine.settings import SearchConfig
from defectdb.expressions.expression import Expression

_LITERAL = 12  # formulas with rounded constants kept for every complexity
_HURRIED = 4  # tokens of the skeletons that are tried although the time is over
_REMEMBERED = 4_000_000  # keys of fitted skeletons, 32 MB: memory does not grow with the generations
_REPEATED = 0.3  # of a fit: what it costs to make one candidate, whether new or not
_SEARCHING = 0.92  # of the time limit; the rest is for the front
_STANDING = 40  # formulas without fitted constants kept for every complexity
_CHANCES = (
    6,
    2,
)  # further starts, one by one, of a formula whose best constants are unsafe: of seeds, and later
_PAIRING = 8.0  # seconds that the pairs of small functions may take: without them nothing is begun


class Search:
    """One search over one problem; ``run`` gives the outcome.

    ``seeds`` [formula, position] are skeletons to try first; only formulas that ``predicate`` accepts are
    fitted; ``state`` names a file to keep the state in after every generation and to go on from where it
    exists.
    """

    def __init__(
        self,
        problem: Problem,
        grammar: Grammar,
        config: SearchConfig,
        domain: Domain | None = None,
        report: Callable[[Generation], None] | None = None,
        seeds: Tensor | None = None,
        predicate: Callable[[Expression], bool] | None = None,
        state: Path | None = None,
    ) -> None:
        self.problem = problem.to(config.device)
        self.grammar, self.config = grammar, config
        self.domain = None if domain is None else domain.to(config.device)
        self.report = report or (lambda _: None)
        self.generator = torch.Generator(device=config.device).manual_seed(config.seed)
        self.seeds, self.state = seeds, state
        self.accepts = Acceptance(grammar, predicate)
        self.archive: Archive | None = None
        self.literal: Archive | None = None  # the same with rounded constants, where asked for
        self.pairs: Archive | None = None  # formulas without fitted constants, as they stand
        self.seen = torch.zeros(0, dtype=torch.long, device=config.device)  # hashes of skeletons fitted
        self.n_fits = 0
        self.fitted = torch.zeros(len(SOURCES), dtype=torch.long)  # by source, of the last candidates
        self.idle = 0
        self.history: list[Generation] = []
        self.yields = torch.ones(len(SOURCES), dtype=torch.float64)
        self.stop_at = time.monotonic() + _SEARCHING * config.time_limit

    @cached_property
    def network(self) -> tuple[SEGVAE, torch.optim.Optimizer]:
        """The autoencoder and its optimiser, made when the first generation needs them."""
        return pretrained(self.grammar, self.config.model, self.config.device)

    @cached_property
    def shown(self) -> Tensor | None:
        """The data as a conditional network sees them, [1, point, feature]; None for one that does not."""
        return shown_of(self.problem) if self.config.model.conditional else None

    def _paired(self) -> Archive | None:
        """Formulas without fitted constants near the data, where round numbers are asked for and nothing is exact."""
        if not self.config.rounded or self._best() <= self.config.target_mse:
            return None
        if self.stop_at - time.monotonic() < _PAIRING:
            return None
        tokens = nearest_pairs(self.problem, self.grammar)
        found = standing(tokens[self.accepts(tokens)], self.grammar, self.problem)
        return found.best(_STANDING, self.config.max_complexity)

    def _keys(self, tokens: Tensor, plain: Tensor) -> Tensor:
        """One key [formula] for skeletons that are one formula, in this order of operands or another."""
        keys = canonical_keys(tokens, self.grammar, self.problem.max_terms)
        return keys.bitwise_xor(plain.long() * 0x5DEECE66D)

    def _novel(self, keys: Tensor) -> Tensor:
        """Rows of the keys that were not fitted before, without repetitions."""
        keys, order = keys.sort(stable=True)
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[1:] != keys[:-1]
        fresh = first & ~torch.isin(keys, self.seen)
        self.seen = torch.cat([self.seen, keys[fresh]])[-_REMEMBERED:]
        return order[fresh].sort().values

    def _absorb(
        self, made: Dressed, source: Tensor, plain: Tensor, *, thorough: bool = False, starts: int = 0
    ) -> Counts:
        """Fit new skeletons, drop the unsafe, merge the rest."""
        c, g = self.config, self.grammar
        size = complexities(made.tokens, g, self.problem, plain)
        sound = (size <= c.max_complexity) & distinct_terms(made.tokens, g, self.problem)
        rows = sound.nonzero().squeeze(1)
        keys = self._keys(made.tokens, plain)
        unique = len(keys.unique())
        rows = rows[self._novel(keys[rows])]
        rows = rows[self.accepts(made.tokens[rows])]
        self.fitted = torch.bincount(source[rows], minlength=len(SOURCES))
        if not len(rows):
            return Counts(len(made), unique, 0, 0)
        tokens, plain, size = made.tokens[rows], plain[rows], size[rows]
        bound = None
        if self.archive is not None and len(self.archive):
            bound = c.slack * self.archive.worst(c.per_complexity, c.max_complexity)[size]
        fitted = fit(
            tokens, g, self.problem, self.generator,
            starts=starts or (c.starts if self.history else c.seed_starts), theta=made[rows].theta(g), plain=plain,
            bound=bound, iterations=(10, 60) if thorough else (6, 14),
        )  # fmt: skip
        self.n_fits += len(tokens)
        risky = fitted.sse
        safe = self._safe(tokens, size, fitted, everything=bool(self.history))
        fitted = Fit(fitted.theta, fitted.beta, torch.where(safe, fitted.sse, torch.inf))
        if self.domain is not None:
            safe |= self._second_chance(tokens, size, plain, fitted, risky)
        born = torch.full_like(size, len(self.history))
        new = Archive(tokens, fitted, size, source[rows], born, plain)
        if c.rounded:
            self._round(new)
        whole = new if self.archive is None else self.archive.joined(new)
        self.archive = whole.best(c.per_complexity, c.max_complexity)
        return Counts(len(made), unique, len(tokens), int(safe.sum()))

    def _round(self, new: Archive) -> None:
        """Keep the best of every complexity with all constants rounded: under noise the law may be among these."""
        half = round_halves(new, self.grammar, self.problem)
        whole = half if self.literal is None else self.literal.joined(half)
        self.literal = whole.best(_LITERAL, self.config.max_complexity)

    def _safe(self, tokens: Tensor, size: Tensor, fitted: Fit, *, everything: bool) -> Tensor:
        """Which formulas are safe over the domain; unless ``everything``, only those that may become elites."""
        wanted = torch.isfinite(fitted.sse)
        if not everything and self.archive is not None and len(self.archive):
            c = self.config
            wanted &= fitted.sse <= self.archive.worst(c.per_complexity, c.max_complexity)[size]
        if self.domain is not None:
            rows = wanted.nonzero().squeeze(1)
            part = Fit(fitted.theta[rows], fitted.beta[rows], fitted.sse[rows])
            wanted[rows] = in_domain(tokens[rows], self.grammar, part, self.problem, self.domain)
        return wanted

    def _second_chance(
        self, tokens: Tensor, size: Tensor, plain: Tensor, fitted: Fit, risky: Tensor
    ) -> Tensor:
        """Look for other constants of those formulas that would be elites with the unsafe ones of error ``risky``.

        A fast ripple or a pole between the points often fits best. What is found is put into ``fitted``; which
        formulas are safe now, bool [formula].
        """
        c, g = self.config, self.grammar
        best = torch.full_like(risky, torch.inf)
        if self.archive is not None and len(self.archive):
            best = self.archive.worst(c.per_complexity, c.max_complexity)[size]
        promising = torch.isfinite(risky) & torch.isinf(fitted.sse) & (risky <= best)
        rows = (promising & (count_constants(tokens, g) > 0)).nonzero().squeeze(1)
        if not len(rows):
            return torch.zeros_like(promising)
        chances = _CHANCES[bool(self.history)]
        many = rows.repeat_interleave(chances)
        tried = fit(
            tokens[many], g, self.problem, self.generator, starts=1, plain=plain[many], bound=best[many]
        )
        tried = Fit(tried.theta, tried.beta, torch.where(tried.sse <= best[many], tried.sse, torch.inf))
        assert self.domain is not None
        ok = in_domain(tokens[many], g, tried, self.problem, self.domain)
        lowest, which = torch.where(ok, tried.sse, torch.inf).view(-1, chances).min(1)
        which = which + torch.arange(len(rows), device=rows.device) * chances
        found = torch.isfinite(lowest)
        rows, which = rows[found], which[found]
        fitted.theta[rows, : tried.theta.shape[1]] = tried.theta[which]
        fitted.beta[rows], fitted.sse[rows] = tried.beta[which], lowest[found]
        promising[:] = False
        promising[rows] = True
        return promising

    def _seed(self) -> None:
        """Generation 0: the caller's seeds, sparse sums and every small skeleton."""
        c = self.config
        begin = time.monotonic()
        counts = self._given()
        hurry = self.archive is not None and self._enough()
        tokens, plain = small_skeletons(
            self.problem,
            self.grammar,
            replace(c, exhaustive_size=min(_HURRIED, c.exhaustive_size)) if hurry else c,
        )
        for part, flags in zip(tokens.split(4096), plain.split(4096), strict=True):
            if self.archive is not None and self._enough():
                break
            source = torch.zeros(len(part), dtype=torch.long, device=c.device)
            counts += self._absorb(Dressed.of(part, self.grammar), source, flags)
        self._record(begin, counts, 0.0, 0.0)

    def _given(self) -> Counts:
        """The caller's seeds, then sparse sums, with and without offset."""
        c = self.config
        counts = Counts()
        if self.seeds is not None and len(self.seeds):
            made = Dressed.of(self.seeds.to(c.device), self.grammar)
            source = torch.zeros(len(made), dtype=torch.long, device=c.device)
            counts += self._absorb(made, source, source.bool(), thorough=True)
        if c.sparse_size and not self._enough():
            made = sparse_sums(self.problem, self.grammar, c, self.domain)
            source = torch.zeros(len(made), dtype=torch.long, device=c.device)
            for plain in (False, True) if self.problem.offset else (False,):
                flags = torch.full_like(source, plain).bool()
                counts += self._absorb(made, source, flags, starts=2)
        return counts

    def _enough(self) -> bool:
        """Whether the time is over or the error that was asked for is reached."""
        return time.monotonic() > self.stop_at or self._best() <= self.config.target_mse

    def _train(self) -> tuple[float, float]:
        """Some optimiser steps on the elites, better ones weighing more; mean KL and loss."""
        assert self.archive is not None
        c, archive = self.config, self.archive
        return train(
            self.network, archive.tokens, archive.merit(), self.generator,
            steps=c.train_steps, batch=c.batch, shown=self.shown,
        )  # fmt: skip

    def _plain(self, count: int) -> Tensor:
        """Which of a generation's candidates do without the offset: as many as elites do, a tenth at least."""
        assert self.archive is not None
        share = min(0.6, max(0.1, float(self.archive.plain.double().mean()))) if self.problem.offset else 0.0
        device = self.archive.tokens.device
        return torch.rand(count, generator=self.generator, device=device) < share

    def _credit(self, made: Tensor) -> None:
        """Move the sources' shares towards the elites that each gave for what its candidates cost."""
        assert self.archive is not None
        born = self.archive.source[self.archive.born == len(self.history)]
        added = torch.bincount(born, minlength=len(SOURCES)).cpu().double()
        tried = torch.bincount(made, minlength=len(SOURCES)).cpu().double()
        cost = self.fitted.cpu().double() + _REPEATED * tried
        rate = (added + 1) / (cost + 10)
        self.yields = 0.7 * self.yields + 0.3 * rate / rate[1:].mean()

    def _best(self) -> float:
        """Lowest mean squared error so far."""
        if self.archive is None or not len(self.archive):
            return float("inf")
        return float(self.archive.fit.sse.min()) / float(self.problem.weight.sum())

    def _record(self, begin: float, counts: Counts, kl: float, loss: float) -> None:
        seconds = time.monotonic() - begin
        weight = float(self.problem.weight.sum())
        steps = () if self.archive is None else self.archive.reached()
        reached = tuple((size, sse / weight) for size, sse in steps)
        record = Generation(
            len(self.history), seconds, counts.made, counts.unique, counts.new, counts.safe, self._best(), kl, loss,
            reached,
        )  # fmt: skip
        self.history.append(record)
        self.report(record)

    def _generation(self) -> None:
        """Train, breed, fit, keep."""
        assert self.archive is not None
        c = self.config
        begin = time.monotonic()
        kl, loss = self._train()
        before = self.archive.lowest(c.max_complexity)
        asked = shares(self.yields, c.population)
        made, source = breed(self.archive, self.network[0], self.grammar, asked, self.generator, self.shown)
        counts = self._absorb(made, source, self._plain(len(made)))
        self._credit(source)
        self._record(begin, counts, kl, loss)
        improved = bool((self.archive.lowest(c.max_complexity) < before * 0.999).any())
        self.idle = 0 if improved else self.idle + 1

    def _done(self) -> bool:
        c = self.config
        return (
            self.archive is None
            or not len(self.archive)
            or len(self.history) > c.generations
            or time.monotonic() > self.stop_at
            or self.history[-1].best_mse <= c.target_mse
            or self.idle >= c.patience
        )

    def _in_numbers(self) -> list[Scored]:
        """Formulas without fitted constants: rounded ones, and pairs of small functions."""
        found = []
        if self.literal is not None and len(self.literal):
            found += literal_formulas(self.literal, self.grammar, self.problem)
        if self.pairs is not None and len(self.pairs):
            found += literal_formulas(self.pairs, self.grammar, as_they_stand(self.problem))
        each = {scored.expression: scored for scored in found}.values()
        here = None if self.domain is None else self.domain.to("cpu")
        return [s for s in each if here is None or here.permits(s.expression, (), self.grammar.variables)]

    def run(self, folds: Tensor | None = None) -> Outcome:
        """Search until the generations, the time or the patience end; then score the front."""
        begin = time.monotonic()
        if self.state is not None and self.state.exists():
            restore(self, self.state)
        if not self.history:
            self._seed()
        self.pairs = self._paired()
        while not self._done():
            if self.state is not None:
                save(self, self.state)
            self._generation()
        if self.state is not None:
            save(self, self.state)
        front: list[Scored] = []
        plain: list[Scored] = []
        if self.archive is not None and len(self.archive):
            rows = make_folds(self.problem) if folds is None else folds.to(self.config.device)
            until = self.stop_at if self.config.algebra else 0.0
            free = not self.grammar.required and self.accepts.predicate is None
            front = final_front(
                self.archive, self.grammar, self.problem, self.domain, rows, self.generator, until, mean=free
            )
            if self._best() > self.config.target_mse:
                plain = self._in_numbers()
        return Outcome(front, self.history, time.monotonic() - begin, self.n_fits, plain)
