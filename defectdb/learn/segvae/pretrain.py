"""A grammar to an autoencoder that already writes its formulas; kept in the user's cache folder by grammar
hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from defectdb.learn.segvae.grammar import Grammar, random_formulas
from defectdb.learn.segvae.model import SEGVAE, ModelConfig, grammar_masks

STEPS = 150
_FORMULAS = 6000


def cache_folder() -> Path:
    """Where pretrained networks are kept: $DEFECTDB_CACHE, else the platform's cache folder."""
    if folder := os.environ.get("DEFECTDB_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "defectdb"


def _file(grammar: Grammar, config: ModelConfig) -> Path:
    key = json.dumps([grammar.fingerprint(), asdict(config), STEPS, _FORMULAS])
    return cache_folder() / f"segvae-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


def pretrained(
    grammar: Grammar, config: ModelConfig, device: str = "cpu"
) -> tuple[SEGVAE, torch.optim.Optimizer]:
    """A network pretrained on random formulas of the grammar, and its optimiser; from the cache where it is
    there.

    The weights are stored as plain arrays: nothing is unpickled. A cache that cannot be read or written is
    passed over.
    """
    model = SEGVAE(grammar, config)
    file = _file(grammar, config)
    if not _load(model, file):
        torch.manual_seed(20230106)
        model = SEGVAE(grammar, config)
        _train(model, grammar)
        _save(model, file)
    model = model.to(device)
    return model, torch.optim.Adam(model.parameters(), lr=config.learning_rate)


def _train(model: SEGVAE, grammar: Grammar) -> None:
    generator = torch.Generator().manual_seed(20230106)
    parts = [random_formulas(grammar, _FORMULAS // 4, generator, leaf_bias=b) for b in (0.2, 0.3, 0.4, 0.5)]
    tokens = torch.unique(torch.cat(parts), dim=0)
    masks, _ = grammar_masks(tokens, grammar)
    optimizer = torch.optim.Adam(model.parameters(), lr=2 * model.config.learning_rate)
    for _ in range(STEPS):
        rows = torch.randint(len(tokens), (128,), generator=generator)
        loss, _ = model.loss(tokens[rows], masks[rows], torch.ones(len(rows)), generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _load(model: SEGVAE, file: Path) -> bool:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        model.load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError):
        return False
    return True


def _save(model: SEGVAE, file: Path) -> None:
    """Write under another name first: two processes may pretrain the same grammar at once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.stem}-{os.getpid()}.npz")
        np.savez(draft, **{name: value.numpy() for name, value in model.state_dict().items()})
        draft.replace(file)
    except OSError:
        return
