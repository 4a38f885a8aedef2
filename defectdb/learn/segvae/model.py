"""The variational autoencoder over formulas: a bidirectional LSTM reads a prefix sequence, an LSTM writes
one.

Popov et al., 'Symbolic expression generation via variational auto-encoder', PeerJ Comput. Sci. 2023,
cs-1241. Two departures, both against the collapse of the latent space: free bits (Kingma et al., arXiv
1606.04934) keep a floor under the KL divergence, and the latent vector enters the decoder at every step.
Decoding is masked by the grammar, in training and in sampling alike, so probability is never spent on
sequences that are no formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from defectdb.learn.segvae.grammar import PAD, Decoder, Grammar


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network and its training constants."""

    embedding: int = 32
    hidden: int = 64
    latent: int = 24
    free_bits: float = 0.06  # nats per latent dimension below which the KL costs nothing
    kl_weight: float = 0.3
    entropy_floor: float = 0.4  # nats per token below which the decoder is pushed back to variety
    learning_rate: float = 2e-3


class SEGVAE(nn.Module):
    """Encoder, Gaussian latent and masked decoder over the grammar's tokens."""

    def __init__(self, grammar: Grammar, config: ModelConfig = ModelConfig()) -> None:
        super().__init__()
        self.grammar, self.config = grammar, config
        n = len(grammar.tokens)
        self.embed = nn.Embedding(n + 1, config.embedding)  # index n: start of sequence
        self.encoder = nn.LSTM(config.embedding, config.hidden, batch_first=True, bidirectional=True)
        self.to_latent = nn.Linear(2 * config.hidden, 2 * config.latent)
        self.from_latent = nn.Linear(config.latent, 2 * config.hidden)
        self.decoder = nn.LSTM(config.embedding + config.latent, config.hidden, batch_first=True)
        self.to_token = nn.Linear(config.hidden, n)

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent, each [batch, latent], of sequences [batch, position]."""
        lengths = (tokens != PAD).sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.encoder(packed)
        mean, log_variance = self.to_latent(torch.cat([state[0], state[1]], dim=1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 4.0)

    def _start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell = self.from_latent(z).tanh().chunk(2, dim=1)
        return hidden.unsqueeze(0).contiguous(), cell.unsqueeze(0).contiguous()

    def logits(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Scores of every next token under teacher forcing, [batch, position, token]."""
        begin = torch.full_like(tokens[:, :1], len(self.grammar.tokens))
        inputs = self.embed(torch.cat([begin, tokens[:, :-1]], dim=1))
        z_steps = z.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        states, _ = self.decoder(torch.cat([inputs, z_steps], dim=2), self._start(z))
        scores: Tensor = self.to_token(states)
        return scores

    def loss(
        self, tokens: Tensor, masks: Tensor, weight: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """Weighted negative evidence bound per sequence, and the KL divergence in nats (before the free
        bits).

        ``masks`` [batch, position, token] are the grammar's; ``weight`` [batch].
        """
        mean, log_variance = self.encode(tokens)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        z = mean + noise * (0.5 * log_variance).exp()
        scores = self.logits(tokens, z).masked_fill(~masks, -1e9)
        chances = scores.log_softmax(2)
        real = tokens != PAD
        reconstruction = -(chances.gather(2, tokens.unsqueeze(2)).squeeze(2) * real).sum(1)
        entropy = -((chances.exp() * chances).sum(2) * real).sum() / real.sum()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)  # [batch, latent]
        held = kl.mean(0).clamp(min=self.config.free_bits).sum()
        flat = functional.relu(self.config.entropy_floor - entropy) * tokens.shape[1]
        total = (reconstruction * weight).sum() / weight.sum() + self.config.kl_weight * held + flat
        return total, float(kl.detach().sum(1).mean())

    @torch.no_grad()
    def sample(self, z: Tensor, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """One formula for every latent vector [batch, latent]; int64 [batch, max_length], every one
        complete.
        """
        n, g = z.shape[0], self.grammar
        decoder = Decoder(g, n, z.device)
        state = self._start(z)
        token = torch.full((n,), len(g.tokens), dtype=torch.long, device=z.device)
        out = torch.zeros(n, g.max_length, dtype=torch.long, device=z.device)
        for step in range(g.max_length):
            inputs = torch.cat([self.embed(token), z], dim=1).unsqueeze(1)
            hidden, state = self.decoder(inputs, state)
            scores = self.to_token(hidden.squeeze(1)) / temperature
            probability = scores.masked_fill(~decoder.allowed(), -torch.inf).softmax(1)
            token = torch.multinomial(probability, 1, generator=generator).squeeze(1)
            out[:, step] = token
            decoder.push(token)
        return out

    def random_latents(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard normal latent vectors [count, latent]."""
        device = self.to_token.weight.device
        return torch.randn(count, self.config.latent, generator=generator, device=device)


def grammar_masks(tokens: Tensor, grammar: Grammar) -> tuple[Tensor, Tensor]:
    """The masks under which every token of complete sequences was chosen, and which sequences obey them all.

    bool [batch, position, token] and bool [batch].
    """
    decoder = Decoder(grammar, tokens.shape[0], tokens.device)
    masks = []
    valid = torch.ones(tokens.shape[0], dtype=torch.bool, device=tokens.device)
    for step in range(tokens.shape[1]):
        mask = decoder.allowed()
        valid &= mask.gather(1, tokens[:, step : step + 1]).squeeze(1)
        masks.append(mask)
        decoder.push(tokens[:, step])
    return torch.stack(masks, dim=1), valid & (decoder.open == 0)
