"""Train the autoencoder for some steps on the best formulas so far."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.grammar.decoding import grammar_masks
from defectdb.engine.network.segvae import SEGVAE


def train(
    network: tuple[SEGVAE, torch.optim.Optimizer],
    tokens: Tensor,
    merit: Tensor,
    generator: torch.Generator,
    *,
    steps: int,
    batch: int,
    data_points: Tensor | None = None,
) -> tuple[float, float]:
    """Train on sequences [elite, position], those of more ``merit`` [elite] weighing more; mean KL in nats and loss.

    The rows of one step are of like length, which halves its cost; the steps come in random order.
    """
    if not steps:
        return 0.0, 0.0
    model, optimizer = network
    masks, _ = grammar_masks(tokens, model.grammar)
    weight, length = merit.float() + 0.1, (tokens != 0).sum(1)
    rows = torch.randint(len(tokens), (steps * batch,), generator=generator, device=tokens.device)
    parts = rows[length[rows].argsort(stable=True)].view(steps, batch)
    longest = length[parts].amax(1).tolist()
    sums = torch.zeros(2, dtype=torch.float64, device=tokens.device)  # read once, at the end
    for i in torch.randperm(steps, generator=generator, device=tokens.device).tolist():
        part = parts[i]
        loss, kl = model.loss(
            tokens[part], masks[part], weight[part], generator, data_points, longest=longest[i]
        )
        step(model, optimizer, loss)
        sums += torch.stack([kl, loss.detach()]).double() / steps
    nats, cost = sums.tolist()
    return nats, cost


def step(model: SEGVAE, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Follow the loss downhill once, the gradient's norm bounded."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
