"""The variational autoencoder over formulas: an LSTM encodes a prefix sequence, another decodes one.

Popov et al., 'Symbolic expression generation via variational auto-encoder', PeerJ Comput. Sci. 2023,
cs-1241. Two departures, both against the collapse of the latent space: free bits (Kingma et al., arXiv
1606.04934) keep a floor under the KL divergence, and the latent vector enters the decoder at every step.
Decoding is masked by the grammar, in training and in sampling alike, so probability is never spent on
sequences that are no formula. As in the paper the network may be conditional: prior and decoder then see
the data points as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectdb.engine.grammar.decoding import Decoder
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.network.data_encoder import SetEncoder
from defectdb.engine.settings import ModelConfig


class SEGVAE(nn.Module):
    """A variational autoencoder of formulas: encoder, Gaussian latent space and masked decoder of tokens.

    The decoder takes a code [batch, latent (+ condition)]: a latent vector and, where the network is conditional, the
    encoded data.
    """

    def __init__(self, grammar: Grammar, config: ModelConfig | None = None) -> None:
        super().__init__()
        config = config or ModelConfig()
        self.grammar, self.config = grammar, config
        n = len(grammar.tokens)
        code = config.latent + config.condition * config.conditional
        self.embed = nn.Embedding(n + 1, config.embedding)  # index n: start of sequence
        self.encoder = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.to_latent = nn.Linear(config.hidden, 2 * config.latent)
        self.from_code = nn.Linear(code, 2 * config.hidden)
        self.decoder = nn.LSTM(config.embedding + code, config.hidden, batch_first=True)
        self.to_token = nn.Linear(config.hidden, n)
        if config.conditional:
            self.points = SetEncoder(len(grammar.variables), config.hidden, config.condition)
            self.to_prior = nn.Linear(config.condition, 2 * config.latent)

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent, each [batch, latent], of sequences [batch, position].

        They are read from the back: the root comes last, when all its operands are known.
        """
        return self._read(tokens[:, : int((tokens != PAD).sum(1).max())])

    def _read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """As ``encode``, of sequences without a column of padding alone."""
        states, _ = self.encoder(self.embed(tokens.flip(1)))
        mean, log_variance = self.to_latent(states[:, -1]).chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 4.0)

    def condition(self, data_points: Tensor | None, count: int) -> Tensor | None:
        """The encoded points, [count, condition], from [1 or count, point, feature]; None without."""
        if not self.config.conditional:
            return None
        if data_points is None:
            raise ValueError("a conditional network needs data points")
        vector: Tensor = self.points(data_points)
        return vector.expand(count, -1)

    def prior(self, condition: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent before any formula is seen: standard normal without data."""
        if condition is None:
            return torch.zeros_like(like), torch.zeros_like(like)
        mean, log_variance = self.to_prior(condition).chunk(2, dim=1)
        return mean, log_variance.clamp(-3.0, 2.0)

    def code(self, z: Tensor, data_points: Tensor | None = None) -> Tensor:
        """Latent vectors [batch, latent] and the data as the decoder takes them."""
        condition = self.condition(data_points, len(z))
        return z if condition is None else torch.cat([z, condition], dim=1)

    def _start(self, code: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell = self.from_code(code).tanh().chunk(2, dim=1)
        return hidden.unsqueeze(0).contiguous(), cell.unsqueeze(0).contiguous()

    def logits(self, tokens: Tensor, code: Tensor) -> Tensor:
        """Scores of every next token under teacher forcing, [batch, position, token]."""
        begin = torch.full_like(tokens[:, :1], len(self.grammar.tokens))
        inputs = self.embed(torch.cat([begin, tokens[:, :-1]], dim=1))
        steps = code.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        states, _ = self.decoder(torch.cat([inputs, steps], dim=2), self._start(code))
        scores: Tensor = self.to_token(states)
        return scores

    def loss(
        self,
        tokens: Tensor,
        masks: Tensor,
        weight: Tensor,
        generator: torch.Generator,
        data_points: Tensor | None = None,
        longest: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Weighted negative evidence bound per sequence, and the KL divergence in nats (before the free
        bits), both scalars on the device.

        ``masks`` [batch, position, token] are the grammar's; ``weight`` [batch]; ``data_points`` [1 or batch, point,
        feature] is for conditional networks. A token that its mask refuses (of a formula that no decoder wrote) is
        learned all the same. ``longest``: the length of the longest sequence, where it is known; to find it the device
        must be waited for.
        """
        longest = int((tokens != PAD).sum(1).max()) if longest is None else longest
        tokens, masks = tokens[:, :longest], masks[:, :longest]
        masks = masks.scatter(2, tokens.unsqueeze(2), True)
        mean, log_variance = self._read(tokens)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        z = mean + noise * (0.5 * log_variance).exp()
        condition = self.condition(data_points, len(z))
        code = z if condition is None else torch.cat([z, condition], dim=1)
        chances = self.logits(tokens, code).masked_fill(~masks, -1e9).log_softmax(2)
        real = tokens != PAD
        reconstruction = -(chances.gather(2, tokens.unsqueeze(2)).squeeze(2) * real).sum(1)
        entropy = -((chances.exp() * chances).sum(2) * real).sum() / real.sum()
        kl = divergence((mean, log_variance), self.prior(condition, mean))  # [batch, latent]
        held = kl.mean(0).clamp(min=self.config.free_bits).sum()
        flat = functional.relu(self.config.entropy_floor - entropy) * self.grammar.max_length
        total = (reconstruction * weight).sum() / weight.sum() + self.config.kl_weight * held + flat
        return total, kl.detach().sum(1).mean()

    @torch.no_grad()
    def sample(
        self,
        code: Tensor,
        generator: torch.Generator,
        temperature: float = 1.0,
        begin: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """One formula for every code [batch, latent (+ condition)]; int64 [batch, max_length], every one
        complete.

        ``begin``: sequences [batch, position] and how many of their tokens [batch] are taken over first. What
        follows is complete and obeys the grammar as far as such a beginning lets it.
        """
        n, g = code.shape[0], self.grammar
        decoder = Decoder(g, n, code.device)
        state = self._start(code)
        token = torch.full((n,), len(g.tokens), dtype=torch.long, device=code.device)
        out = torch.zeros(n, g.max_length, dtype=torch.long, device=code.device)
        for step in range(g.max_length):
            inputs = torch.cat([self.embed(token), code], dim=1).unsqueeze(1)
            hidden, state = self.decoder(inputs, state)
            scores = self.to_token(hidden.squeeze(1)) / temperature
            allowed = decoder.allowed()
            if begin is not None:
                allowed = allowed | ~allowed.any(1, keepdim=True)  # a beginning that leads nowhere
            probability = scores.masked_fill(~allowed, -torch.inf).softmax(1)
            token = torch.multinomial(probability, 1, generator=generator).squeeze(1)
            if begin is not None:
                token = torch.where(step < begin[1], begin[0][:, step], token)
            out[:, step] = token
            decoder.push(token)
        return out

    @torch.no_grad()
    def random_codes(
        self, count: int, generator: torch.Generator, data_points: Tensor | None = None
    ) -> Tensor:
        """Codes [count, latent (+ condition)] drawn from the prior."""
        device = self.to_token.weight.device
        noise = torch.randn(count, self.config.latent, generator=generator, device=device)
        condition = self.condition(data_points, count)
        mean, log_variance = self.prior(condition, noise)
        z = mean + noise * (0.5 * log_variance).exp()
        return z if condition is None else torch.cat([z, condition], dim=1)

    @torch.no_grad()
    def codes_around(
        self, tokens: Tensor, noise: float, generator: torch.Generator, data_points: Tensor | None = None
    ) -> Tensor:
        """Codes near those of sequences [batch, position]; ``noise`` in units of the posterior's own."""
        mean, log_variance = self.encode(tokens)
        step = torch.randn(mean.shape, generator=generator, device=mean.device)
        return self.code(mean + noise * step * (0.5 * log_variance).exp(), data_points)


def divergence(of: tuple[Tensor, Tensor], prior: tuple[Tensor, Tensor]) -> Tensor:
    """KL divergence in nats of Gaussians (mean, log variance) from others, number by number."""
    (mean, log_variance), (middle, log_width) = of, prior
    distance = (mean - middle).square() + log_variance.exp()
    return 0.5 * (distance / log_width.exp() - 1 + log_width - log_variance)
